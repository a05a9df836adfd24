package diff

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/modelreg/modelreg/pkg/card"
)

// A CardChange is a field of a card's front matter, or a section of its body,
// that is another one now.
type CardChange struct {
	// Field is the key in the front matter, as [Change.Path] has it. Section
	// is the heading, below those above it: "Evaluation / Results"; "" with no
	// field is what stands before the first.
	Field   string `json:"field,omitempty"`
	Section string `json:"section,omitempty"`
	Op      string `json:"op"` // "added", "removed" or "changed"

	// From and To are the values of a field.
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`

	// Added and Removed are the members that a list got and lost, in place of
	// From and To. The order of members makes no difference.
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`

	// Words are how a section's text changed.
	Words []Word `json:"words,omitempty"`
}

// sets are the fields whose members have no order. A lone value is a list of
// one.
var sets = []string{"license", "language", "tags", "datasets", "metrics", "base_model", "pipeline_tags", "languages", "licenses"}

// cards compares the cards: those that the sides bring, and else their README.
func (c *comparer) cards(ctx context.Context, t *textPairs) error {
	c.res.Card = []CardChange{}
	from, to := c.a.Card, c.b.Card
	if from == nil && to == nil {
		for _, p := range t.pairs {
			if p.role == cardText {
				from, to = p.from, p.to
			}
		}
	}
	for _, side := range []struct {
		text *[]byte
		of   Side
	}{{&from, c.a}, {&to, c.b}} {
		readme := byPath(side.of.Files)["README.md"]
		if c.a.Card == nil && c.b.Card == nil || *side.text != nil || readme == nil || roleOf(readme) != cardText || readme.Size > maxText {
			continue
		}
		var err error
		if *side.text, err = readFile(ctx, readme); err != nil {
			return err
		}
	}
	if !bytes.Equal(from, to) {
		c.res.Card = append(c.res.Card, c.compareCards(from, to)...)
	}
	return nil
}

func (c *comparer) compareCards(from, to []byte) []CardChange {
	a, err := card.Parse(from)
	if err != nil {
		c.problem("card of %s: %v", c.a.Name, err)
		return nil
	}
	b, err := card.Parse(to)
	if err != nil {
		c.problem("card of %s: %v", c.b.Name, err)
		return nil
	}
	for _, side := range []struct {
		name string
		card *card.Card
	}{{c.a.Name, a}, {c.b.Name, b}} {
		if side.card.Problem != nil {
			c.problem("card of %s: %v", side.name, side.card.Problem)
		}
	}
	changes := append(fields(a, b), sections(string(a.Body), string(b.Body))...)
	if n := len(changes); n > maxChanges {
		c.problem("cards: %d more changes are not listed", n-maxChanges)
		changes = changes[:maxChanges]
	}
	return changes
}

// fields compares front matter.
func fields(a, b *card.Card) []CardChange {
	from, err := parseJSON(a.JSON())
	if err != nil {
		return nil // what is too deep or too large is no metadata
	}
	to, err := parseJSON(b.JSON())
	if err != nil {
		return nil
	}
	var out []CardChange
	keys := slices.Compact(slices.Sorted(slices.Values(slices.Concat(from.keys, to.keys))))
	for _, key := range keys {
		x, y := from.member(key), to.member(key)
		if members, ok := memberChange(key, x, y); ok {
			out = append(out, members...)
			continue
		}
		var c comparison
		c.values(key, x, y)
		for _, ch := range c.changes {
			out = append(out, CardChange{Field: ch.Path, Op: ch.Op, From: ch.From, To: ch.To})
		}
	}
	return out
}

// memberChange compares lists as sets.
func memberChange(key string, x, y *node) ([]CardChange, bool) {
	a, okA := members(x)
	b, okB := members(y)
	if !slices.Contains(sets, key) || !okA || !okB {
		return nil, false
	}
	ch := CardChange{Field: key, Op: Changed}
	for m := range b {
		if !a[m] {
			ch.Added = append(ch.Added, m)
		}
	}
	for m := range a {
		if !b[m] {
			ch.Removed = append(ch.Removed, m)
		}
	}
	slices.Sort(ch.Added)
	slices.Sort(ch.Removed)
	switch {
	case len(ch.Added)+len(ch.Removed) == 0:
		return nil, true
	case x == nil:
		ch.Op = Added
	case y == nil:
		ch.Op = Removed
	case len(a) == 1 && len(b) == 1:
		ch.From, ch.To, ch.Added, ch.Removed = x.lone(), y.lone(), nil, nil
	}
	return []CardChange{ch}, true
}

func (n *node) lone() json.RawMessage {
	if n.kind == '[' && len(n.sub) == 1 {
		return n.sub[0].raw()
	}
	return n.raw()
}

// members are the strings of a list, or the one string.
func members(n *node) (map[string]bool, bool) {
	switch {
	case n == nil:
		return nil, true
	case n.kind == '"':
		return map[string]bool{n.str: true}, true
	case n.kind != '[':
		return nil, false
	}
	m := map[string]bool{}
	for _, s := range n.sub {
		if s.kind != '"' {
			return nil, false
		}
		m[s.str] = true
	}
	return m, true
}

// A section is a heading with what is below it, up to the next one.
type section struct{ title, text string }

// sections compares bodies section by section. A section that only has another
// heading is found by what is in it.
func sections(from, to string) []CardChange {
	a, b := splitSections(from), splitSections(to)
	at := map[string]section{}
	for _, s := range a {
		at[s.title] = s
	}
	here := map[string]bool{}
	for _, s := range b {
		here[s.title] = true
	}
	var out []CardChange
	for _, s := range b {
		was, ok := at[s.title]
		switch {
		case !ok:
			out = append(out, CardChange{Section: s.title, Op: Added, Words: Words("", s.text)})
		case strings.TrimSpace(was.text) != strings.TrimSpace(s.text):
			out = append(out, CardChange{Section: s.title, Op: Changed, Words: Words(strings.TrimSpace(was.text), strings.TrimSpace(s.text))})
		}
	}
	for _, s := range a {
		if !here[s.title] {
			out = append(out, CardChange{Section: s.title, Op: Removed, Words: Words(s.text, "")})
		}
	}
	return out
}

// Bounds of sections: a title holds the headings above it too, so that a long
// one would be there as often as there are headings below.
const (
	maxHeading  = 200  // bytes of a heading in a title
	maxSections = 4000 // of a body; what follows is part of the last
)

// splitSections cuts a body at its headings that begin with #, outside of code.
// Of titles that are there twice, the second is numbered.
func splitSections(body string) []section {
	out := []section{{}}
	at, begin := 0, 0 // where the line ends, and where the section began
	seen := map[string]int{}
	var above [7]string
	fence := ""
	for line := range strings.Lines(body) {
		at += len(line)
		text := strings.TrimSpace(line)
		if f := fenceOf(text); f != "" && (fence == "" || strings.HasPrefix(f, fence)) {
			if fence == "" {
				fence = f
			} else {
				fence = ""
			}
		}
		level := headingLevel(line)
		if fence != "" || level == 0 || len(out) > maxSections {
			continue
		}
		out[len(out)-1].text = body[begin : at-len(line)]
		begin = at
		above[level] = cutHeading(strings.TrimSpace(strings.Trim(text, "#")))
		clear(above[level+1:])
		title := strings.Join(slices.DeleteFunc(slices.Clone(above[:]), func(s string) bool { return s == "" }), " / ")
		if seen[title]++; seen[title] > 1 {
			title += " (" + strconv.Itoa(seen[title]) + ")"
		}
		out = append(out, section{title: title})
	}
	out[len(out)-1].text = body[begin:]
	if strings.TrimSpace(out[0].text) == "" {
		out = out[1:]
	}
	return out
}

// cutHeading is a heading without what is too long of it.
func cutHeading(s string) string {
	if len(s) <= maxHeading {
		return s
	}
	return strings.ToValidUTF8(s[:maxHeading], "") + "…"
}

// headingLevel returns the number of # that a heading begins with, else 0.
func headingLevel(line string) int {
	rest := strings.TrimLeft(line, "#")
	n := len(line) - len(rest)
	if n == 0 || n > 6 || rest != "" && !strings.HasPrefix(rest, " ") && strings.TrimSpace(rest) != "" {
		return 0
	}
	return n
}

// fenceOf returns the marks that begin or end a block of code.
func fenceOf(line string) string {
	for _, mark := range []string{"`", "~"} {
		if n := len(line) - len(strings.TrimLeft(line, mark)); n >= 3 {
			return line[:n]
		}
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
