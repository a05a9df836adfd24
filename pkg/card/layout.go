package card

import (
	"slices"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// A style is how a piece of text looks; styles are added up.
type style uint8

const (
	bold style = 1 << iota
	italic
	underline
	strike
	code
)

// inlineStyle returns the style that an element gives to text.
func inlineStyle(name string) (style, bool) {
	switch name {
	case "strong", "b", "th":
		return bold, true
	case "em", "i", "cite", "dfn", "var":
		return italic, true
	case "u", "ins", "a":
		return underline, true
	case "del", "s":
		return strike, true
	case "code", "kbd", "samp", "tt":
		return code, true
	}
	return 0, false
}

// sequence returns the ANSI sequence that turns a style on (ECMA-48, SGR).
func (s style) sequence() string {
	var codes []string
	for _, c := range []struct {
		style style
		code  string
	}{{bold, "1"}, {italic, "3"}, {underline, "4"}, {strike, "9"}, {code, "36"}} {
		if s&c.style != 0 {
			codes = append(codes, c.code)
		}
	}
	if codes == nil {
		return ""
	}
	return "\x1b[" + strings.Join(codes, ";") + "m"
}

const resetSequence = "\x1b[0m"

// A piece is text of one style.
type piece struct {
	text     string
	style    style
	verbatim bool // blanks and line ends count
	breaks   bool // ends the line
}

var newline = piece{breaks: true}

// A word is what a line is not broken within.
type word struct {
	pieces []piece
	width  int
	spaced bool // blanks stand before it
	breaks bool // it begins a line
}

// words splits pieces at blanks, and between characters of scripts that are
// written without them.
func words(pieces []piece) []word {
	var out []word
	next := word{}
	end := func() {
		if len(next.pieces) > 0 || next.breaks {
			out = append(out, next)
		}
		next = word{}
	}
	for _, p := range pieces {
		if p.breaks {
			end()
			next.breaks = true
			continue
		}
		start := 0
		for i, r := range p.text {
			blank := strings.ContainsRune(" \t\r\n\f", r)
			if !blank && (!isCJK(r) || i == start && len(next.pieces) == 0) {
				continue
			}
			next.add(p, p.text[start:i])
			start = i
			if blank {
				start = i + 1
			}
			if len(next.pieces) > 0 {
				end()
			}
			next.spaced = next.spaced || blank
		}
		next.add(p, p.text[start:])
	}
	end()
	return out
}

func (w *word) add(p piece, text string) {
	if text == "" {
		return
	}
	p.text = text
	w.pieces = append(w.pieces, p)
	w.width += textWidth(text)
}

// textWidth returns the number of columns that a terminal gives to s.
func textWidth(s string) int {
	c := runewidth.Condition{StrictEmojiNeutral: true}
	return c.StringWidth(s)
}

// isCJK reports characters of scripts that are written without blanks.
func isCJK(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

// wrap lays pieces out in lines of a width. Words that are wider stand on a
// line of their own.
func wrap(pieces []piece, width int) [][]piece {
	var lines [][]piece
	var line []piece
	used := 0
	for _, w := range words(pieces) {
		space := 0
		if w.spaced && used > 0 {
			space = 1
		}
		if w.breaks || used > 0 && used+space+w.width > width {
			lines = append(lines, line)
			line, used, space = nil, 0, 0
		}
		if space > 0 {
			line = append(line, blankBetween(line[len(line)-1], w))
		}
		line = append(line, w.pieces...)
		used += space + w.width
	}
	if len(line) > 0 {
		lines = append(lines, line)
	}
	return lines
}

// blankBetween returns the blank before a word in the style that it shares
// with what stands before, so that a link is underlined throughout.
func blankBetween(before piece, w word) piece {
	b := piece{text: " "}
	if len(w.pieces) > 0 {
		b.style = before.style & w.pieces[0].style
	}
	return b
}

// paint returns a line as it is written, with sequences if color is set.
func paint(line []piece, color bool) string {
	var b strings.Builder
	var now style
	for _, p := range line {
		if color && p.style != now {
			if now != 0 {
				b.WriteString(resetSequence)
			}
			b.WriteString(p.style.sequence())
			now = p.style
		}
		b.WriteString(p.text)
	}
	if now != 0 {
		b.WriteString(resetSequence)
	}
	return b.String()
}

func lineWidth(line []piece) int {
	n := 0
	for _, p := range line {
		n += textWidth(p.text)
	}
	return n
}

// paragraph ends a paragraph: what follows stands after an empty line.
func (p *printer) paragraph() {
	p.flush()
	p.gapDue = p.gapDue || p.table == nil
}

// flush writes the text collected so far. In the cell of a table it only
// begins a line.
func (p *printer) flush() {
	if p.table != nil {
		p.breakCell()
		return
	}
	line := p.line
	p.line = nil
	for i := range p.links {
		p.links[i].start = 0
	}
	if len(line) > 0 && line[0].verbatim {
		p.writeCode(line)
		return
	}
	for _, l := range wrap(line, p.textWidth()) {
		if p.err != nil {
			return
		}
		p.writeLine(paint(l, p.color))
	}
}

// breakCell begins a line in the cell of a table, if one has text already.
func (p *printer) breakCell() {
	for _, x := range slices.Backward(p.line) {
		if x.breaks {
			return
		}
		if strings.TrimSpace(x.text) != "" {
			p.line = append(p.line, newline)
			return
		}
	}
}

// writeCode writes the lines of a code block as they are.
func (p *printer) writeCode(pieces []piece) {
	var b strings.Builder
	for _, x := range pieces {
		b.WriteString(x.text)
	}
	text := strings.ReplaceAll(strings.Trim(b.String(), "\n"), "\t", "    ")
	for line := range strings.SplitSeq(text, "\n") {
		if p.err != nil {
			return
		}
		line = strings.TrimRight(line, " \r")
		if line != "" {
			line = paint([]piece{{text: "    "}, {text: line, style: code}}, p.color)
		}
		p.writeLine(line)
	}
}

func (p *printer) indent(first, rest string) {
	p.indents = append(p.indents, indent{first: first, rest: rest})
}

func (p *printer) unindent() {
	p.indents = p.indents[:max(0, len(p.indents)-1)]
}

// textWidth returns the columns that are left beside the indents.
func (p *printer) textWidth() int {
	n := p.width
	for _, in := range p.indents[:min(len(p.indents), maxIndents)] {
		n -= textWidth(in.rest)
	}
	return max(n, minTextWidth)
}

// writeLine writes a line with its indents, after the empty line that is due.
func (p *printer) writeLine(s string) {
	if p.gapDue && p.out.Len() > 0 {
		p.write(strings.TrimRight(p.prefix(false), " ") + "\n")
	}
	p.gapDue = false
	p.write(strings.TrimRight(p.prefix(true)+s, " ") + "\n")
}

// prefix returns the indents of a line; those of a written one are used up.
func (p *printer) prefix(use bool) string {
	var b strings.Builder
	for i := range p.indents[:min(len(p.indents), maxIndents)] {
		in := &p.indents[i]
		switch {
		case in.used:
			b.WriteString(in.rest)
		case use:
			b.WriteString(in.first)
			in.used = true
		default: // it begins below the empty line
			return b.String()
		}
	}
	return b.String()
}

func (p *printer) write(s string) {
	if p.err == nil {
		_, p.err = p.out.WriteString(s)
	}
}
