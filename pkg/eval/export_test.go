package eval_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelreg/modelreg/pkg/eval"
)

// TestModelIndex writes results as a card and reads the card.
func TestModelIndex(t *testing.T) {
	r := parse(t, "lm-eval-0.4.json")
	raw, err := eval.ModelIndex("support", r.Results)
	if err != nil {
		t.Fatal(err)
	}
	back, err := eval.Parse([]byte("---\n"+string(raw)+"---\n# Support\n"), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	// What a card has no place for is in arguments, which nobody reads back.
	lost := []cmp.Option{
		cmpopts.IgnoreFields(eval.Result{}, "Stderr", "N", "Shots", "Harness", "Model", "Hardware", "When"),
		cmpopts.IgnoreFields(eval.Metric{}, "Filter"),
	}
	if diff := cmp.Diff(r.Results, back.Results, lost...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(string(raw), "stderr: 0.013584820638504821") || !strings.Contains(string(raw), "filter: strict-match") {
		t.Errorf("arguments are missing:\n%s", raw)
	}
}
