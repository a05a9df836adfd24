package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxDepth   = 64      // levels of a JSON document
	maxNodes   = 1 << 20 // values of one
	maxChanges = 400     // that are listed of one document
	maxValue   = 4 << 10 // bytes of a value that is shown whole
)

// What became of a thing.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// A Change is one value of a configuration that is another one now.
type Change struct {
	File string `json:"file"`
	Path string `json:"path"` // "rope_scaling.factor", "architectures[0]"; "" is the whole file
	Op   string `json:"op"`   // "added", "removed" or "changed"

	// From and To are the values as they stand in the files. One of more than
	// 4 KiB is a string that says how large it is.
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`

	// Text is how the value changed if it is a text of several lines, in place
	// of From and To.
	Text *TextChange `json:"text,omitempty"`
}

// JSON compares two JSON documents by their structure. Order of members and
// spelling of numbers and strings make no difference. The error says that one of
// them is no JSON, or has over 64 levels or a million values; of changes, no more
// than 400 are listed, and more says how many there are besides.
func JSON(from, to []byte) (changes []Change, more int, err error) {
	a, err := parseJSON(from)
	if err != nil {
		return nil, 0, err
	}
	b, err := parseJSON(to)
	if err != nil {
		return nil, 0, err
	}
	var c comparison
	c.values("", a, b)
	return c.changes, c.more, nil
}

// A node is a value of a JSON document. Nodes are compared by their text, in
// which members are sorted and scalars canonical.
type node struct {
	kind jsontext.Kind
	text string   // canonical
	str  string   // of a string, what it says
	keys []string // of an object, sorted
	sub  []*node  // of an object, in the order of keys, or of an array
}

func (n *node) member(key string) *node {
	if i, ok := slices.BinarySearch(n.keys, key); ok {
		return n.sub[i]
	}
	return nil
}

// raw is the value for a result.
func (n *node) raw() json.RawMessage {
	if len(n.text) <= maxValue {
		return json.RawMessage(n.text)
	}
	what := "bytes"
	if n.kind == '[' {
		what = fmt.Sprintf("bytes in %d elements", len(n.sub))
	}
	return json.RawMessage(strconv.Quote(fmt.Sprintf("(%d %s)", len(n.text), what)))
}

// A parser reads nodes, not too many of them.
type parser struct {
	dec   *jsontext.Decoder
	nodes int
}

func parseJSON(raw []byte) (*node, error) {
	p := parser{dec: jsontext.NewDecoder(bytes.NewReader(raw))}
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.dec.PeekKind() != jsontext.KindInvalid {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return n, nil
}

func (p *parser) value() (*node, error) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, fmt.Errorf("more than %d values", maxNodes)
	}
	if p.dec.StackDepth() > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	switch kind := p.dec.PeekKind(); kind {
	case '{', '[':
		if _, err := p.dec.ReadToken(); err != nil {
			return nil, err
		}
		if kind == '{' {
			return p.object()
		}
		return p.array()
	}
	v, err := p.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	n := &node{kind: v.Kind()}
	v = v.Clone()
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(false)); err != nil {
		return nil, err
	}
	n.text = string(v)
	if n.kind == '"' {
		s, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return nil, err
		}
		n.str = string(s)
	}
	return n, nil
}

func (p *parser) object() (*node, error) {
	n := &node{kind: '{'}
	members := map[string]*node{}
	for p.dec.PeekKind() != '}' {
		key, err := p.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := key.String()
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		members[name] = v
		n.keys = append(n.keys, name)
	}
	slices.Sort(n.keys)
	var text strings.Builder
	for i, key := range n.keys {
		n.sub = append(n.sub, members[key])
		name, err := jsontext.AppendQuote(nil, key)
		if err != nil {
			return nil, err
		}
		text.WriteString(separator(i, "{"))
		text.Write(name)
		text.WriteString(":" + members[key].text)
	}
	n.text = text.String() + closing(len(n.keys), "{}")
	_, err := p.dec.ReadToken()
	return n, err
}

func (p *parser) array() (*node, error) {
	n := &node{kind: '['}
	var text strings.Builder
	for p.dec.PeekKind() != ']' {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		text.WriteString(separator(len(n.sub), "[") + v.text)
		n.sub = append(n.sub, v)
	}
	n.text = text.String() + closing(len(n.sub), "[]")
	_, err := p.dec.ReadToken()
	return n, err
}

func separator(i int, open string) string {
	if i == 0 {
		return open
	}
	return ","
}

func closing(n int, both string) string {
	if n == 0 {
		return both
	}
	return both[1:]
}

// A comparison collects changes.
type comparison struct {
	changes []Change
	more    int
}

func (c *comparison) add(ch Change) {
	if len(c.changes) == maxChanges {
		c.more++
		return
	}
	c.changes = append(c.changes, ch)
}

// values compares two values, of which one may be nil.
func (c *comparison) values(path string, a, b *node) {
	switch {
	case a == nil && b == nil:
	case a == nil:
		c.add(Change{Path: path, Op: Added, To: b.raw()})
	case b == nil:
		c.add(Change{Path: path, Op: Removed, From: a.raw()})
	case a.text == b.text:
	case a.kind == '{' && b.kind == '{':
		c.objects(path, a, b)
	case a.kind == '[' && b.kind == '[':
		c.arrays(path, a, b)
	case a.kind == '"' && b.kind == '"' && isText(a.str, b.str):
		c.add(Change{Path: path, Op: Changed, Text: Text(a.str, b.str)})
	default:
		c.add(Change{Path: path, Op: Changed, From: a.raw(), To: b.raw()})
	}
}

// isText tells strings that are read line by line, such as chat templates.
func isText(a, b string) bool {
	return strings.Contains(a, "\n") && strings.Contains(b, "\n") || len(a)+len(b) > maxValue
}

func (c *comparison) objects(path string, a, b *node) {
	keys := slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.keys, b.keys))))
	for _, key := range keys {
		c.values(memberPath(path, key), a.member(key), b.member(key))
	}
}

// arrays compares elements where they stand if there are as many, and else by
// which were put in and taken out.
func (c *comparison) arrays(path string, a, b *node) {
	at := func(i int) string { return path + "[" + strconv.Itoa(i) + "]" }
	if len(a.sub) == len(b.sub) {
		for i := range a.sub {
			c.values(at(i), a.sub[i], b.sub[i])
		}
		return
	}
	for _, e := range script(texts(a), texts(b)) {
		for e.a0 < e.a1 && e.b0 < e.b1 {
			c.values(at(e.b0), a.sub[e.a0], b.sub[e.b0])
			e.a0, e.b0 = e.a0+1, e.b0+1
		}
		for ; e.a0 < e.a1; e.a0++ {
			c.values(at(e.a0), a.sub[e.a0], nil)
		}
		for ; e.b0 < e.b1; e.b0++ {
			c.values(at(e.b0), nil, b.sub[e.b0])
		}
	}
}

func texts(n *node) []string {
	out := make([]string, len(n.sub))
	for i, s := range n.sub {
		out[i] = s.text
	}
	return out
}

// memberPath names a member as JavaScript does.
func memberPath(path, key string) string {
	plain := key != "" && strings.IndexFunc(key, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
	switch {
	case !plain:
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}
