package diff

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/modelreg/modelreg/pkg/eval"
)

// A Metric is one number that was measured, and who says so.
type Metric struct {
	eval.Result
	By string // "publisher", "card", …
}

// A MetricChange is one measurement on both sides, or on one.
type MetricChange struct {
	Task     string `json:"task"`
	Dataset  string `json:"dataset"`
	Revision string `json:"revision,omitempty"` // or digest, of the dataset
	Config   string `json:"config,omitempty"`
	Split    string `json:"split,omitempty"`
	Metric   string `json:"metric"`
	Filter   string `json:"filter,omitempty"`

	// From and To are the values, each in its unit; null on the side that has
	// none. Delta is To - From in the unit of From, and absent where the units
	// are not known to be the same.
	From     *float64  `json:"from"`
	To       *float64  `json:"to"`
	FromUnit eval.Unit `json:"fromUnit,omitempty"` // "fraction", "percent", …
	ToUnit   eval.Unit `json:"toUnit,omitempty"`
	Delta    *float64  `json:"delta,omitempty"`

	// Verdict is "better", "worse", "same", "incomparable", "added" or
	// "removed".
	Verdict string `json:"verdict"`

	// P is how likely chance makes such a difference, Significant whether that
	// is less than 5 %; absent unless both sides have a standard error.
	P           *float64 `json:"p,omitempty"`
	Significant *bool    `json:"significant,omitempty"`

	// Flags tell what else differs between the measurements, such as the
	// version of the harness.
	Flags []string `json:"flags,omitempty"`

	FromBy string `json:"fromBy,omitempty"`
	ToBy   string `json:"toBy,omitempty"`
}

// compareMetrics joins what was measured of both sides.
func compareMetrics(a, b []Metric) []MetricChange {
	joined := eval.Compare(results(a), results(b))
	out := []MetricChange{}
	for _, row := range joined.Rows {
		c := metricChange(row.B)
		c.From, c.To, c.Delta = &row.A.Value, &row.B.Value, row.Delta
		c.FromUnit, c.ToUnit = row.A.Metric.Unit, row.B.Metric.Unit
		c.Verdict, c.Flags, c.P = string(row.Verdict), row.Flags, row.P
		if row.P != nil {
			c.Significant = &row.Significant
		}
		c.FromBy, c.ToBy = byWhom(a, row.A), byWhom(b, row.B)
		out = append(out, c)
	}
	for _, r := range joined.OnlyB {
		c := metricChange(r)
		c.To, c.ToUnit, c.Verdict, c.ToBy = &r.Value, r.Metric.Unit, Added, byWhom(b, r)
		out = append(out, c)
	}
	for _, r := range joined.OnlyA {
		c := metricChange(r)
		c.From, c.FromUnit, c.Verdict, c.FromBy = &r.Value, r.Metric.Unit, Removed, byWhom(a, r)
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(x, y MetricChange) int {
		return cmp.Or(cmp.Compare(x.Task, y.Task), cmp.Compare(x.Dataset, y.Dataset), cmp.Compare(x.Config, y.Config), cmp.Compare(x.Metric, y.Metric), cmp.Compare(x.Filter, y.Filter))
	})
	return out
}

func results(list []Metric) []eval.Result {
	out := make([]eval.Result, len(list))
	for i, m := range list {
		out[i] = m.Result
	}
	return out
}

func metricChange(r eval.Result) MetricChange {
	return MetricChange{
		Task: r.Task, Dataset: r.Dataset.ID, Revision: r.Dataset.State(), Config: r.Dataset.Config, Split: r.Dataset.Split,
		Metric: r.Metric.Name, Filter: r.Metric.Filter,
	}
}

// byWhom finds who said a result: the first who said just this.
func byWhom(list []Metric, r eval.Result) string {
	i := slices.IndexFunc(list, func(m Metric) bool {
		return m.Task == r.Task && m.Dataset == r.Dataset && m.Metric == r.Metric && m.Value == r.Value && m.When == r.When && m.Harness.Name == r.Harness.Name
	})
	if i < 0 {
		return ""
	}
	return list[i].By
}

func metricsDiffer(list []MetricChange) bool {
	return slices.ContainsFunc(list, func(c MetricChange) bool { return c.Verdict != string(eval.Same) })
}

// Labels are what was measured on, and by which metric, as text that tells the
// changes of a comparison apart.
func (c *MetricChange) Labels() (on, metric string) {
	const enough = 15 // of a digest, with its algorithm
	data := c.Dataset
	if c.Revision != "" {
		data += "@" + c.Revision[:min(len(c.Revision), enough)]
	}
	parts := slices.DeleteFunc([]string{c.Task, data, c.Config, c.Split}, func(s string) bool { return s == "" })
	metric = c.Metric
	if c.Filter != "" {
		metric += " (" + c.Filter + ")"
	}
	return strings.Join(parts, " / "), metric
}

// Significance is Significant in words, and empty where nothing is known of it.
func (c *MetricChange) Significance() string {
	switch {
	case c.Significant == nil:
		return ""
	case *c.Significant:
		return "significant"
	}
	return "not significant"
}

// Values are From, To and Delta as text, with a sign where they are percentages;
// empty where there is none.
func (c *MetricChange) Values() (from, to, delta string) {
	text := func(f *float64, form string, digits int, unit eval.Unit) string {
		if f == nil {
			return ""
		}
		s := form + strconv.FormatFloat(*f, 'g', digits, 64)
		if unit == eval.Percent {
			s += " %"
		}
		return s
	}
	sign := ""
	if c.Delta != nil && *c.Delta >= 0 {
		sign = "+"
	}
	return text(c.From, "", 6, c.FromUnit), text(c.To, "", 6, c.ToUnit), text(c.Delta, sign, 4, c.FromUnit)
}
