package eval_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/eval"
)

func result(metric string, value float64, change ...func(*eval.Result)) eval.Result {
	r := eval.Result{Task: "t", Dataset: eval.Dataset{ID: "d"}, Metric: eval.NewMetric(metric, value), Value: value}
	for _, c := range change {
		c(&r)
	}
	return r
}

func stderr(se float64) func(*eval.Result) { return func(r *eval.Result) { r.Stderr = &se } }
func revision(rev string) func(*eval.Result) {
	return func(r *eval.Result) { r.Dataset.Revision = rev }
}
func shots(n int) func(*eval.Result)            { return func(r *eval.Result) { r.Shots = &n } }
func harness(h eval.Harness) func(*eval.Result) { return func(r *eval.Result) { r.Harness = h } }

func TestCompare(t *testing.T) {
	tests := map[string]struct {
		a, b        eval.Result
		verdict     eval.Verdict
		significant bool
		flags       []string
	}{
		"higher is better":      {result("accuracy", 0.5), result("accuracy", 0.6), eval.Better, false, nil},
		"and lower worse":       {result("accuracy", 0.6), result("accuracy", 0.5), eval.Worse, false, nil},
		"lower is better":       {result("perplexity", 9), result("perplexity", 8), eval.Better, false, nil},
		"and higher worse":      {result("perplexity", 8), result("perplexity", 9), eval.Worse, false, nil},
		"nothing changed":       {result("accuracy", 0.5), result("accuracy", 0.5), eval.Same, false, nil},
		"unknown direction":     {result("vibes", 8), result("vibes", 9), eval.Incomparable, false, nil},
		"significant":           {result("accuracy", 0.50, stderr(0.01)), result("accuracy", 0.55, stderr(0.01)), eval.Better, true, nil},
		"noise":                 {result("accuracy", 0.50, stderr(0.03)), result("accuracy", 0.55, stderr(0.03)), eval.Better, false, nil},
		"one error unknown":     {result("accuracy", 0.50, stderr(0.01)), result("accuracy", 0.55), eval.Better, false, nil},
		"errors of zero":        {result("accuracy", 0.50, stderr(0)), result("accuracy", 0.55, stderr(0)), eval.Better, false, nil},
		"shots":                 {result("accuracy", 0.5, shots(0)), result("accuracy", 0.6, shots(5)), eval.Better, false, []string{"shots"}},
		"shots unknown":         {result("accuracy", 0.5), result("accuracy", 0.6, shots(5)), eval.Better, false, []string{"shots"}},
		"state known of one":    {result("accuracy", 0.5, revision("a")), result("accuracy", 0.6), eval.Better, false, []string{"dataset-state-unknown"}},
		"same state":            {result("accuracy", 0.5, revision("a")), result("accuracy", 0.6, revision("a")), eval.Better, false, nil},
		"versions of a harness": {result("accuracy", 0.5, harness(eval.Harness{Name: "h", Version: "1"})), result("accuracy", 0.6, harness(eval.Harness{Name: "h", Version: "2"})), eval.Better, false, []string{"harness-version"}},
		"two harnesses":         {result("accuracy", 0.5, harness(eval.Harness{Name: "h", Version: "1"})), result("accuracy", 0.6, harness(eval.Harness{Name: "g", Version: "2"})), eval.Better, false, []string{"harness"}},
		"versions of a task":    {result("accuracy", 0.5, harness(eval.Harness{TaskVersion: "1"})), result("accuracy", 0.6, harness(eval.Harness{TaskVersion: "2"})), eval.Better, false, []string{"task-version"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := eval.Compare([]eval.Result{tt.a}, []eval.Result{tt.b})
			if len(c.Rows) != 1 || len(c.OnlyA)+len(c.OnlyB) != 0 {
				t.Fatalf("not joined: %+v", c)
			}
			row := c.Rows[0]
			if row.Verdict != tt.verdict || row.Significant != tt.significant || *row.Delta != tt.b.Value-tt.a.Value {
				t.Errorf("verdict %s, significant %v, delta %v; want %s, %v", row.Verdict, row.Significant, *row.Delta, tt.verdict, tt.significant)
			}
			if diff := cmp.Diff(append([]string{}, tt.flags...), row.Flags); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
		})
	}
}

// A percentage is a fraction of another size; what has no unit may be either.
func TestCompareUnits(t *testing.T) {
	unit := func(u eval.Unit) func(*eval.Result) { return func(r *eval.Result) { r.Metric.Unit = u } }
	tests := map[string]struct {
		a, b        eval.Result
		verdict     eval.Verdict
		delta       float64
		significant bool
	}{
		"percent after fraction": {result("accuracy", 0.71, stderr(0.001)), result("accuracy", 72, stderr(0.1)), eval.Better, 0.01, true},
		"fraction after percent": {result("accuracy", 72, stderr(3)), result("accuracy", 0.71, stderr(0.03)), eval.Worse, -1, false},
		"the same":               {result("accuracy", 97.9), result("accuracy", 0.979), eval.Same, 0, false},
		"and the other way":      {result("accuracy", 0.979), result("accuracy", 97.9), eval.Same, 0, false},
		"lower is better":        {result("error_rate", 0.2), result("error_rate", 15), eval.Better, -0.05, false},
		"one unit unknown":       {result("accuracy", 0.71, unit("")), result("accuracy", 72), eval.Incomparable, math.NaN(), false},
		"bits and fraction":      {result("accuracy", 0.71, unit(eval.Bits)), result("accuracy", 0.8), eval.Incomparable, math.NaN(), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			row := eval.Compare([]eval.Result{tt.a}, []eval.Result{tt.b}).Rows[0]
			delta := math.NaN()
			if row.Delta != nil {
				delta = *row.Delta
			}
			if row.Verdict != tt.verdict || math.IsNaN(delta) != math.IsNaN(tt.delta) || math.Abs(delta-tt.delta) > 1e-9 || row.Significant != tt.significant {
				t.Errorf("%s by %v, significant %v; want %s by %v, %v", row.Verdict, delta, row.Significant, tt.verdict, tt.delta, tt.significant)
			}
			if diff := cmp.Diff([]string{"unit"}, row.Flags); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCompareP holds the probability against a table of the normal distribution.
func TestCompareP(t *testing.T) {
	for _, tt := range []struct{ z, p float64 }{{1, 0.3173}, {1.96, 0.0500}, {2.5758, 0.0100}} {
		a, b := result("accuracy", 0.5, stderr(0.03)), result("accuracy", 0.5+tt.z*0.05, stderr(0.04))
		row := eval.Compare([]eval.Result{a}, []eval.Result{b}).Rows[0]
		if row.P == nil || math.Abs(*row.P-tt.p) > 0.0001 {
			t.Errorf("z = %v: p = %v, want %v", tt.z, *row.P, tt.p)
		}
	}
}

func TestCompareJoins(t *testing.T) {
	other := func(change func(*eval.Result)) eval.Result { return result("accuracy", 0.9, change) }
	a := []eval.Result{result("accuracy", 0.5, shots(0)), result("accuracy", 0.6, shots(5)), result("f1", 0.1)}
	b := []eval.Result{
		result("accuracy", 0.7, shots(5)),
		other(func(r *eval.Result) { r.Dataset.Split = "dev" }),
		other(func(r *eval.Result) { r.Dataset.Config = "c" }),
		other(func(r *eval.Result) { r.Task = "u" }),
		other(func(r *eval.Result) { r.Metric.Filter = "strict" }),
	}
	c := eval.Compare(a, b)
	if len(c.Rows) != 1 || len(c.OnlyA) != 2 || len(c.OnlyB) != 4 {
		t.Fatalf("%d joined, %d only in A, %d only in B", len(c.Rows), len(c.OnlyA), len(c.OnlyB))
	}
	if *c.Rows[0].A.Shots != 5 || c.Rows[0].B.Value != 0.7 {
		t.Errorf("joined %+v, want the one with as many shots", c.Rows[0])
	}
	c = eval.Compare([]eval.Result{result("accuracy", 0.5, revision("a"))}, []eval.Result{result("accuracy", 0.6, revision("b"))})
	if len(c.Rows) != 0 {
		t.Errorf("two states of a dataset are compared: %+v", c.Rows)
	}
}
