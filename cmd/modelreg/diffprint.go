package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/hub"
)

// A diffPrinter writes differences for people. All text of the versions is
// escaped.
type diffPrinter struct {
	w     io.Writer
	style ui.Style
	stat  bool
}

func (d *diffPrinter) print(res *hub.DiffResult) {
	fmt.Fprintf(d.w, "%s %s\n  %s %s\n", d.style.Bold("from"), ui.Line(spoken(res.From)), d.style.Bold("to"), ui.Line(spoken(res.To)))
	if v := res.Variants; v != nil {
		d.variants(v)
		return
	}
	d.result(&res.Result)
}

func (d *diffPrinter) variants(v *hub.VariantsDiff) {
	for _, name := range v.Removed {
		fmt.Fprintln(d.w, d.style.Bad("- variant "+ui.Line(name)))
	}
	for _, name := range v.Added {
		fmt.Fprintln(d.w, d.style.Good("+ variant "+ui.Line(name)))
	}
	for _, name := range v.Identical {
		fmt.Fprintln(d.w, d.style.Dim("= variant "+ui.Line(name)))
	}
	for i := range v.Changed {
		fmt.Fprintf(d.w, "\n%s\n", d.style.Bold("~ variant "+ui.Line(v.Changed[i].Variant)))
		d.result(&v.Changed[i].Result)
	}
}

func (d *diffPrinter) result(res *diff.Result) {
	for _, level := range diff.Stats(res) {
		if !d.stat {
			fmt.Fprintln(d.w)
		}
		fmt.Fprintf(d.w, "%s  %s\n", d.style.Bold(fmt.Sprintf("%-7s", level.Level)), ui.Line(level.Text))
		if d.stat {
			continue
		}
		switch level.Level {
		case "Files":
			d.files(res.Files)
		case "Config":
			d.config(res.Config)
		case "Tensors":
			d.tensors(res.Tensors)
		case "Card":
			d.card(withoutResults(res))
		case "Metrics":
			d.metrics(res.Metrics)
		case "Trust":
			d.trust(res.Trust)
		}
	}
}

// mark is the sign before what was added, removed or changed.
func (d *diffPrinter) mark(op string) string {
	switch op {
	case diff.Added:
		return d.style.Good("+")
	case diff.Removed:
		return d.style.Bad("-")
	case "unknown":
		return d.style.Notable("?")
	}
	return d.style.Notable("~")
}

func (d *diffPrinter) files(f *diff.Files) {
	t := ui.NewColumns(d.w)
	for _, x := range f.Removed {
		t.Row("  "+d.mark(diff.Removed)+" "+ui.Line(x.Path), ui.Bytes(x.Size))
	}
	for _, x := range f.Added {
		t.Row("  "+d.mark(diff.Added)+" "+ui.Line(x.Path), ui.Bytes(x.Size))
	}
	for _, x := range f.Renamed {
		alike := "same bytes"
		if x.Similarity < 1 {
			alike = fmt.Sprintf("%.0f %% alike", x.Similarity*100)
		}
		t.Row("  "+d.mark("")+" "+ui.Line(x.From.Path)+" → "+ui.Line(x.To.Path), alike)
	}
	for _, x := range f.Changed {
		size := ui.Bytes(x.From.Size) + " → " + ui.Bytes(x.To.Size)
		if x.From.Size == x.To.Size {
			size = ui.Bytes(x.To.Size)
		}
		t.Row("  "+d.mark("")+" "+ui.Line(x.Path), strings.TrimSpace(size+"  "+lineCounts(x.Text)))
	}
	t.Flush()
	for _, x := range f.Changed {
		if x.Text != nil {
			fmt.Fprintf(d.w, "  %s\n", ui.Line(x.Path))
			d.text(x.Text)
		}
	}
}

func lineCounts(t *diff.TextChange) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("+%d -%d lines", t.Added, t.Removed)
}

// text writes changed lines.
func (d *diffPrinter) text(t *diff.TextChange) {
	for _, h := range t.Hunks {
		fmt.Fprintf(d.w, "      %s\n", d.style.Dim(fmt.Sprintf("@@ -%d +%d @@", h.From, h.To)))
		for _, line := range h.Lines {
			text := line[:1] + ui.Line(line[1:])
			switch line[0] {
			case '+':
				text = d.style.Good(text)
			case '-':
				text = d.style.Bad(text)
			}
			fmt.Fprintf(d.w, "      %s\n", text)
		}
	}
	if t.Truncated {
		fmt.Fprintf(d.w, "      %s\n", d.style.Dim("… and more"))
	}
}

func (d *diffPrinter) config(changes []diff.Change) {
	for i := 0; i < len(changes); {
		file := changes[i].File
		fmt.Fprintf(d.w, "  %s\n", ui.Line(file))
		t := ui.NewColumns(d.w)
		for ; i < len(changes) && changes[i].File == file; i++ {
			ch := changes[i]
			if ch.Text == nil {
				t.Row("    "+d.mark(ch.Op)+" "+ui.Line(cmp.Or(ch.Path, "the file")), d.fromTo(ch.From, ch.To))
				continue
			}
			t.Flush()
			fmt.Fprintf(d.w, "    %s %s  %s\n", d.mark(ch.Op), ui.Line(cmp.Or(ch.Path, "the file")), lineCounts(ch.Text))
			d.text(ch.Text)
		}
		t.Flush()
	}
}

// fromTo writes the values of a change, of which either may be missing.
func (d *diffPrinter) fromTo(from, to json.RawMessage) string {
	switch {
	case from == nil && to == nil:
		return ""
	case from == nil:
		return d.style.Good(ui.Line(value(to)))
	case to == nil:
		return d.style.Bad(ui.Line(value(from)))
	}
	return d.style.Bad(ui.Line(value(from))) + " → " + d.style.Good(ui.Line(value(to)))
}

// value writes a JSON value on a line: a plain string without its quotes.
func value(raw json.RawMessage) string {
	const most = 80
	text := string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" && s == strings.TrimSpace(s) {
		text = s
	}
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return text
}

func (d *diffPrinter) tensors(t *diff.Tensors) {
	c := ui.NewColumns(d.w)
	for _, g := range t.Groups {
		c.Row("  "+d.mark(g.Change)+" "+ui.Line(g.Pattern), groupCount(g), tensorShape(g), d.style.Dim(measured(g)))
	}
	c.Flush()
	for _, list := range [][]diff.TensorChange{t.Reshaped, t.Retyped} {
		d.shapes(list)
	}
	d.told(t)
}

func groupCount(g diff.Group) string {
	if g.Tensors == 1 {
		return g.Change
	}
	return strconv.Itoa(g.Tensors) + " " + g.Change
}

func tensorShape(g diff.Group) string {
	out := ui.Line(g.DType)
	if len(g.Shape) > 0 {
		out = strings.TrimSpace(out + " " + shape(g.Shape))
	}
	return cmp.Or(out, ui.Bytes(g.Bytes))
}

func measured(g diff.Group) string {
	v := g.Values
	if v == nil {
		return ""
	}
	cosine := "cosine"
	if g.Tensors > 1 {
		cosine = "cosine ≥"
	}
	return fmt.Sprintf("max|Δ| %.3g  mean|Δ| %.3g  %s %.6f", v.MaxAbs, v.MeanAbs, cosine, v.Cosine)
}

// maxShapes is how many tensors with another shape or type are listed one by
// one.
const maxShapes = 20

func (d *diffPrinter) shapes(list []diff.TensorChange) {
	for i, ch := range list {
		if i == maxShapes {
			fmt.Fprintf(d.w, "      %s\n", d.style.Dim(fmt.Sprintf("… and %d more", len(list)-i)))
			return
		}
		fmt.Fprintf(d.w, "      %s  %s → %s\n", ui.Line(ch.Name),
			d.style.Bad(ui.Line(ch.From.DType)+" "+shape(ch.From.Shape)), d.style.Good(ui.Line(ch.To.DType)+" "+shape(ch.To.Shape)))
	}
}

// told says what the comparison rests on.
func (d *diffPrinter) told(t *diff.Tensors) {
	if n := len(t.Moved); n > 0 {
		fmt.Fprintf(d.w, "  %s\n", d.style.Dim(fmt.Sprintf("%d are in another file than before", n)))
	}
	var parts []string
	for _, e := range []struct {
		n    int
		what string
	}{{t.Evidence.Digest, "by digests of files"}, {t.Evidence.Index, "by chunk indexes, as they were pushed"}, {t.Evidence.Bytes, "by their bytes"}} {
		if e.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", e.n, e.what))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(d.w, "  %s\n", d.style.Dim("told: "+strings.Join(parts, ", ")))
	}
}

// withoutResults leaves out of the card what the metrics tell better.
func withoutResults(res *diff.Result) []diff.CardChange {
	if len(res.Metrics) == 0 {
		return res.Card
	}
	return slices.DeleteFunc(slices.Clone(res.Card), func(c diff.CardChange) bool { return strings.HasPrefix(c.Field, "model-index") })
}

func (d *diffPrinter) card(changes []diff.CardChange) {
	t := ui.NewColumns(d.w)
	for _, ch := range changes {
		if ch.Field != "" {
			t.Row("  "+d.mark(ch.Op)+" "+ui.Line(ch.Field), d.members(ch))
		}
	}
	t.Flush()
	for _, ch := range changes {
		if ch.Field == "" {
			fmt.Fprintf(d.w, "  %s %s\n", d.mark(ch.Op), ui.Line(cmp.Or("§ "+ch.Section, "before the first heading")))
			d.words(ch.Words)
		}
	}
}

func (d *diffPrinter) members(ch diff.CardChange) string {
	if ch.From != nil || ch.To != nil {
		return d.fromTo(ch.From, ch.To)
	}
	var out []string
	for _, m := range ch.Removed {
		out = append(out, d.style.Bad("-"+ui.Line(m)))
	}
	for _, m := range ch.Added {
		out = append(out, d.style.Good("+"+ui.Line(m)))
	}
	return strings.Join(out, " ")
}

// maxWords bounds what is shown of a section that was added or removed.
const maxWords = 2000

// words writes changed words in colour, or as git diff --word-diff does.
func (d *diffPrinter) words(words []diff.Word) {
	var b strings.Builder
	for _, w := range words {
		text := w.Text
		if len(text) > maxWords {
			text = strings.ToValidUTF8(text[:maxWords], "") + "…"
		}
		for i, line := range strings.Split(ui.Clean(text), "\n") {
			if i > 0 {
				b.WriteString("\n")
			}
			switch {
			case line == "" || w.Op == "=":
				b.WriteString(line)
			case d.style.On() && w.Op == "+":
				b.WriteString(d.style.Good(line))
			case d.style.On():
				b.WriteString(d.style.Bad(line))
			case w.Op == "+":
				b.WriteString("{+" + line + "+}")
			default:
				b.WriteString("[-" + line + "-]")
			}
		}
	}
	for line := range strings.Lines(strings.Trim(b.String(), "\n")) {
		if line = strings.TrimRight(line, "\n"); strings.TrimSpace(line) != "" {
			fmt.Fprintf(d.w, "      %s\n", line)
		}
	}
}

func (d *diffPrinter) metrics(list []diff.MetricChange) {
	t := ui.NewColumns(d.w)
	for _, m := range list {
		on, metric := m.Labels()
		t.Row("  "+d.verdict(m.Verdict), ui.Line(on), ui.Line(metric), metricValues(m), d.style.Dim(ui.Line(metricNote(m))))
	}
	t.Flush()
}

func (d *diffPrinter) verdict(v string) string {
	switch v {
	case "better":
		return d.style.Good("▲")
	case "worse":
		return d.style.Bad("▼")
	case "same":
		return "="
	}
	return d.mark(v)
}

func metricValues(m diff.MetricChange) string {
	from, to, delta := m.Values()
	switch {
	case m.From == nil || m.To == nil:
		return from + to
	case m.Delta == nil:
		return from + " → " + to
	}
	return fmt.Sprintf("%s → %s  (%s)", from, to, delta)
}

func metricNote(m diff.MetricChange) string {
	var notes []string
	if s := m.Significance(); s != "" {
		notes = append(notes, s)
	}
	notes = append(notes, m.Flags...)
	if by := cmp.Or(m.ToBy, m.FromBy); by != "" {
		notes = append(notes, by)
	}
	return strings.Join(notes, ", ")
}

func (d *diffPrinter) trust(t *diff.Trust) {
	c := ui.NewColumns(d.w)
	for _, e := range t.Lost {
		c.Row("  "+d.mark(diff.Removed)+" "+evidenceText(e), day(e.Created))
	}
	for _, e := range t.Gained {
		c.Row("  "+d.mark(diff.Added)+" "+evidenceText(e), day(e.Created))
	}
	for _, ch := range t.Changed {
		what := d.style.Bad("no longer verified")
		if ch.To.Verified {
			what = d.style.Good("verified now")
		}
		c.Row("  "+d.mark("")+" "+evidenceText(ch.To), what)
	}
	for _, ch := range t.Kept {
		c.Row("  = "+evidenceText(ch.To), kept(ch))
	}
	c.Flush()
}

func evidenceText(e diff.Evidence) string {
	text := e.Kind
	if e.Type != "" {
		text += " " + e.Type
	}
	if e.By != "" {
		word := " says "
		if e.Verified {
			word = " by "
		}
		text += word + e.By
	}
	if e.Verified {
		text += " ✓"
	}
	return ui.Line(text)
}

func kept(ch diff.EvidenceChange) string {
	if ch.From.Created.Equal(ch.To.Created) {
		return day(ch.To.Created)
	}
	return strings.Trim(day(ch.From.Created)+" → "+day(ch.To.Created), " →")
}

func day(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.DateOnly)
}
