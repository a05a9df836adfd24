package diff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
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
	if r.Files != nil {
		m.files(r.Files)
	}
	m.config(r.Config)
	if r.Tensors != nil {
		m.tensors(r.Tensors)
	}
	m.card(r.Card)
	m.metrics(r.Metrics)
	if r.Trust != nil {
		m.trust(r.Trust)
	}
	for _, p := range r.Problems {
		m.printf("\n> %s\n", MarkdownCode(p))
	}
	return m.String()
}

// shortRef cuts the digest of a reference to what people compare.
func shortRef(ref string) string {
	const keep = len("@sha256:") + 12
	if i := strings.LastIndex(ref, "@sha256:"); i >= 0 && len(ref) > i+keep {
		return ref[:i+keep]
	}
	return ref
}

// MarkdownCode writes text as code that fits into a cell of a table: without
// line ends, control characters or pipes, and with as many backquotes around as
// it needs.
func MarkdownCode(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxCell {
			b.WriteString("…")
			break
		}
		switch {
		case r == '|':
			b.WriteRune('¦') // a pipe ends a cell even in code
		case unicode.IsGraphic(r) && !unicode.Is(unicode.Bidi_Control, r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	s := b.String()
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
func (m *markdown) fold(title string, rows []string, head ...string) {
	if len(rows) == 0 {
		return
	}
	m.printf("\n<details><summary>%s</summary>\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for i, row := range rows {
		if i == maxRows {
			m.printf("\n… and %d more\n", len(rows)-i)
			break
		}
		m.printf("%s\n", row)
	}
	m.printf("\n</details>\n")
}

func mdRow(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |" }

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

func plainLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (!unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return '\ufffd'
		}
		return r
	}, s)
}

func (m *markdown) files(f *Files) {
	var rows []string
	for _, x := range f.Removed {
		rows = append(rows, mdRow("−", MarkdownCode(x.Path), sizeDelta(-x.Size)))
	}
	for _, x := range f.Added {
		rows = append(rows, mdRow("+", MarkdownCode(x.Path), sizeDelta(x.Size)))
	}
	for _, x := range f.Renamed {
		rows = append(rows, mdRow("→", MarkdownCode(x.From.Path)+" → "+MarkdownCode(x.To.Path), sizeDelta(x.To.Size-x.From.Size)))
	}
	for _, x := range f.Changed {
		rows = append(rows, mdRow("~", MarkdownCode(x.Path), sizeDelta(x.To.Size-x.From.Size)))
	}
	m.fold("Files", rows, "", "file", "size")
	for _, x := range f.Changed {
		if x.Text != nil {
			m.text(x.Path, x.Text)
		}
	}
}

func (m *markdown) config(changes []Change) {
	var rows []string
	for _, c := range changes {
		if c.Text == nil {
			rows = append(rows, mdRow(MarkdownCode(c.File), MarkdownCode(c.Path), mdValue(c.From), mdValue(c.To)))
		}
	}
	m.fold("Config", rows, "file", "key", "from", "to")
	for _, c := range changes {
		if c.Text != nil {
			m.text(c.File+" "+c.Path, c.Text)
		}
	}
}

func mdValue(raw json.RawMessage) string { return MarkdownCode(string(raw)) }

func (m *markdown) tensors(t *Tensors) {
	var rows []string
	for _, g := range t.Groups {
		cells := []string{strconv.Itoa(g.Tensors), g.Change, MarkdownCode(g.Pattern), MarkdownCode(strings.TrimSpace(g.DType + " " + shapeText(g.Shape)))}
		values := ""
		if v := g.Values; v != nil {
			values = fmt.Sprintf("max %.3g, mean %.3g, cosine %.6f", v.MaxAbs, v.MeanAbs, v.Cosine)
		}
		rows = append(rows, mdRow(append(cells, values)...))
	}
	m.fold("Tensors", rows, "tensors", "", "names", "type", "Δ")
}

func shapeText(shape []int64) string {
	if len(shape) == 0 {
		return ""
	}
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")
}

func (m *markdown) card(changes []CardChange) {
	var rows []string
	for _, c := range changes {
		if c.Field == "" {
			rows = append(rows, mdRow(c.Op, "section "+cmp.Or(MarkdownCode(c.Section), "before the first"), wordsText(c.Words, "-"), wordsText(c.Words, "+")))
			continue
		}
		from, to := mdValue(c.From), mdValue(c.To)
		if c.From == nil && c.To == nil {
			from, to = MarkdownCode(strings.Join(c.Removed, ", ")), MarkdownCode(strings.Join(c.Added, ", "))
		}
		rows = append(rows, mdRow(c.Op, MarkdownCode(c.Field), from, to))
	}
	m.fold("Card", rows, "", "what", "from", "to")
}

// wordsText joins the words of one side.
func wordsText(words []Word, op string) string {
	var parts []string
	for _, w := range words {
		if w.Op == op {
			parts = append(parts, strings.TrimSpace(w.Text))
		}
	}
	return MarkdownCode(strings.ReplaceAll(strings.Join(parts, " … "), "\n", " "))
}

func (m *markdown) metrics(list []MetricChange) {
	sign := map[string]string{"better": "▲", "worse": "▼", "same": "=", Added: "+", Removed: "−", "incomparable": "~"}
	var rows []string
	for _, c := range list {
		note := ""
		if c.Significant != nil && !*c.Significant {
			note = "not significant"
		}
		if len(c.Flags) > 0 {
			note = strings.TrimSpace(note + " " + MarkdownCode(strings.Join(c.Flags, ", ")))
		}
		from, to, delta := c.Values()
		rows = append(rows, mdRow(sign[c.Verdict], MarkdownCode(c.Task+" / "+c.Dataset), MarkdownCode(c.Metric), from, to, delta, note))
	}
	m.fold("Metrics", rows, "", "measured on", "metric", "from", "to", "Δ", "")
}

func (m *markdown) trust(t *Trust) {
	var rows []string
	row := func(sign string, e Evidence) {
		verified := ""
		if e.Verified {
			verified = "verified"
		}
		rows = append(rows, mdRow(sign, e.Kind, MarkdownCode(e.Type), MarkdownCode(e.By), verified))
	}
	for _, e := range t.Lost {
		row("−", e)
	}
	for _, e := range t.Gained {
		row("+", e)
	}
	for _, c := range t.Changed {
		row("~", c.To)
	}
	m.fold("Trust", rows, "", "what", "about", "by", "")
}
