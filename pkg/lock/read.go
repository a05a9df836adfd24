package lock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v4"

	"github.com/modelreg/modelreg/pkg/ref"
)

// fileVersion is the version of the format that this package knows.
const fileVersion = "1"

// Parse reads a lock file. The error wraps [ErrMalformed] and names the line.
func Parse(raw []byte) (*File, error) {
	f, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	f.raw = bytes.Clone(raw)
	if f.raw == nil {
		f.raw = []byte{}
	}
	return f, nil
}

func parse(raw []byte) (*File, error) {
	doc, err := load(raw)
	if err != nil {
		return nil, err
	}
	var models *yaml.Node
	version := ""
	for key, value := range pairs(doc, &err) {
		switch key {
		case "version":
			version = text(value, &err)
		case "models":
			models = value
		default:
			return nil, at(value, "unknown key %.80q", key)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case version != fileVersion:
		return nil, fmt.Errorf("version %.20q of the format is not known: only %s is", version, fileVersion)
	case models == nil:
		return nil, errors.New("models is missing")
	}
	return parseModels(models)
}

func parseModels(n *yaml.Node) (*File, error) {
	f := &File{Models: map[string]Entry{}}
	var err error
	for name, value := range pairs(n, &err) {
		if err := CheckName(name); err != nil {
			return nil, at(value, "%w", err)
		}
		if len(f.Models) == MaxModels {
			return nil, at(value, "more than %d models", MaxModels)
		}
		e, err := parseEntry(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.Models[name] = e
	}
	return f, err
}

func parseEntry(n *yaml.Node) (Entry, error) {
	var e Entry
	var err error
	for key, value := range pairs(n, &err) {
		if perr := e.set(key, value); perr != nil {
			return e, perr
		}
	}
	if err != nil {
		return e, err
	}
	if err := e.check(); err != nil {
		return e, at(n, "%w", err)
	}
	return e, nil
}

func (e *Entry) set(key string, n *yaml.Node) (err error) {
	if key == "earlier" {
		e.Earlier, err = digests(n)
		return err
	}
	s := text(n, &err)
	if err == nil && s == "" {
		return at(n, "%s is empty", key)
	}
	if err != nil {
		return err
	}
	switch key {
	case "reference":
		e.Reference, err = ref.Parse(s)
	case "digest":
		e.Digest = digest.Digest(s)
	case "variant":
		e.Variant = digest.Digest(s)
	case "chosen":
		e.Chosen = s
	case "files":
		e.Files = digest.Digest(s)
	case "tag":
		e.Tag = s
	case "created":
		e.Created, err = moment(s)
	case "signer":
		e.Signer = s
	case "issuer":
		e.Issuer = s
	case "policy":
		e.Policy = digest.Digest(s)
	case "resolved":
		e.Resolved, err = moment(s)
	default:
		return at(n, "unknown key %.80q", key)
	}
	if err != nil {
		return at(n, "%s: %w", key, err)
	}
	return nil
}

// moment reads a time to the second, as it is written.
func moment(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err == nil && (timestamp(t) != s || t.IsZero()) {
		err = fmt.Errorf("%q is not in UTC, or has fractions of a second", s)
	}
	return t.UTC(), err
}

func digests(n *yaml.Node) (list []digest.Digest, err error) {
	if n.Kind != yaml.SequenceNode {
		return nil, at(n, "a list is expected")
	}
	if len(n.Content) > MaxEarlier {
		return nil, at(n, "more than %d entries", MaxEarlier)
	}
	for _, item := range n.Content {
		if err := refuse(item); err != nil {
			return nil, err
		}
		list = append(list, digest.Digest(text(item, &err)))
	}
	return list, err
}

// load reads the one document in raw.
func load(raw []byte) (*yaml.Node, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("more than %d bytes", MaxBytes)
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("not UTF-8")
	}
	if bytes.HasPrefix(raw, []byte("<<<<<<< ")) || bytes.Contains(raw, []byte("\n<<<<<<< ")) {
		return nil, errors.New("it holds a merge conflict: take either side, then run \"modelreg lock update\"")
	}
	l, err := yaml.NewLoader(bytes.NewReader(raw))
	if err != nil {
		return nil, syntax(err)
	}
	var doc, next yaml.Node
	if err := l.Load(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	} else if err != nil {
		return nil, syntax(err)
	}
	if err := l.Load(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return &doc, nil
}

// syntax brings the words of the YAML parser into one line.
func syntax(err error) error {
	line := 0
	words := err.Error()
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		line, words = le.Mark.Line, le.Message
	}
	return fmt.Errorf("line %d: %.200s", line, strconv.QuoteToGraphic(strings.Join(strings.Fields(words), " ")))
}

func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
}

// refuse refuses what makes YAML mean something else than it seems to.
func refuse(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return at(n, "anchors and aliases are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		return at(n, "tag %.80q is not allowed", n.Tag)
	}
	return nil
}

// pairs are the keys and values of a mapping. What is wrong with it goes to err.
func pairs(n *yaml.Node, err *error) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if *err = refuse(n); *err != nil {
			return
		}
		if n.Kind != yaml.MappingNode {
			*err = at(n, "keys with values are expected")
			return
		}
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := text(n.Content[i], err)
			if *err == nil && seen[key] {
				*err = at(n.Content[i], "key %.80q is there twice", key)
			}
			if *err == nil {
				*err = refuse(n.Content[i+1])
			}
			if *err != nil {
				return
			}
			seen[key] = true
			if !yield(key, n.Content[i+1]) || *err != nil {
				return
			}
		}
	}
}

// text is a scalar as it is written. What else it is goes to err, unless there
// is an error already.
func text(n *yaml.Node, err *error) string {
	if *err != nil {
		return ""
	}
	if *err = refuse(n); *err != nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		*err = at(n, "text is expected")
		return ""
	}
	return n.Value
}
