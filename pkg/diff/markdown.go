package diff

import (
	"fmt"
	"strings"
)

// Limits of Markdown: comments of pull requests hold 64 KiB.
const (
	maxCell  = 120
	maxRows  = 50
	maxDiff  = 120 // lines of a text
	maxBlock = 40  // texts
)

// Markdown writes the result for a pull request: a line for each level, and
// unless stat says that these are enough, what changed, folded. Text of the
// versions stands in code, where it can neither be markup nor mention anybody.
func (r *Result) Markdown(stat bool) string {
	m := &markdown{}
	m.printf("## %s … %s\n\n| level | |\n| --- | --- |\n", MarkdownCode(shortRef(r.From)), MarkdownCode(shortRef(r.To)))
	for _, s := range Stats(r) {
		m.printf("| **%s** | %s |\n", s.Level, MarkdownCode(s.Text))
	}
	if stat {
		return m.String()
	}
	for _, b := range r.parts() {
		if b.text != nil {
			m.text(b.title, b.text)
		} else {
			m.fold(b)
		}
	}
	for _, p := range r.Problems {
		m.printf("\n> %s\n", MarkdownCode(p))
	}
	return m.String()
}

// MarkdownCode writes text as code that fits into a cell of a table: without
// line ends, control characters or pipes, and with as many backquotes around as
// it needs.
func MarkdownCode(text string) string {
	s := strings.ReplaceAll(visible(text), "|", "¦") // a pipe ends a cell even in code
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 || strings.HasPrefix(s, " ") {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

type markdown struct {
	strings.Builder
	blocks int
}

func (m *markdown) printf(format string, args ...any) { fmt.Fprintf(m, format, args...) }

// fold writes rows below a headline that opens them.
func (m *markdown) fold(b part) {
	if len(b.rows) == 0 {
		return
	}
	m.printf("\n<details><summary>%s</summary>\n\n| %s |\n|%s\n", b.title, strings.Join(b.head, " | "), strings.Repeat(" --- |", len(b.head)))
	for i, row := range b.rows {
		if i == maxRows {
			m.printf("\n… and %d more\n", len(b.rows)-i)
			break
		}
		m.printf("| ")
		for j, c := range row {
			if j > 0 {
				m.printf(" | ")
			}
			m.printf("%s", c.markdown())
		}
		m.printf(" |\n")
	}
	m.printf("\n</details>\n")
}

func (c cell) markdown() string {
	var b strings.Builder
	for _, s := range c {
		if s.code {
			b.WriteString(MarkdownCode(s.text))
		} else {
			b.WriteString(s.text)
		}
	}
	return b.String()
}

// text writes changed lines, fenced by more backquotes than any of them has.
func (m *markdown) text(name string, t *TextChange) {
	if m.blocks++; m.blocks > maxBlock || len(t.Hunks) == 0 {
		return
	}
	fence := "```"
	var body strings.Builder
	lines := 0
	for _, h := range t.Hunks {
		fmt.Fprintf(&body, "@@ -%d +%d @@\n", h.From, h.To)
		for _, line := range h.Lines {
			if lines++; lines > maxDiff {
				continue
			}
			for strings.Contains(line, fence) {
				fence += "`"
			}
			body.WriteString(plainLine(line) + "\n")
		}
	}
	m.printf("\n%s (+%d −%d)\n\n%sdiff\n%s%s\n", MarkdownCode(name), t.Added, t.Removed, fence, body.String(), fence)
}
