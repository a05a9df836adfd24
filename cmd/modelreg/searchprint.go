package main

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/index"
)

// plainWidth is how long lines of finds are where no terminal says, in letters.
const plainWidth = 100

// findsWidth is how long lines of finds may be.
func (a *app) findsWidth() int {
	if isTerminal(a.out) {
		return lookOf(a.out).width
	}
	return plainWidth
}

// tagFor returns the tag to show of several: of those that the query asks for, if it
// does, a release rather than a branch.
func tagFor(q index.Query, tags []string) string {
	asked := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return !asksFor(q, strings.ToLower(tag)) })
	if len(asked) > 0 {
		return mainTag(asked)
	}
	return mainTag(tags)
}

// asksFor tells whether a query names a tag.
func asksFor(q index.Query, tag string) bool {
	return slices.ContainsFunc(q.Terms, func(t index.Term) bool {
		return t.Key == "tag" && !t.Not && slices.ContainsFunc(t.Values, func(v index.Value) bool {
			return tag == v.Text || v.Prefix && strings.HasPrefix(tag, v.Text)
		})
	})
}

// aboutHit is a line about a find: where its words are in the card, in bold, or what
// the card begins with.
func aboutHit(style ui.Style, h index.Hit, width int) string {
	s := h.Snippet
	if len(s.Marks) == 0 {
		s = index.Snippet{Text: h.Record.Summary}
	}
	return snippetText(style, s, width)
}

var blanks = regexp.MustCompile(`[\s─]+`)

// snippetText is a snippet on one line of at most width letters, with its words in
// bold.
func snippetText(style ui.Style, s index.Snippet, width int) string {
	if len(s.Marks) > 0 && utf8.RuneCountInString(s.Text[:s.Marks[0][1]]) > width {
		s = from(s, s.Marks[0][0]) // what was looked for is in sight
	}
	var b strings.Builder
	add := func(text string, style func(string) string) {
		text = ui.Clean(blanks.ReplaceAllString(text, " "))
		if b.Len() == 0 {
			text = strings.TrimLeft(text, " ")
		}
		if n := utf8.RuneCountInString(text); n <= width {
			width -= n
		} else if width > 0 {
			text, width = strings.TrimRight(string([]rune(text)[:width-1]), " ")+"…", 0
		} else {
			return
		}
		if text != "" {
			b.WriteString(style(text))
		}
	}
	plain := func(text string) string { return text }
	at := 0
	for _, m := range s.Marks {
		add(s.Text[at:m[0]], plain)
		add(s.Text[m[0]:m[1]], style.Bold)
		at = m[1]
	}
	add(s.Text[at:], plain)
	return strings.TrimSpace(b.String())
}

// from is a snippet without the first n bytes.
func from(s index.Snippet, n int) index.Snippet {
	out := index.Snippet{Text: s.Text[n:]}
	for _, m := range s.Marks {
		out.Marks = append(out.Marks, [2]int{m[0] - n, m[1] - n})
	}
	return out
}
