package card

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// A Section is a heading of a card and what stands below it.
type Section struct {
	Title string // as plain text; empty for what stands before the first heading
	Level int    // 1 to 6; 0 before the first heading
	Line  int    // of the heading in the README, from 1

	// Text is Markdown from below the heading to the next one, of any level.
	Text string

	textLine int // of Text's first line
}

// Sections cuts the body at its headings, in order. What stands before the first
// heading is a section without a title, if it is more than blanks. The error wraps
// [ErrTooLarge] where [Card.HTML]'s would.
func (c *Card) Sections() ([]Section, error) {
	src := bytes.ToValidUTF8(c.Body, []byte("\ufffd"))
	if n := bytes.Count(src, []byte("\n")); n > maxLines {
		return nil, fmt.Errorf("read card: %d lines, limit %d: %w", n, maxLines, ErrTooLarge)
	}
	m := &meter{deadline: time.Now().Add(maxRenderTime)}
	doc := newParser(m).Parse(text.NewReader(src))
	if m.late() {
		return nil, fmt.Errorf("read card: more than %v: %w", maxRenderTime, ErrTooLarge)
	}
	var out []Section
	var starts, ends []int
	line, counted := c.bodyLine, 0
	// The callback returns no error.
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering || n.Type() == ast.TypeInline {
			return ast.WalkSkipChildren, nil
		}
		h, ok := n.(*ast.Heading)
		if !ok || h.Lines().Len() == 0 {
			return ast.WalkContinue, nil
		}
		first, last := h.Lines().At(0), h.Lines().At(h.Lines().Len()-1)
		start := bytes.LastIndexByte(src[:first.Start], '\n') + 1
		if start < counted {
			return ast.WalkSkipChildren, nil // in the order of the text, whatever the tree says
		}
		line, counted = line+bytes.Count(src[counted:start], []byte("\n")), start
		out = append(out, Section{
			Title: strings.TrimSpace(inlineText(h, src)), Level: h.Level,
			Line: line,
		})
		starts, ends = append(starts, start), append(ends, last.Stop)
		return ast.WalkSkipChildren, nil
	})
	return c.fill(src, out, bounds{starts, ends}), nil
}

// bounds are where headings begin and end.
type bounds struct{ starts, ends []int }

// fill gives each section the text below its heading.
func (c *Card) fill(src []byte, sections []Section, b bounds) []Section {
	for i := range sections {
		end := len(src)
		if i+1 < len(sections) {
			end = b.starts[i+1]
		}
		below := src[min(b.ends[i], end):end]
		if j := bytes.IndexByte(below, '\n'); j >= 0 {
			rest := below[j+1:]
			// Of a heading that is underlined, the line below is part of it.
			if line, after := cutLine(rest); isUnderline(line) && !bytes.HasPrefix(bytes.TrimLeft(src[b.starts[i]:], " "), []byte("#")) {
				rest = after
			}
			below = rest
		} else {
			below = nil
		}
		sections[i].Text = string(below)
		head := len(src[b.starts[i]:end]) - len(below)
		sections[i].textLine = sections[i].Line + bytes.Count(src[b.starts[i]:b.starts[i]+head], []byte("\n"))
	}
	lead := src
	if len(sections) > 0 {
		lead = src[:b.starts[0]]
	}
	if len(bytes.TrimSpace(lead)) == 0 {
		return sections
	}
	return append([]Section{{Line: c.bodyLine, Text: string(lead), textLine: c.bodyLine}}, sections...)
}

func isUnderline(line []byte) bool {
	s := strings.TrimSpace(string(line))
	return s != "" && (strings.Trim(s, "=") == "" || strings.Trim(s, "-") == "")
}

// countWords counts the words of Markdown that are not in blocks of code or comments.
// Where a script has no blanks between words, two characters count as one.
func countWords(markdown string) int {
	n, wide, fenced := 0, 0, false
	for line := range strings.Lines(dropComments(markdown)) {
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "```") || strings.HasPrefix(t, "~~~") {
			fenced = !fenced
			continue
		}
		if fenced {
			continue
		}
		for field := range strings.FieldsSeq(line) {
			narrow := false
			for _, r := range field {
				if unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai) {
					wide++
				} else if unicode.IsLetter(r) || unicode.IsDigit(r) {
					narrow = true
				}
			}
			if narrow {
				n++
			}
		}
	}
	return n + (wide+1)/2
}

// dropComments leaves out HTML comments.
func dropComments(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "<!--")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if _, s, ok = strings.Cut(rest, "-->"); !ok {
			return b.String()
		}
	}
}
