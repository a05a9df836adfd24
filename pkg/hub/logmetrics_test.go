package hub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
)

// measuredIn writes the results of a history, a line for each version.
func measuredIn(res *hub.LogResult) []string {
	var lines []string
	for _, e := range res.Entries {
		parts := []string{e.Message + ":"}
		for _, ev := range e.Evaluations {
			parts = append(parts, fmt.Sprintf("%s %g %s", ev.Metric.Name, ev.Value, ev.Class))
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	return lines
}

func TestLogMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pushed := w.line("a", "b", "c")
	w.publish(alice())
	w.evaluate("org/m@"+pushed[0].Digest, measured("accuracy", 0.7), hub.EvaluateOptions{Signer: alice().signer})
	w.evaluate("org/m@"+pushed[0].Digest, measured("accuracy", 0.1), hub.EvaluateOptions{Signer: stranger().signer})
	w.evaluate("org/m@"+pushed[2].Digest, measured("accuracy", 0.8), hub.EvaluateOptions{Signer: alice().signer})
	w.evaluate("org/m@"+pushed[2].Digest, measured("f1", 0.5), hub.EvaluateOptions{})
	w.evaluate("org/m@"+pushed[1].Digest, measured("accuracy", 0.75), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})

	for _, e := range w.log("org/m:main", hub.LogOptions{}).Entries {
		if e.Evaluations != nil {
			t.Errorf("results that nobody asked for: %+v", e)
		}
	}
	own := measuredIn(w.log("org/m:main", hub.LogOptions{Metrics: true}))
	if d := cmp.Diff([]string{"c: accuracy 0.8 publisher f1 0.5 unsigned", "b:", "a: accuracy 0.7 publisher"}, own); d != "" {
		t.Error(d)
	}
	h := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Evaluations: []ref.Reference{w.ref("lab/evals")}})
	res, err := h.Log(t.Context(), w.ref("org/m:main"), hub.LogOptions{Metrics: true, Trust: lab().trust})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"c: accuracy 0.8 publisher f1 0.5 unsigned", "b: accuracy 0.75 trusted", "a: accuracy 0.7 publisher"}
	if d := cmp.Diff(all, measuredIn(res)); d != "" {
		t.Error(d)
	}
}

// What a card claims is shown as that.
func TestLogMetricsClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pushCard("org/m:main", `model-index:
- name: m
  results:
  - task: {type: t}
    dataset: {type: d, name: d}
    metrics: [{type: f1, value: 0.5}]`, "text")
	got := w.log("org/m:main", hub.LogOptions{Metrics: true}).Entries[0].Evaluations
	if len(got) != 1 || got[0].Class != hub.ClassClaimed || got[0].Metric.Name != "f1" {
		t.Errorf("results = %+v", got)
	}
}

// Versions of which nothing is known cost a few requests each, however many there are.
func TestLogMetricsCosts(t *testing.T) {
	t.Parallel()
	const versions = 20
	w := newWorld(t)
	for i := range versions {
		w.commit("org/m:main", fmt.Sprint(i), hub.Committing{Message: fmt.Sprint(i)})
	}
	requests := func(opts hub.LogOptions) int {
		w.srv.Reset()
		if _, err := hub.New(hub.Options{Remote: w.client, Warn: w.warn}).Log(t.Context(), w.ref("org/m:main"), opts); err != nil {
			t.Fatal(err)
		}
		return len(w.srv.Requests())
	}
	plain, all := requests(hub.LogOptions{}), requests(hub.LogOptions{Metrics: true})
	if all-plain > 3*versions+2 {
		t.Errorf("%d requests more for %d versions", all-plain, versions)
	}
	if few := requests(hub.LogOptions{Metrics: true, Limit: 2}); few > plain {
		t.Errorf("%d requests for two versions", few)
	}
}

// What cannot be read of one version takes nothing from the others.
func TestLogMetricsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pushed := w.line("a", "b")
	for _, p := range pushed {
		w.evaluate("org/m@"+p.Digest, measured("accuracy", 0.7), hub.EvaluateOptions{})
	}
	res := w.log("org/m:main", hub.LogOptions{Metrics: true})
	bad := res.Entries[0].Evaluations[0].Statement
	w.srv.Add(testreg.Rule{Path: "/manifests/" + bad, Do: testreg.Status(403, nil, "")})
	w.warned()
	got := measuredIn(w.log("org/m:main", hub.LogOptions{Metrics: true}))
	if d := cmp.Diff([]string{"b:", "a: accuracy 0.7 unsigned"}, got); d != "" {
		t.Error(d)
	}
	if said := w.warned(); !strings.Contains(said, "measured to do") && !strings.Contains(said, "results of") {
		t.Errorf("warnings = %q", said)
	}
}
