package card

import (
	"errors"
	"fmt"
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
)

// A FrontMatterError tells why front matter was rejected.
type FrontMatterError struct {
	Line   int    // in the YAML, from 1; 0 if no single line is to blame
	Reason string // in words, without control characters
}

func (e *FrontMatterError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("front matter rejected: line %d: %s", e.Line, e.Reason)
	}
	return "front matter rejected: " + e.Reason
}

type kind int

const (
	null kind = iota
	text
	number
	boolean
	sequence
	mapping
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
		return value{}, &FrontMatterError{Reason: fmt.Sprintf("larger than %d KiB", maxMatterBytes>>10)}
	}
	if !utf8.Valid(src) {
		return value{}, &FrontMatterError{Reason: "not UTF-8"}
	}
	var doc yaml.Node
	if err := yaml.Load(src, &doc); err != nil {
		return value{}, syntaxError(err)
	}
	var x expander
	return x.expand(&doc, 0)
}

// syntaxError brings the parser's words into one line that is safe to print:
// they may quote the input.
func syntaxError(err error) error {
	e := &FrontMatterError{Reason: err.Error()}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		e.Line, e.Reason = le.Mark.Line, le.Message
	}
	e.Reason = strings.Join(strings.Fields(e.Reason), " ")
	if q := strconv.Quote(e.Reason); q != `"`+e.Reason+`"` {
		e.Reason = strings.Trim(q, `"`)
	}
	return e
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
		return value{}, reject(n, "tag "+strconv.Quote(n.Tag)+" is not allowed")
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
			return value{}, &FrontMatterError{Reason: "too many aliases"}
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
	v := value{kind: sequence, items: make([]value, 0, len(n.Content))}
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
	v := value{kind: mapping, keys: make([]string, 0, len(n.Content)/2), items: make([]value, 0, len(n.Content)/2)}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := x.expand(n.Content[i], depth+1)
		if err != nil {
			return value{}, err
		}
		if key.kind == sequence || key.kind == mapping {
			return value{}, reject(n.Content[i], "a key must be text")
		}
		name := n.Content[i].Value
		if a := n.Content[i].Alias; a != nil {
			name = a.Value
		}
		if seen[name] {
			return value{}, reject(n.Content[i], "key "+strconv.Quote(name)+" is there twice")
		}
		seen[name] = true
		item, err := x.expand(n.Content[i+1], depth+1)
		if err != nil {
			return value{}, err
		}
		v.keys = append(v.keys, name)
		v.items = append(v.items, item)
	}
	return v, nil
}

func reject(n *yaml.Node, reason string) error {
	return &FrontMatterError{Line: n.Line, Reason: reason}
}

// knownTag reports whether a node has a type of YAML's core schema. Others
// name types of programming languages, which a card has no use for.
func knownTag(n *yaml.Node) bool {
	if n.Kind == yaml.DocumentNode {
		return true
	}
	switch n.ShortTag() {
	case "", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!seq", "!!map", "!!merge":
		return true
	}
	return false
}

func scalar(n *yaml.Node) value {
	switch n.ShortTag() {
	case "!!null":
		return value{}
	case "!!bool":
		return value{kind: boolean, text: strings.ToLower(n.Value)}
	case "!!int", "!!float":
		return value{kind: number, text: n.Value}
	}
	return value{kind: text, text: n.Value}
}
