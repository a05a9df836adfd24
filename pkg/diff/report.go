package diff

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// A part is what a level says: a table, or the lines of a text that changed.
type part struct {
	title string
	head  []string // of the table
	rows  [][]cell
	text  *TextChange // in place of the table; the title is from a version then
}

// A cell is words of this program and text of the versions, in turns.
type cell []piece

// A piece is text of a version if it is code: it must neither be markup nor mention
// anybody where it is shown.
type piece struct {
	text string
	code bool
}

func word(text string) cell { return cell{{text, false}} }

func code(text string) cell { return cell{{text, true}} }

// parts are what there is to show of a result, level by level.
func (r *Result) parts() []part {
	var out []part
	if r.Files != nil {
		out = append(out, r.Files.parts()...)
	}
	out = append(out, configParts(r.Config)...)
	if r.Tensors != nil {
		out = append(out, r.Tensors.part())
	}
	out = append(out, cardPart(r.Card), metricsPart(r.Metrics))
	if r.Trust != nil {
		out = append(out, r.Trust.part())
	}
	return out
}

func (f *Files) parts() []part {
	b := part{title: "Files", head: []string{"", "file", "size"}}
	row := func(sign string, name cell, delta int64) {
		b.rows = append(b.rows, []cell{word(sign), name, word(sizeDelta(delta))})
	}
	for _, x := range f.Removed {
		row("−", code(x.Path), -x.Size)
	}
	for _, x := range f.Added {
		row("+", code(x.Path), x.Size)
	}
	for _, x := range f.Renamed {
		row("→", cell{{x.From.Path, true}, {" → ", false}, {x.To.Path, true}}, x.To.Size-x.From.Size)
	}
	for _, x := range f.Changed {
		row("~", code(x.Path), x.To.Size-x.From.Size)
	}
	out := []part{b}
	for _, x := range f.Changed {
		if x.Text != nil {
			out = append(out, part{title: x.Path, text: x.Text})
		}
	}
	return out
}

func configParts(changes []Change) []part {
	b := part{title: "Config", head: []string{"file", "key", "from", "to"}}
	var texts []part
	for _, c := range changes {
		if c.Text != nil {
			texts = append(texts, part{title: c.File + " " + c.Path, text: c.Text})
			continue
		}
		b.rows = append(b.rows, []cell{code(c.File), code(c.Path), rawValue(c.From), rawValue(c.To)})
	}
	return append([]part{b}, texts...)
}

func rawValue(raw json.RawMessage) cell { return code(string(raw)) }

func (t *Tensors) part() part {
	b := part{title: "Tensors", head: []string{"tensors", "", "names", "type", "Δ"}}
	for _, g := range t.Groups {
		values := ""
		if v := g.Values; v != nil {
			values = fmt.Sprintf("max %.3g, mean %.3g, cosine %.6f", v.MaxAbs, v.MeanAbs, v.Cosine)
		}
		b.rows = append(b.rows, []cell{
			word(strconv.Itoa(g.Tensors)), word(g.Change), code(g.Pattern), code(strings.TrimSpace(g.DType + " " + shapeText(g.Shape))), word(values),
		})
	}
	return b
}

func shapeText(shape []int64) string {
	if len(shape) == 0 {
		return ""
	}
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")
}

func cardPart(changes []CardChange) part {
	b := part{title: "Card", head: []string{"", "what", "from", "to"}}
	for _, c := range changes {
		if c.Field == "" {
			what := word("section before the first")
			if c.Section != "" {
				what = cell{{"section ", false}, {c.Section, true}}
			}
			b.rows = append(b.rows, []cell{word(c.Op), what, wordsText(c.Words, "-"), wordsText(c.Words, "+")})
			continue
		}
		from, to := rawValue(c.From), rawValue(c.To)
		if c.From == nil && c.To == nil {
			from, to = code(strings.Join(c.Removed, ", ")), code(strings.Join(c.Added, ", "))
		}
		b.rows = append(b.rows, []cell{word(c.Op), code(c.Field), from, to})
	}
	return b
}

// wordsText joins the words of one side.
func wordsText(words []Word, op string) cell {
	var parts []string
	for _, w := range words {
		if w.Op == op {
			parts = append(parts, strings.TrimSpace(w.Text))
		}
	}
	return code(strings.ReplaceAll(strings.Join(parts, " … "), "\n", " "))
}

func metricsPart(list []MetricChange) part {
	b := part{title: "Metrics", head: []string{"", "measured on", "metric", "from", "to", "Δ", ""}}
	sign := map[string]string{"better": "▲", "worse": "▼", "same": "=", Added: "+", Removed: "−", "incomparable": "~"}
	for _, c := range list {
		var note cell
		if s := c.Significance(); s != "" {
			note = word(s)
		}
		if len(c.Flags) > 0 {
			if len(note) > 0 {
				note = append(note, piece{" ", false})
			}
			note = append(note, piece{strings.Join(c.Flags, ", "), true})
		}
		on, metric := c.Labels()
		from, to, delta := c.Values()
		b.rows = append(b.rows, []cell{word(sign[c.Verdict]), code(on), code(metric), word(from), word(to), word(delta), note})
	}
	return b
}

func (t *Trust) part() part {
	b := part{title: "Trust", head: []string{"", "what", "about", "by", ""}}
	row := func(sign string, e Evidence) {
		verified := ""
		if e.Verified {
			verified = "verified"
		}
		b.rows = append(b.rows, []cell{word(sign), word(e.Kind), code(e.Type), code(e.By), word(verified)})
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
	return b
}

// shortRef cuts the digest of a reference to what people compare.
func shortRef(ref string) string {
	const keep = len("@sha256:") + 12
	if i := strings.LastIndex(ref, "@sha256:"); i >= 0 && len(ref) > i+keep {
		return ref[:i+keep]
	}
	return ref
}

// visible is text of a version on one line: what would not be seen stands as an
// escape, and what is long is cut.
func visible(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxCell {
			b.WriteString("…")
			break
		}
		if unicode.IsGraphic(r) && !unicode.Is(unicode.Bidi_Control, r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// plainLine is a line of a text without what would not be seen.
func plainLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (!unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return '\ufffd'
		}
		return r
	}, s)
}
