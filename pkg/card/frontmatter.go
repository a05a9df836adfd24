package card

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Bounds of front matter and of files of evaluation results. Aliases are
// counted as often as they are expanded, not as they are written.
const (
	maxMatterBytes   = 64 << 10 // of YAML
	maxAliases       = 100
	maxDepth         = 16
	maxNodes         = 1 << 16 // after expansion
	maxExpandedBytes = 1 << 20 // of text in all scalars, after expansion
	maxReason        = 200     // bytes of the parser's words in a message
	maxQuoted        = 60      // bytes of the input in a message
)

// A yamlError tells why YAML was rejected.
type yamlError struct {
	line   int // from 1; 0 if no single line is to blame
	reason string
}

func (e *yamlError) Error() string {
	if e.line > 0 {
		return fmt.Sprintf("line %d: %s", e.line, e.reason)
	}
	return e.reason
}

type kind int

const (
	nullKind kind = iota
	textKind
	numberKind
	booleanKind
	sequenceKind
	mappingKind
)

// A value is a node of YAML with its aliases expanded. It keeps the text of
// scalars as written, so that a date stays a date and 1.10 is not 1.1.
type value struct {
	kind  kind
	text  string   // scalars; true or false for booleans
	keys  []string // mappings, in order
	items []value  // sequences; mappings, beside keys
}

// get returns the value of a key, or null.
func (v value) get(key string) value {
	for i, k := range v.keys {
		if k == key {
			return v.items[i]
		}
	}
	return value{}
}

// decode reads one YAML document within the bounds above.
func decode(src []byte) (value, error) {
	if len(src) > maxMatterBytes {
		return value{}, &yamlError{reason: fmt.Sprintf("larger than %d KiB", maxMatterBytes>>10)}
	}
	if !utf8.Valid(src) {
		return value{}, &yamlError{reason: "not UTF-8"}
	}
	l, err := yaml.NewLoader(bytes.NewReader(src))
	if err != nil {
		return value{}, syntaxError(err)
	}
	var doc, next yaml.Node
	if err := l.Load(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return value{}, nil // nothing but comments
		}
		return value{}, syntaxError(err)
	}
	if err := l.Load(&next); err == nil {
		return value{}, reject(&next, "more than one document")
	} else if !errors.Is(err, io.EOF) {
		return value{}, syntaxError(err)
	}
	var x expander
	return x.expand(&doc, 0)
}

// syntaxError brings the parser's words into one line that is safe to print:
// they may quote the input.
func syntaxError(err error) error {
	e := &yamlError{reason: err.Error()}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		e.line, e.reason = le.Mark.Line, le.Message
	}
	e.reason = escapeControls(cut(strings.Join(strings.Fields(e.reason), " "), maxReason))
	return e
}

// quote quotes a piece of the input for a message.
func quote(s string) string { return strconv.Quote(cut(s, maxQuoted)) }

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// An expander turns YAML nodes into values and counts what that costs.
type expander struct {
	aliases, nodes, bytes int
}

func (x *expander) expand(n *yaml.Node, depth int) (value, error) {
	x.nodes++
	x.bytes += len(n.Value)
	switch {
	case depth > maxDepth:
		return value{}, reject(n, "nested too deep")
	case x.nodes > maxNodes:
		return value{}, reject(n, "too many values")
	case x.bytes > maxExpandedBytes:
		return value{}, reject(n, "too large when its aliases are expanded")
	case n.Kind != yaml.AliasNode && !knownTag(n):
		return value{}, reject(n, "tag "+quote(n.Tag)+" is not allowed")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return value{}, nil
		}
		return x.expand(n.Content[0], depth)
	case yaml.AliasNode:
		x.aliases++
		if x.aliases > maxAliases || n.Alias == nil {
			return value{}, &yamlError{reason: "too many aliases"}
		}
		return x.expand(n.Alias, depth+1)
	case yaml.SequenceNode:
		return x.sequence(n, depth)
	case yaml.MappingNode:
		return x.mapping(n, depth)
	case yaml.ScalarNode:
		return scalar(n), nil
	}
	return value{}, nil
}

func (x *expander) sequence(n *yaml.Node, depth int) (value, error) {
	v := value{kind: sequenceKind, items: make([]value, 0, len(n.Content))}
	for _, c := range n.Content {
		item, err := x.expand(c, depth+1)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
	}
	return v, nil
}

func (x *expander) mapping(n *yaml.Node, depth int) (value, error) {
	m := mapBuilder{seen: make(map[string]bool, len(n.Content)/2)}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := x.key(n.Content[i], depth+1)
		if err != nil {
			return value{}, err
		}
		item, err := x.expand(n.Content[i+1], depth+1)
		if err != nil {
			return value{}, err
		}
		if n.Content[i].ShortTag() == mergeTag {
			m.merge(item)
			continue
		}
		if m.seen[key] {
			return value{}, reject(n.Content[i], "key "+quote(key)+" is there twice")
		}
		m.add(key, item)
	}
	return m.build(), nil
}

// key returns the text of a key.
func (x *expander) key(n *yaml.Node, depth int) (string, error) {
	v, err := x.expand(n, depth)
	if err != nil {
		return "", err
	}
	if v.kind == sequenceKind || v.kind == mappingKind {
		return "", reject(n, "a key must be text")
	}
	if n.Alias != nil {
		n = n.Alias
	}
	return n.Value, nil
}

// mergeTag is the type of the key << (YAML 1.1), whose mappings give the keys
// that the mapping around it lacks.
const mergeTag = "!!merge"

// A mapBuilder collects a mapping.
type mapBuilder struct {
	v      value
	seen   map[string]bool
	merged []value
}

func (m *mapBuilder) add(key string, item value) {
	m.seen[key] = true
	m.v.keys = append(m.v.keys, key)
	m.v.items = append(m.v.items, item)
}

func (m *mapBuilder) merge(item value) {
	if item.kind == sequenceKind {
		m.merged = append(m.merged, item.items...)
		return
	}
	m.merged = append(m.merged, item)
}

func (m *mapBuilder) build() value {
	for _, item := range m.merged {
		for i, key := range item.keys {
			if !m.seen[key] {
				m.add(key, item.items[i])
			}
		}
	}
	m.v.kind = mappingKind
	return m.v
}

func reject(n *yaml.Node, reason string) error {
	return &yamlError{line: n.Line, reason: reason}
}

// knownTag reports whether a node has a type of YAML's core schema. Others
// name types of programming languages, which a card has no use for.
func knownTag(n *yaml.Node) bool {
	if n.Kind == yaml.DocumentNode {
		return true
	}
	switch n.ShortTag() {
	case "", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!seq", "!!map", mergeTag:
		return true
	}
	return false
}

func scalar(n *yaml.Node) value {
	switch n.ShortTag() {
	case "!!null":
		return value{}
	case "!!bool":
		if s := strings.ToLower(n.Value); s == "true" || s == "false" {
			return value{kind: booleanKind, text: s}
		}
	case "!!int", "!!float":
		return value{kind: numberKind, text: n.Value}
	}
	return value{kind: textKind, text: n.Value}
}
