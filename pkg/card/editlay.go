package card

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A layout is front matter as lines, and where its keys are among them.
type layout struct {
	lines []string // with their ends
	nl    string
	pairs []pair
}

// A pair is a key with its value: the lines from first to before end.
type pair struct {
	key, val   *yaml.Node
	first, end int
}

// lay finds the lines of each key. It refuses mappings that are not written a key a
// line.
func lay(matter []byte, nl string) (*layout, error) {
	l := &layout{nl: nl}
	for line := range bytes.Lines(matter) {
		l.lines = append(l.lines, string(line))
	}
	if v, err := decode(matter); err == nil && v.kind == nullKind {
		return l, nil // comments alone
	}
	var doc yaml.Node
	if err := yaml.Load(matter, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEdit, syntaxError(err))
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key := root.Content[i]
		first := key.Line - 1
		if root.Style&yaml.FlowStyle != 0 || first >= len(l.lines) || strings.TrimSpace(cutRunes(l.lines[first], key.Column-1)) != "" {
			return nil, fmt.Errorf("%w: the keys do not stand on lines of their own", ErrEdit)
		}
		if n := len(l.pairs); n > 0 {
			l.pairs[n-1].end = first
		}
		l.pairs = append(l.pairs, pair{key: key, val: root.Content[i+1], first: first, end: len(l.lines)})
	}
	for i := range l.pairs {
		p := &l.pairs[i]
		p.end = l.trim(p.first+1, p.end, p.key.Column-1)
	}
	return l, nil
}

// cutRunes returns the first n characters of s.
func cutRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// trim leaves out, at the end of lines, those that are empty or comments no deeper
// than the key: they belong to what follows.
func (l *layout) trim(from, end, depth int) int {
	for end > from {
		line := l.lines[end-1]
		text := strings.TrimSpace(line)
		if text != "" && (!strings.HasPrefix(text, "#") || len(line)-len(strings.TrimLeft(line, " ")) > depth) {
			break
		}
		end--
	}
	return end
}

// apply makes an edit, of a key that had one value and is to have another.
func (l *layout) apply(e Edit, old, want value) ([]byte, error) {
	i := slices.IndexFunc(l.pairs, func(p pair) bool { return p.key.Value == e.Key })
	switch {
	case want.kind == nullKind && i < 0:
		return nil, fmt.Errorf("%w: the key comes from elsewhere (<<)", ErrEdit)
	case want.kind == nullKind:
		return l.replace(l.pairs[i].first, l.pairs[i].end, nil), nil
	case i < 0:
		at := l.trim(0, len(l.lines), 0)
		return l.replace(at, at, l.render(encodeText(e.Key)+":", "", e, want, 0)), nil
	}
	p := l.pairs[i]
	if e.Op != Set && old.kind == sequenceKind && p.val.Kind == yaml.SequenceNode && p.val.Style&yaml.FlowStyle == 0 {
		return l.members(p, e, old, want), nil
	}
	if hasComments(p.val) && p.end-p.first > 1 {
		return nil, fmt.Errorf("%w: there are comments inside its value", ErrEdit)
	}
	head, comment := l.head(p)
	if want.kind == sequenceKind && p.val.Kind == yaml.SequenceNode && p.val.Style&yaml.FlowStyle != 0 {
		return l.replace(p.first, p.end, []string{head + " " + encodeFlow(want) + comment + l.nl}), nil
	}
	depth := p.key.Column - 1
	if p.val.Kind == yaml.SequenceNode {
		depth = p.val.Column - 1
	}
	return l.replace(p.first, p.end, l.render(head, comment, e, want, depth)), nil
}

// replace returns the front matter with other lines in the place of some.
func (l *layout) replace(first, end int, lines []string) []byte {
	return []byte(strings.Join(slices.Concat(l.lines[:first], lines, l.lines[end:]), ""))
}

// head is the key as it is written, with its colon, and the comment at the end of
// its line with the blanks before it.
func (l *layout) head(p pair) (head, comment string) {
	line := strings.TrimRight(l.lines[p.first], "\r\n")
	after := len(cutRunes(line, p.key.Column-1+len([]rune(p.key.Value))))
	colon := strings.IndexByte(line[after:], ':')
	if colon < 0 {
		return line, "" // what comes of it is refused
	}
	head = line[:after+colon+1]
	for _, c := range []string{p.val.LineComment, p.key.LineComment} {
		if i := strings.LastIndex(line, c); c != "" && i >= len(head) {
			blanks := len(line[:i]) - len(strings.TrimRight(line[:i], " \t"))
			return head, line[i-blanks:]
		}
	}
	return head, ""
}

// render writes a key with a value: lists a member a line, all else on the line of
// the key.
func (l *layout) render(head, comment string, e Edit, v value, depth int) []string {
	flow := v.kind == mappingKind || strings.HasPrefix(e.Value, "[")
	if v.kind != sequenceKind || flow && e.Op == Set || len(v.items) == 0 {
		return []string{head + " " + encodeFlow(v) + comment + l.nl}
	}
	lines := []string{head + comment + l.nl}
	for _, item := range v.items {
		lines = append(lines, strings.Repeat(" ", depth)+"- "+encodeFlow(item)+l.nl)
	}
	return lines
}

// members adds members to a list that has one a line, or removes some.
func (l *layout) members(p pair, e Edit, old, want value) []byte {
	lines := slices.Clone(l.lines[p.first:p.end])
	if e.Op == Add {
		indent := strings.Repeat(" ", p.val.Column-1)
		for _, item := range want.items[len(old.items):] {
			lines = append(lines, indent+"- "+encodeFlow(item)+l.nl)
		}
		return l.replace(p.first, p.end, lines)
	}
	for i := len(p.val.Content) - 1; i >= 0; i-- {
		if slices.ContainsFunc(want.items, func(v value) bool { return v.text == old.items[i].text && v.kind == old.items[i].kind }) {
			continue
		}
		first, end := p.val.Content[i].Line-1, p.end
		if i+1 < len(p.val.Content) {
			end = l.trim(first+1, p.val.Content[i+1].Line-1, p.val.Column-1)
		}
		lines = slices.Delete(lines, first-p.first, end-p.first)
	}
	return l.replace(p.first, p.end, lines)
}

// hasComments tells whether there are comments in a value, besides that on its
// first line.
func hasComments(n *yaml.Node) bool {
	for _, c := range n.Content {
		if c.HeadComment+c.LineComment+c.FootComment != "" || hasComments(c) {
			return true
		}
	}
	return false
}

// encodeFlow writes a value on one line.
func encodeFlow(v value) string {
	var b strings.Builder
	switch v.kind {
	case nullKind:
		return "null"
	case textKind:
		return encodeText(v.text)
	case numberKind, booleanKind:
		return v.text
	case sequenceKind:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(flowSafe(item))
		}
		b.WriteByte(']')
	case mappingKind:
		b.WriteByte('{')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(flowSafe(value{kind: textKind, text: v.keys[i]}) + ": " + flowSafe(item))
		}
		b.WriteByte('}')
	}
	return b.String()
}

// flowSafe writes a member of a list or mapping on one line, where commas and
// brackets mean something.
func flowSafe(v value) string {
	if v.kind == textKind && strings.ContainsAny(v.text, ",[]{}") {
		return strconv.Quote(v.text)
	}
	return encodeFlow(v)
}

var (
	// otherTypes are words that some readers of YAML take for no text.
	otherTypes = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null|~)$`)

	// numeric is what may be read as a number, a date or a time.
	numeric = regexp.MustCompile(`^[-+.]?[0-9][0-9a-fA-FxXoO_:.eE+ TZ-]*$`)
)

// encodeText writes text so that every reader of YAML reads it as that text.
func encodeText(s string) string {
	v, err := decode([]byte("k: " + s + "\n"))
	if err != nil || otherTypes.MatchString(s) || numeric.MatchString(s) || v.get("k").kind != textKind || v.get("k").text != s {
		return strconv.Quote(s)
	}
	return s
}
