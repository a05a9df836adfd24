package card

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

const (
	maxSummary      = 300      // characters
	maxSummaryInput = 32 << 10 // bytes of the body that are looked at
	minProse        = 5        // letters outside links; fewer are a row of links
)

// Summary returns the first paragraph of the body as plain text on one line,
// cut to 300 characters at a word. Headings, lists, quotes, tables, code,
// images, rows of links and placeholders are not prose; a card without any has an empty
// summary.
func (c *Card) Summary() string {
	body := c.Body
	if len(body) > maxSummaryInput {
		body = body[:maxSummaryInput]
		body = body[:bytes.LastIndexByte(body, '\n')+1]
	}
	safe, err := sanitise(body, &rewriter{dropImages: true})
	if err != nil {
		return ""
	}
	var s summariser
	z := html.NewTokenizer(bytes.NewReader(safe))
	for {
		switch z.Next() {
		case html.ErrorToken:
			s.endParagraph()
			return shorten(s.found)
		case html.TextToken:
			s.text(z.Token().Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			s.tag(z.Token().Data, 1)
		case html.EndTagToken:
			s.tag(z.Token().Data, -1)
		case html.CommentToken, html.DoctypeToken:
		}
		if s.found != "" {
			return shorten(s.found)
		}
	}
}

// A summariser looks for the first paragraph of prose.
type summariser struct {
	found   string
	line    strings.Builder
	letters int // outside links
	skipped int // open elements that are not prose
	links   int // open links
}

// tag handles the start (1) or end (-1) of an element.
func (s *summariser) tag(name string, step int) {
	switch name {
	case "a":
		s.links += step
	case "br":
		s.line.WriteByte(' ')
	case "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table", "ul", "ol", "dl",
		"blockquote", "summary", "figcaption":
		s.endParagraph()
		s.skipped += step
	case "p", "div", "center", "details", "figure", "hr":
		s.endParagraph()
	}
}

func (s *summariser) text(t string) {
	if s.skipped > 0 {
		return
	}
	s.line.WriteString(t)
	if s.links > 0 {
		return
	}
	for _, r := range t {
		if unicode.IsLetter(r) {
			s.letters++
		}
	}
}

func (s *summariser) endParagraph() {
	if s.found == "" && s.letters >= minProse {
		if p := strings.Join(strings.Fields(s.line.String()), " "); !isPlaceholder(p) || countWords(p) >= minWords {
			s.found = p
		}
	}
	s.line.Reset()
	s.letters = 0
}

// shorten cuts s after a word.
func shorten(s string) string {
	if utf8.RuneCountInString(s) <= maxSummary {
		return s
	}
	runes := []rune(s)[:maxSummary-1]
	cut := string(runes)
	if i := strings.LastIndexByte(cut, ' '); i > len(cut)/2 {
		cut = cut[:i]
	}
	return strings.TrimRight(cut, " ,;:") + "…"
}
