package index_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/index"
)

// Whose word a number is decides before the number does, in either direction and over
// pages too.
func TestMetricsByBelief(t *testing.T) {
	of := func(name string, metrics ...index.Metric) index.Record {
		for i := range metrics {
			metrics[i].Name = "mmlu"
		}
		return index.Record{Repository: "reg.io/a/" + name, Digest: "sha256:" + strings.Repeat("0", 60) + name[:2], Latest: true, Metrics: metrics}
	}
	ix := open(t,
		of("trusted-high", index.Metric{Value: 0.7, Class: "trusted"}),
		of("low-trusted", index.Metric{Value: 0.5, Class: "trusted"}, index.Metric{Value: 0.99, Class: "claimed"}),
		of("negative", index.Metric{Value: -3, Class: "trusted"}),
		of("publisher", index.Metric{Value: 0.95, Class: "publisher"}),
		of("evaluator", index.Metric{Value: 0.9, Class: "evaluator"}),
		of("doubted", index.Metric{Value: 0.98, Class: "trusted", Disputed: true}),
		of("card", index.Metric{Value: 0.97, Class: "claimed"}),
		of("spam", index.Metric{Value: math.MaxFloat64, Class: "community"}),
		of("worse-spam", index.Metric{Value: -math.MaxFloat64, Class: "unsigned"}),
		of("none"),
	)
	list := func(query, sort string) []string {
		var out []string
		opts := index.Options{Sort: sort, Limit: 2}
		for {
			res := find(t, ix, query, opts)
			for _, h := range res.Hits {
				out = append(out, strings.TrimPrefix(h.Record.Repository, "reg.io/a/"))
			}
			if opts.Cursor = res.Next; res.Next == "" {
				return out
			}
		}
	}
	if diff := cmp.Diff([]string{"trusted-high", "low-trusted", "negative", "publisher", "evaluator", "spam", "doubted", "card", "worse-spam", "none"}, list("", "metric:mmlu")); diff != "" {
		t.Errorf("highest first:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"negative", "low-trusted", "trusted-high", "evaluator", "publisher", "worse-spam", "card", "doubted", "spam", "none"}, list("", "-metric:mmlu")); diff != "" {
		t.Errorf("lowest first:\n%s", diff)
	}
	for query, want := range map[string]string{
		"metric:mmlu>0.6":   "card doubted evaluator low-trusted publisher spam trusted-high",
		"measured:mmlu>0.6": "trusted-high",
		"measured:mmlu":     "low-trusted negative trusted-high",
	} {
		if got := strings.Join(slices.Sorted(slices.Values(list(query, ""))), " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
