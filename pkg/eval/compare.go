package eval

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// A Verdict says what a difference means for a model.
type Verdict string

// The verdicts. Incomparable are numbers of which it is not known that their units
// are the same, and a difference of a metric whose direction is unknown.
const (
	Better       Verdict = "better"
	Worse        Verdict = "worse"
	Same         Verdict = "same"
	Incomparable Verdict = "incomparable"
)

// Significance is the level below which [Row.P] makes a difference significant.
const Significance = 0.05

// A Row is one measurement that two models share.
type Row struct {
	A Result `json:"a"`
	B Result `json:"b"`

	// Delta is B's value less A's, in A's unit: a fraction and a percentage are
	// compared as what they are. It is nil where the units differ otherwise.
	Delta   *float64 `json:"delta"`
	Verdict Verdict  `json:"verdict"` // of B

	// P is the probability of a difference as large as this, in either
	// direction, if there were none: a two-sided z-test on the two standard
	// errors, which takes the runs for independent. It is nil where one of the
	// errors is unknown, or both are zero.
	P *float64 `json:"p,omitzero"`

	// Significant says that P is below [Significance].
	Significant bool `json:"significant"`

	// Flags tell what else differs between the two measurements.
	Flags []string `json:"flags"`
}

// A Comparison joins the results of two models.
type Comparison struct {
	Rows  []Row    `json:"rows"`
	OnlyA []Result `json:"onlyA"`
	OnlyB []Result `json:"onlyB"`
}

// A Measurement is what two results must share to be compared. The state of a
// dataset is not in it, since it is often not known.
type Measurement struct{ Task, Dataset, Config, Split, Metric, Filter string }

// Measurement is what r measures.
func (r *Result) Measurement() Measurement {
	return Measurement{r.Task, r.Dataset.ID, r.Dataset.Config, r.Dataset.Split, r.Metric.Name, r.Metric.Filter}
}

// Compare joins results on task, dataset with its state, configuration and
// split, and metric with its filter. Where one model has several results of one
// measurement, those are joined that were measured alike, and the first of
// these: callers put first what they trust most.
func Compare(a, b []Result) Comparison {
	c := Comparison{Rows: []Row{}, OnlyA: []Result{}, OnlyB: []Result{}}
	for _, m := range Join(a, b) {
		switch {
		case m.Row != nil:
			c.Rows = append(c.Rows, *m.Row)
		case m.A >= 0:
			c.OnlyA = append(c.OnlyA, a[m.A])
		default:
			c.OnlyB = append(c.OnlyB, b[m.B])
		}
	}
	return c
}

// A Match is a result of each of two lists, by its place there, or -1 where the
// list has none. Row is nil then.
type Match struct {
	A, B int
	Row  *Row
}

// Join is [Compare] by the places of results. Matches are in the order of what
// they measure.
func Join(a, b []Result) []Match {
	of := make(map[Measurement]*group)
	for i := range a {
		g := groupOf(of, a[i].Measurement())
		g.a = append(g.a, i)
	}
	for i := range b {
		g := groupOf(of, b[i].Measurement())
		g.b = append(g.b, i)
	}
	var out []Match
	for _, m := range slices.SortedFunc(maps.Keys(of), compareMeasurements) {
		out = append(out, of[m].matches(a, b)...)
	}
	return out
}

func compareMeasurements(x, y Measurement) int {
	return cmp.Or(
		cmp.Compare(x.Task, y.Task), cmp.Compare(x.Dataset, y.Dataset), cmp.Compare(x.Config, y.Config),
		cmp.Compare(x.Split, y.Split), cmp.Compare(x.Metric, y.Metric), cmp.Compare(x.Filter, y.Filter),
	)
}

// maxAlike is how many results of one measurement are looked at, of each model.
const maxAlike = 32

// A group are the results of one measurement, by their places in the two lists.
type group struct{ a, b []int }

func groupOf(of map[Measurement]*group, key Measurement) *group {
	if of[key] == nil {
		of[key] = &group{}
	}
	return of[key]
}

// A pair may be compared.
type pair struct{ a, b, likeness int }

// pairs are those of a group that may be compared, the most alike first.
func (g *group) pairs(a, b []Result) []pair {
	var out []pair
	for _, i := range g.a[:min(maxAlike, len(g.a))] {
		for _, j := range g.b[:min(maxAlike, len(g.b))] {
			if n := likeness(a[i], b[j]); n >= 0 {
				out = append(out, pair{i, j, n})
			}
		}
	}
	slices.SortStableFunc(out, func(x, y pair) int { return y.likeness - x.likeness })
	return out
}

// matches joins the results of a group.
func (g *group) matches(a, b []Result) []Match {
	var out []Match
	joinedA, joinedB := map[int]bool{}, map[int]bool{}
	for _, p := range g.pairs(a, b) {
		if !joinedA[p.a] && !joinedB[p.b] {
			joinedA[p.a], joinedB[p.b] = true, true
			r := row(a[p.a], b[p.b])
			out = append(out, Match{p.a, p.b, &r})
		}
	}
	for _, i := range g.a {
		if !joinedA[i] {
			out = append(out, Match{i, -1, nil})
		}
	}
	for _, j := range g.b {
		if !joinedB[j] {
			out = append(out, Match{-1, j, nil})
		}
	}
	return out
}

// likeness is how much two results were measured alike, and negative if they
// must not be compared: on two states of a dataset that are known to differ.
func likeness(a, b Result) int {
	if differ(a.Dataset.Digest, b.Dataset.Digest) || differ(a.Dataset.Revision, b.Dataset.Revision) {
		return -1
	}
	n := 0
	for _, alike := range []bool{
		a.Dataset.State() == b.Dataset.State(), equal(a.Shots, b.Shots), a.Harness.Name == b.Harness.Name,
		a.Harness.Version == b.Harness.Version, a.Harness.TaskVersion == b.Harness.TaskVersion, a.N == b.N,
	} {
		if alike {
			n++
		}
	}
	return n
}

// differ tells whether two texts are known and not the same.
func differ(a, b string) bool { return a != "" && b != "" && a != b }

func equal(a, b *int) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func row(a, b Result) Row {
	r := Row{A: a, B: b, Verdict: Incomparable, Flags: flags(a, b)}
	per, ok := ratio(b.Metric.Unit, a.Metric.Unit)
	if !ok {
		return r
	}
	delta := b.Value*per - a.Value
	if per != 1 && math.Abs(delta) < rounding*max(math.Abs(a.Value), math.Abs(b.Value)) {
		delta = 0
	}
	r.Delta, r.Verdict = &delta, verdict(a, b, delta)
	if a.Stderr == nil || b.Stderr == nil || r.Verdict == Incomparable {
		return r
	}
	if se := math.Hypot(*a.Stderr, *b.Stderr*per); se > 0 {
		p := math.Erfc(math.Abs(delta) / se / math.Sqrt2)
		r.P, r.Significant = &p, p < Significance
	}
	return r
}

// rounding is what is left of a difference of nothing when units were converted.
const rounding = 1e-12

// ratio is how many of another unit one of unit is, if that is known.
func ratio(unit, other Unit) (float64, bool) {
	switch {
	case unit == other:
		return 1, true
	case unit == Percent && other == Fraction:
		return 0.01, true
	case unit == Fraction && other == Percent:
		return 100, true
	}
	return 0, false
}

func verdict(a, b Result, delta float64) Verdict {
	switch {
	case a.Metric.Direction != b.Metric.Direction:
		return Incomparable
	case delta == 0:
		return Same
	case a.Metric.Direction == Higher:
		return betterIf(delta > 0)
	case a.Metric.Direction == Lower:
		return betterIf(delta < 0)
	}
	return Incomparable
}

func betterIf(yes bool) Verdict {
	if yes {
		return Better
	}
	return Worse
}

// flags are what makes two results less comparable than they seem.
func flags(a, b Result) []string {
	out := []string{}
	add := func(flag string, is bool) {
		if is {
			out = append(out, flag)
		}
	}
	add("unit", a.Metric.Unit != b.Metric.Unit)
	add("direction", a.Metric.Direction != b.Metric.Direction)
	add("dataset-state-unknown", a.Dataset.State() != b.Dataset.State())
	add("shots", !equal(a.Shots, b.Shots))
	add("samples", a.N != b.N)
	add("harness", a.Harness.Name != b.Harness.Name)
	add("harness-version", a.Harness.Name == b.Harness.Name && (a.Harness.Version != b.Harness.Version || differ(a.Harness.Revision, b.Harness.Revision)))
	add("task-version", a.Harness.TaskVersion != b.Harness.TaskVersion)
	return out
}
