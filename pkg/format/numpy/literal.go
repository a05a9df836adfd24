package numpy

import (
	"bytes"
	"strconv"
	"strings"
)

// What a literal becomes besides string, int64, bool and nil.
type (
	dict  map[string]any
	tuple []any
	list  []any
)

// maxNesting is that of literals. Structures within structures nest lists and
// tuples.
const maxNesting = 16

var constants = [...]struct {
	word  string
	value any
}{{"True", true}, {"False", false}, {"None", nil}}

// A literal parses the part of Python's literals that headers are made of.
type literal struct {
	text  []byte
	pos   int
	start int64 // offset of text in the file
}

// document parses one literal and nothing after it.
func (p *literal) document() (any, error) {
	v, err := p.value(0)
	if err == nil && p.peek() != 0 {
		err = p.malformed("something after the header")
	}
	return v, err
}

// peek goes to the next byte that is not white space, and returns it or 0.
func (p *literal) peek() byte {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	if p.text[p.pos] == 0 {
		return 1 // no literal begins with it, as with NUL, which stands for the end
	}
	return p.text[p.pos]
}

func (p *literal) value(depth int) (any, error) {
	if depth > maxNesting {
		return nil, p.malformed("the header nests deeper than %d", maxNesting)
	}
	switch c := p.peek(); {
	case c == '{':
		return p.dict(depth)
	case c == '(':
		items, commas, err := p.items(')', depth)
		if err == nil && len(items) == 1 && commas == 0 {
			return items[0], nil // parentheses, no tuple
		}
		return tuple(items), err
	case c == '[':
		items, _, err := p.items(']', depth)
		return list(items), err
	case c == '\'' || c == '"':
		return p.quoted()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, constant := range constants {
		if bytes.HasPrefix(p.text[p.pos:], []byte(constant.word)) {
			p.pos += len(constant.word)
			return constant.value, nil
		}
	}
	return nil, p.malformed("no literal")
}

func (p *literal) dict(depth int) (any, error) {
	p.pos++
	d := dict{}
	for p.peek() != '}' {
		key, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if _, twice := d[name]; !ok || twice || p.peek() != ':' {
			return nil, p.malformed("no key of the dictionary, or one that is there twice")
		}
		p.pos++
		if d[name], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		if p.peek() == ',' {
			p.pos++
		} else if p.peek() != '}' {
			return nil, p.malformed("the dictionary does not end")
		}
	}
	p.pos++
	return d, nil
}

// items parses what is between brackets, and counts the commas.
func (p *literal) items(end byte, depth int) (items []any, commas int, err error) {
	p.pos++
	items = []any{}
	for p.peek() != end {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, 0, err
		}
		items = append(items, v)
		if p.peek() == ',' {
			p.pos++
			commas++
		} else if p.peek() != end {
			return nil, 0, p.malformed("brackets do not close")
		}
	}
	p.pos++
	return items, commas, nil
}

// quoted parses a string. NumPy writes escapes only for names of fields that
// no model has: they are refused.
func (p *literal) quoted() (any, error) {
	quote := p.text[p.pos]
	for i := p.pos + 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\', '\n':
			p.pos = i
			return nil, p.malformed("an escape or the end of a line in a string")
		case quote:
			s := string(p.text[p.pos+1 : i])
			p.pos = i + 1
			return s, nil
		}
	}
	return nil, p.malformed("a string does not end")
}

func (p *literal) number() (any, error) {
	i := p.pos + 1
	for i < len(p.text) && p.text[i] >= '0' && p.text[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(string(p.text[p.pos:i]), 10, 64)
	if err != nil {
		return nil, p.malformed("no number of 64 bits")
	}
	if i < len(p.text) && p.text[i] == 'L' { // Python 2 wrote long numbers so
		i++
	}
	p.pos = i
	return n, nil
}

func (p *literal) malformed(reason string, args ...any) error {
	return malformedAt(p.start+int64(p.pos), reason, args...)
}
