package diff

import (
	"fmt"
	"html"
	"strings"
)

// Limits of HTML: a page is read by people.
const (
	maxRowsHTML = 1000 // of one table
	maxDiffHTML = 2000 // lines of one text
)

// HTML writes the result as a fragment of HTML that is safe to put into a page: a
// table of the levels, and unless stat says that these are enough, what changed,
// folded. Text of the versions stands in code. There is nothing in it that runs,
// fetches, links or styles; classes ("diff-added", "diff-removed") are for the page.
func (r *Result) HTML(stat bool) string {
	h := &hypertext{}
	h.printf("<section class=\"diff\">\n<h2>%s … %s</h2>\n<table>\n", HTMLCode(shortRef(r.From)), HTMLCode(shortRef(r.To)))
	for _, s := range Stats(r) {
		h.printf("<tr><th scope=\"row\">%s</th><td>%s</td></tr>\n", html.EscapeString(s.Level), HTMLCode(s.Text))
	}
	h.printf("</table>\n")
	if !stat {
		for _, b := range r.parts() {
			if b.text != nil {
				h.text(b.title, b.text)
			} else {
				h.fold(b)
			}
		}
		for _, p := range r.Problems {
			h.printf("<p>%s</p>\n", HTMLCode(p))
		}
	}
	h.printf("</section>\n")
	return h.String()
}

// HTMLCode writes text of a version as code on one line.
func HTMLCode(text string) string {
	if text == "" {
		return ""
	}
	return "<code>" + html.EscapeString(visible(text)) + "</code>"
}

type hypertext struct {
	strings.Builder
	blocks int
}

func (h *hypertext) printf(format string, args ...any) { fmt.Fprintf(h, format, args...) }

// fold writes a table below a headline that opens it.
func (h *hypertext) fold(b part) {
	if len(b.rows) == 0 {
		return
	}
	h.printf("<details><summary>%s</summary>\n<table>\n<tr>", html.EscapeString(b.title))
	for _, name := range b.head {
		h.printf("<th scope=\"col\">%s</th>", html.EscapeString(name))
	}
	h.printf("</tr>\n")
	for _, row := range b.rows[:min(len(b.rows), maxRowsHTML)] {
		h.printf("<tr>")
		for _, c := range row {
			h.printf("<td>%s</td>", c.html())
		}
		h.printf("</tr>\n")
	}
	h.printf("</table>\n")
	if n := len(b.rows) - maxRowsHTML; n > 0 {
		h.printf("<p>… and %d more</p>\n", n)
	}
	h.printf("</details>\n")
}

func (c cell) html() string {
	var b strings.Builder
	for _, s := range c {
		if s.code {
			b.WriteString(HTMLCode(s.text))
		} else {
			b.WriteString(html.EscapeString(s.text))
		}
	}
	return b.String()
}

// text writes changed lines.
func (h *hypertext) text(name string, t *TextChange) {
	if h.blocks++; h.blocks > maxBlock || len(t.Hunks) == 0 {
		return
	}
	h.printf("<details><summary>%s (+%d −%d)</summary>\n<pre>", HTMLCode(name), t.Added, t.Removed)
	lines := 0
	for _, hunk := range t.Hunks {
		h.printf("@@ -%d +%d @@\n", hunk.From, hunk.To)
		for _, line := range hunk.Lines {
			if lines++; lines > maxDiffHTML {
				continue
			}
			class := map[byte]string{'+': "added", '-': "removed"}[(line + " ")[0]]
			if line = html.EscapeString(plainLine(line)); class != "" {
				line = `<span class="diff-` + class + `">` + line + "</span>"
			}
			h.printf("%s\n", line)
		}
	}
	h.printf("</pre>\n</details>\n")
}
