package diff

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Stat is one level of a result in a line.
type Stat struct{ Level, Text string }

// Stats sums up a result, level by level. Texts may have names of the versions
// in them.
func Stats(r *Result) []Stat {
	var out []Stat
	add := func(level string, there bool, text string) {
		if there {
			out = append(out, Stat{level, text})
		}
	}
	add("Files", r.Files != nil, r.Files.stat())
	add("Config", r.Config != nil, configStat(r.Config))
	add("Tensors", r.Tensors != nil, r.Tensors.stat())
	add("Card", r.Card != nil, cardStat(r.Card))
	add("Metrics", r.Metrics != nil, metricsStat(r.Metrics))
	add("Trust", r.Trust != nil, r.Trust.stat())
	return out
}

// A tally writes counts of what is not zero.
type tally []string

func (t *tally) add(n int, what string) {
	if n > 0 {
		*t = append(*t, fmt.Sprintf("%d %s", n, what))
	}
}

func (t tally) or(nothing string) string {
	if len(t) == 0 {
		return nothing
	}
	return strings.Join(t, " · ")
}

func (f *Files) stat() string {
	if f == nil {
		return ""
	}
	var t tally
	t.add(len(f.Changed), "changed")
	t.add(len(f.Added), "added")
	t.add(len(f.Removed), "removed")
	t.add(len(f.Renamed), "renamed")
	t.add(f.Identical, "identical")
	if d := f.ToSize - f.FromSize; d != 0 {
		t = append(t, sizeDelta(d))
	}
	return t.or("none")
}

// sizeDelta writes a difference of sizes.
func sizeDelta(n int64) string {
	sign, size := "+", float64(n)
	if n < 0 {
		sign, size = "-", -size
	}
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for len(units) > 1 && size >= 1000 {
		size /= 1000
		units = units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%s%.0f B", sign, size)
	}
	return fmt.Sprintf("%s%.1f %s", sign, size, units[0])
}

func configStat(changes []Change) string {
	files := map[string]bool{}
	for _, c := range changes {
		files[c.File] = true
	}
	if len(changes) == 0 {
		return "no changes"
	}
	return plural(len(changes), "change") + " in " + strings.Join(slices.Sorted(maps.Keys(files)), ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (t *Tensors) stat() string {
	if t == nil {
		return ""
	}
	if t.From.Tensors+t.To.Tensors == 0 {
		return "none"
	}
	out := tally{plural(t.To.Tensors, "tensor")}
	out.add(t.Identical, "identical")
	for _, l := range []struct {
		names []string
		what  string
	}{
		{changeNames(t.Changed), "changed"},
		{changeNames(t.Reshaped), "reshaped"},
		{changeNames(t.Retyped), "retyped"},
		{infoNames(t.Added), "added"},
		{infoNames(t.Removed), "removed"},
		{changeNames(t.Unknown), "unknown"},
	} {
		if len(l.names) > 0 {
			out = append(out, fmt.Sprintf("%d %s (%s)", len(l.names), l.what, layersOf(l.names)))
		}
	}
	out.add(len(t.Moved), "moved")
	return strings.Join(append(out, dtypes(t.From.DTypes, t.To.DTypes)), " · ")
}

func changeNames(list []TensorChange) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.Name
	}
	return out
}

func infoNames(list []TensorInfo) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.Name
	}
	return out
}

// dtypes names the types of both sides.
func dtypes(from, to map[string]int64) string {
	a, b := strings.Join(slices.Sorted(maps.Keys(from)), "+"), strings.Join(slices.Sorted(maps.Keys(to)), "+")
	if a == b {
		return a
	}
	return a + " → " + b
}

func cardStat(changes []CardChange) string {
	fields, sections := 0, 0
	for _, c := range changes {
		if c.Field != "" {
			fields++
		} else {
			sections++
		}
	}
	var t tally
	if fields > 0 {
		t = append(t, plural(fields, "field"))
	}
	if sections > 0 {
		t = append(t, plural(sections, "section"))
	}
	return t.or("no changes")
}

func metricsStat(list []MetricChange) string {
	n := map[string]int{}
	for _, m := range list {
		n[m.Verdict]++
	}
	var t tally
	for _, v := range []string{"better", "worse", "incomparable", "same", Added, Removed} {
		t.add(n[v], v)
	}
	return t.or("none")
}

func (t *Trust) stat() string {
	if t == nil {
		return ""
	}
	var out tally
	out.add(len(t.Gained), "gained")
	out.add(len(t.Lost), "lost")
	out.add(len(t.Changed), "changed")
	out.add(len(t.Kept), "as before")
	return out.or("nothing is attached")
}
