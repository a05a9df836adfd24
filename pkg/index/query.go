package index

import (
	"strconv"
	"strings"
)

// Bounds on a query.
const (
	MaxQuery  = 2048 // bytes
	MaxTerms  = 64   // terms
	MaxValues = 64   // values of one term
)

// A Query is a search: versions that fit all its terms. The zero Query fits
// every version.
type Query struct {
	Terms []Term
}

// A Term is one condition: free text, or what a key must be.
type Term struct {
	// Not turns the condition round.
	Not bool

	// Key is the canonical name of the key ("license"), or empty for text.
	Key string

	// Values are the alternatives: one of them is enough. Text has exactly
	// one.
	Values []Value
}

// A Value is one alternative of a [Term].
type Value struct {
	// Text is the text to look for, in lower case; for the key "metric" it
	// is the metric's name. It is empty for numbers.
	Text string

	// Prefix tells that more may follow the text ("q4*").
	Prefix bool

	// Phrase tells that the text was quoted.
	Phrase bool

	// Op tells how numbers compare: "<", "<=", ">", ">=", "=" or ".." for a
	// range whose ends belong to it. It is empty where there is no number.
	Op string

	// Low is the number, or the lower end of a range; High is the upper
	// end. The zero Quantity at an end of a range leaves it open.
	Low, High Quantity
}

// A Quantity is a number with its unit, or a date.
type Quantity struct {
	Number float64
	Unit   string // "b", "gib", "d" …; empty for a plain number
	Date   string // "2026", "2026-11" or "2026-11-23"; then the rest is zero
	set    bool
}

// IsZero tells whether there is no quantity.
func (q Quantity) IsZero() bool { return !q.set }

// String returns the query in its canonical form: what [ParseQuery] reads as
// the same query.
func (q Query) String() string {
	parts := make([]string, len(q.Terms))
	for i, t := range q.Terms {
		parts[i] = t.String()
	}
	return strings.Join(parts, " ")
}

// String returns the term in its canonical form.
func (t Term) String() string {
	var b strings.Builder
	if t.Not {
		b.WriteByte('-')
	}
	if t.Key == "" {
		b.WriteString(t.Values[0].text(isPlainWord))
		return b.String()
	}
	b.WriteString(t.Key + ":")
	for i, v := range t.Values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(v.String())
	}
	return b.String()
}

// String returns the value as it stands after a key.
func (v Value) String() string {
	if v.Op == "" {
		return v.text(isPlainValue)
	}
	name := v.Text
	if name != "" && v.Op == ".." {
		name += "="
	}
	switch v.Op {
	case "..":
		return name + v.Low.String() + ".." + v.High.String()
	case "=":
		if name == "" {
			return v.Low.String()
		}
	}
	return name + v.Op + v.Low.String()
}

// String returns the quantity as it is written, and nothing for the zero one.
func (q Quantity) String() string {
	switch {
	case !q.set:
		return ""
	case q.Date != "":
		return q.Date
	}
	return strconv.FormatFloat(q.Number, 'f', -1, 64) + q.Unit
}

// text prints words, in quotes unless they would be read as the same without.
func (v Value) text(plain func(string) bool) string {
	switch {
	case v.Phrase || !v.Prefix && !plain(v.Text):
		return quote(v.Text)
	case v.Prefix:
		return v.Text + "*"
	}
	return v.Text
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(s string) string { return `"` + quoter.Replace(s) + `"` }

// isPlainWord tells whether a word of free text is read as itself.
func isPlainWord(s string) bool {
	p := &parser{text: s}
	t, ok, err := p.term()
	return err == nil && ok && p.pos == len(s) && t.Key == "" && !t.Not && t.Values[0] == Value{Text: s}
}

func isPlainValue(s string) bool { return s != "" && !strings.ContainsAny(s, " \",*") }
