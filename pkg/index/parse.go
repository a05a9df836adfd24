package index

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A SyntaxError tells what is wrong in a query, and where.
type SyntaxError struct {
	Query   string
	Column  int    // of the first character at fault, from 1
	Length  int    // how many characters are at fault, at least 1
	Problem string // in words, such as `unknown key "licens"`
	Hint    string // what may be meant, such as "did you mean license:?"; or empty
}

// Error tells column, problem and hint on one line.
func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("read query: column %d: %s", e.Column, e.Problem)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Caret returns the query and below it a mark under what is at fault, as two
// lines. Characters that do not print, or may be wide, are shown as '?'.
func (e *SyntaxError) Caret() string {
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r >= 0x1100 {
			return '?'
		}
		return r
	}, e.Query)
	return line + "\n" + strings.Repeat(" ", e.Column-1) + strings.Repeat("^", max(e.Length, 1))
}

// ParseQuery reads a query. Its terms are separated by spaces: words, words* with
// any ending, "phrases", and key:value, each with a "-" before it to turn it
// round. Values of a key are separated by commas, and one of them is enough. The
// error is a *[SyntaxError].
func ParseQuery(text string) (Query, error) {
	p := &parser{text: text}
	if len(text) > MaxQuery {
		return Query{}, p.fail(0, 1, fmt.Sprintf("the query is longer than %d bytes", MaxQuery), "")
	}
	if i := invalidAt(text); i >= 0 {
		return Query{}, p.fail(i, i+1, "not UTF-8", "")
	}
	var q Query
	for p.space(); p.pos < len(text); p.space() {
		start := p.pos
		t, ok, err := p.term()
		if err != nil {
			return Query{}, err
		}
		if !ok {
			continue
		}
		if len(q.Terms) == MaxTerms {
			return Query{}, p.fail(start, p.pos, fmt.Sprintf("more than %d terms", MaxTerms), "")
		}
		q.Terms = append(q.Terms, t)
	}
	return q, nil
}

func invalidAt(s string) int {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return i
		}
	}
	return -1
}

// A parser reads a query from its beginning; pos is the next byte.
type parser struct {
	text string
	pos  int
}

func (p *parser) fail(from, to int, problem, hint string) error {
	to = min(max(to, from+1), len(p.text))
	return &SyntaxError{
		Query:   p.text,
		Column:  utf8.RuneCountInString(p.text[:from]) + 1,
		Length:  max(utf8.RuneCountInString(p.text[from:max(to, from)]), 1),
		Problem: problem, Hint: hint,
	}
}

func (p *parser) space() { p.run(isSpace) }

func isSpace(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// run takes characters as long as is allows, and returns them.
func (p *parser) run(is func(rune) bool) string {
	rest := p.text[p.pos:]
	n := strings.IndexFunc(rest, func(r rune) bool { return !is(r) })
	if n < 0 {
		n = len(rest)
	}
	p.pos += n
	return rest[:n]
}

func (p *parser) take(s string) bool {
	if !strings.HasPrefix(p.text[p.pos:], s) {
		return false
	}
	p.pos += len(s)
	return true
}

// term reads one term; it is not ok if there is nothing in it to look for.
func (p *parser) term() (t Term, ok bool, err error) {
	t.Not = p.take("-")
	start := p.pos
	if p.take(`"`) {
		s, err := p.quoted(start)
		t.Values = []Value{{Text: s, Phrase: true}}
		return t, len(tokens(s)) > 0, err
	}
	name := p.run(isKeyLetter)
	next := p.text[p.pos:]
	switch {
	case name != "" && strings.HasPrefix(next, ":") && !strings.HasPrefix(next, "://"):
		p.pos++
		err = p.key(&t, start, name)
		return t, true, err
	case name != "" && next != "" && strings.ContainsRune("<>=", rune(next[0])):
		if k, known := findKey(name); known {
			return t, false, p.fail(start, p.pos+1, fmt.Sprintf("a colon is missing after %q", name), "write "+k.example)
		}
	}
	word := strings.ToLower(name + p.run(func(r rune) bool { return !isSpace(r) && r != '"' }))
	if t.Not && (word == Deprecated || word == Yanked) {
		return Term{Key: word, Values: []Value{{Text: "no"}}}, true, nil
	}
	v := Value{Text: word}
	if s := strings.TrimRight(word, "*"); s != word {
		v = Value{Text: s, Prefix: true}
	}
	t.Values = []Value{v}
	return t, len(tokens(v.Text)) > 0, nil
}

func isKeyLetter(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
}

// quoted reads up to the closing quote. The opening one is at start.
func (p *parser) quoted(start int) (string, error) {
	var b strings.Builder
	for i := p.pos; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.pos = i + 1
			return strings.ToLower(b.String()), nil
		case c == '\\' && i+1 < len(p.text) && (p.text[i+1] == '"' || p.text[i+1] == '\\'):
			i++
			b.WriteByte(p.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(start, start+1, "the quote is not closed", `add a " at the end of the phrase`)
}

// key reads the values of a key whose name begins at start.
func (p *parser) key(t *Term, start int, name string) error {
	k, known := findKey(name)
	if !known {
		hint := fmt.Sprintf("to search for the text, put it in quotes: \"%s:…\"", name)
		if s := nearKey(name); s != "" {
			hint = "did you mean " + s + ":?"
		}
		return p.fail(start, p.pos, fmt.Sprintf("unknown key %q", name), hint)
	}
	t.Key = k.name
	for {
		if len(t.Values) == MaxValues {
			return p.fail(p.pos, p.pos+1, fmt.Sprintf("more than %d values", MaxValues), "")
		}
		v, err := p.value(k)
		if err != nil {
			return err
		}
		t.Values = append(t.Values, v)
		if !p.take(",") {
			break
		}
	}
	if r, _ := utf8.DecodeRuneInString(p.text[p.pos:]); p.pos < len(p.text) && !isSpace(r) {
		return p.fail(p.pos, p.pos+1, fmt.Sprintf("%q is not expected here", r), "write a space between terms, or such a value in quotes")
	}
	return nil
}

func (p *parser) value(k keyword) (Value, error) {
	switch k.kind {
	case numbers:
		return p.comparison(k, "")
	case metrics:
		return p.metric(k)
	}
	start := p.pos
	if p.take(`"`) {
		s, err := p.quoted(start)
		if err == nil && s == "" {
			err = p.fail(start, p.pos, k.name+": needs a value", "such as "+k.example)
		}
		if err != nil || k.kind == words || k.kind == signers {
			return Value{Text: s, Phrase: true}, err
		}
		return p.oneOf(k, start, s)
	}
	s := strings.ToLower(p.run(isValueLetter))
	if s == "" {
		return Value{}, p.fail(start, p.pos, k.name+": needs a value", "such as "+k.example)
	}
	if k.kind != words && k.kind != signers {
		return p.oneOf(k, start, s)
	}
	v := Value{Text: s}
	if text, star := strings.CutSuffix(s, "*"); star {
		v = Value{Text: text, Prefix: true}
	}
	if i := strings.IndexByte(v.Text, '*'); i >= 0 {
		return Value{}, p.fail(start+i, start+i+1, "* is only understood at the end of a value", "")
	}
	return v, nil
}

func isValueLetter(r rune) bool { return !isSpace(r) && r != ',' && r != '"' }

// oneOf reads a value of a key that knows only some.
func (p *parser) oneOf(k keyword, start int, s string) (Value, error) {
	list := k.choices
	if k.kind == flags {
		switch s {
		case "true", "y", "1":
			s = "yes"
		case "false", "n", "0":
			s = "no"
		}
		list = []string{"yes", "no", "any"}
	}
	if slices.Contains(list, s) {
		return Value{Text: s}, nil
	}
	hint := "it can be " + strings.Join(list, ", ")
	if w := near(s, list); w != "" {
		hint = "did you mean " + w + "?"
	}
	return Value{}, p.fail(start, p.pos, fmt.Sprintf("%s: cannot be %q", k.name, s), hint)
}
