package hub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
)

// Percentages and fractions of one metric compare, whether the card is read with
// what others have stated or alone.
func TestCrawlIndexesPercentagesAsHundredths(t *testing.T) {
	card := func(value string) string {
		return fmt.Sprintf(`license: mit
model-index:
- name: m
  results:
  - task: {type: text-generation}
    dataset: {type: mmlu, name: MMLU}
    metrics: [{type: accuracy, value: %s}]`, value)
	}
	w := newWorld(t)
	w.pushCard("org/percent:v1", card("45"), "# P")
	w.pushCard("org/fraction:v1", card("0.91"), "# F")
	w.pushCard("org/stated:v1", card("72.5"), "# S")
	w.evaluate("org/stated:v1", measured("perplexity", 4.5), hub.EvaluateOptions{})
	ix := openIndex(t)
	w.crawl(ix, "")

	for query, want := range map[string][]string{
		"metric:mmlu>0.7":       {"org/fraction:v1", "org/stated:v1"},
		"metric:accuracy<50%":   {"org/percent:v1"},
		"metric:accuracy=72.5%": {"org/stated:v1"},
		"metric:perplexity>4":   {"org/stated:v1"}, // which is no percentage
	} {
		if diff := cmp.Diff(want, w.found(ix, query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}

	q, err := index.ParseQuery("license:mit")
	if err != nil {
		t.Fatal(err)
	}
	res, err := ix.Search(t.Context(), q, index.Options{Sort: "metric:mmlu"})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, h := range res.Hits {
		order = append(order, strings.TrimPrefix(h.Record.Repository, w.srv.Host+"/org/"))
	}
	if diff := cmp.Diff([]string{"fraction", "stated", "percent"}, order); diff != "" {
		t.Errorf("sorted by metric (-want +got):\n%s", diff)
	}
}
