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
	raw, err := eval.ModelIndex("support", "text-generation", r.Results)
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

// A result that does not say its task has the model's, and never its dataset's name.
func TestModelIndexTask(t *testing.T) {
	bare := result("accuracy", 0.9)
	bare.Task = ""
	named := result("accuracy", 0.8)
	named.Dataset.ID = ""
	for task, want := range map[string]string{"image-classification": "image-classification", "": "other"} {
		raw, err := eval.ModelIndex("m", task, []eval.Result{bare, named})
		if err != nil {
			t.Fatal(err)
		}
		back, err := eval.Parse([]byte("---\n"+string(raw)+"---\n"), "")
		if err != nil {
			t.Fatal(err)
		}
		if r := back.Results; len(r) != 2 || r[0].Task != want || r[0].Dataset.ID != "d" || r[1].Task != "t" || r[1].Dataset.ID != "t" {
			t.Errorf("task %q: %+v", task, r)
		}
	}
}
