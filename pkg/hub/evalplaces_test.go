package hub_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
)

// erase takes away the list of what is attached to a version, as its owner can.
func (w *world) erase(name, tag string) {
	w.t.Helper()
	desc, _ := w.manifest(name, tag)
	if err := w.repo(name).Untag(w.t.Context(), "sha256-"+desc.Digest.Encoded()); err != nil {
		w.t.Fatal(err)
	}
}

// reading is a hub that looks into these repositories for evaluations.
func (w *world) reading(names ...string) *hub.Hub {
	opts := hub.Options{Remote: w.client, Warn: w.warn}
	for _, name := range names {
		opts.Evaluations = append(opts.Evaluations, w.ref(name))
	}
	return hub.New(opts)
}

// shown tells by which commands a metric of org/m:v1 is seen, and its value in diff
// against org/m:v2.
func (w *world) shown(h *hub.Hub, metric string) string {
	w.t.Helper()
	var by []string
	seen, err := h.Inspect(w.t.Context(), w.ref("org/m:v1"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range seen.Evaluations {
		if e.Metric.Name == metric {
			by = append(by, "inspect "+string(e.Class))
		}
	}
	res, err := h.Diff(w.t.Context(), hub.DiffSide{Reference: w.ref("org/m:v1")}, hub.DiffSide{Reference: w.ref("org/m:v2")}, hub.DiffOptions{Trust: lab().trust})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range res.Metrics {
		if m.Metric == metric {
			by = append(by, "diff "+m.FromBy)
		}
	}
	bill, err := h.BOM(w.t.Context(), w.ref("org/m:v1"), hub.BOMOptions{Card: hub.CardOptions{Trust: lab().trust}})
	if err != nil {
		w.t.Fatal(err)
	}
	if bytes.Contains(bill, []byte(`"`+metric+`"`)) {
		by = append(by, "bom")
	}
	listed, err := h.Evaluations(w.t.Context(), w.ref("org/m:v1"), hub.EvaluationsOptions{Trust: lab().trust})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range listed.Evaluations {
		if e.Metric.Name == metric {
			by = append(by, "list "+string(e.Class))
		}
	}
	return strings.Join(by, ", ")
}

// A lab's numbers are seen by all who show numbers, though the model's owner removes
// what he can.
func TestEvaluationsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.push("org/m:v1", "weights")
	w.push("org/m:v2", "other weights")
	w.evaluate("org/m:v1", measured("accuracy", 0.9), hub.EvaluateOptions{Signer: lab().signer})
	w.evaluate("org/m:v1", measured("accuracy", 0.9), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	w.erase("org/m", "v1")

	const all = "inspect community, diff trusted, bom, list trusted"
	if got := w.shown(w.Hub, "accuracy"); got != "" {
		t.Errorf("seen by %q of those who were told of no lab", got)
	}
	if got := w.shown(w.reading("lab/evals"), "accuracy"); got != all {
		t.Errorf("configured: seen by %q, want %q", got, all)
	}
	if _, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Evaluations = []string{w.ref("lab/evals").Name(), "elsewhere.example/lab/evals"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := w.shown(w.Hub, "accuracy"); got != all {
		t.Errorf("named by the record: seen by %q, want %q", got, all)
	}
	if got := w.warned(); !strings.Contains(got, "elsewhere.example/lab/evals: named by the record, and on another host") {
		t.Errorf("warned of %q", got)
	}
	// A repository that fails is told of, and hides nothing.
	w.srv.Add(testreg.Rule{Path: "^/v2/lab/broken/", Do: testreg.Status(http.StatusForbidden, nil, "")})
	if got := w.shown(w.reading("lab/broken", "lab/evals"), "accuracy"); got != all {
		t.Errorf("beside one that fails: seen by %q, want %q", got, all)
	}
	if got := w.warned(); !strings.Contains(got, "lab/broken") {
		t.Errorf("warned of %q", got)
	}
}

// Who was told of no other repository asks for nothing more than the record.
func TestInspectWithoutEvaluations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	w.srv.Reset()
	if _, err := w.Inspect(t.Context(), w.ref("org/m:v1")); err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, r := range w.srv.Requests() {
		if strings.HasSuffix(r.Path, "/manifests/"+record.Tag) {
			records++
		}
		if !strings.HasPrefix(r.Path, "/v2/org/m/") && r.Path != "/v2/" {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
	if records > 1 {
		t.Errorf("%d requests for the record", records)
	}
}

// Statements that are full of results fill no memory.
func TestEvaluationsOfManyResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	subject, _ := w.manifest("org/m", "v1")
	var b strings.Builder
	for i := range eval.MaxResults {
		fmt.Fprintf(&b, `,{"task":"a","metric":{"name":"mmlu"},"dataset":{"id":"d%d"},"value":1e308}`, i)
	}
	doc := `{"results":[` + b.String()[1:] + `]}`
	for i := range 10 {
		w.referrer("spam/evals", mediatypes.ArtifactEvaluation, nil, subject, []byte(doc+strings.Repeat(" ", i)))
	}
	good := w.evaluate("org/m:v1", measured("accuracy", 0.9), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	res := w.evaluations("org/m:v1", hub.EvaluationsOptions{Trust: lab().trust, From: []ref.Reference{w.ref("spam/evals"), w.ref("lab/evals")}})
	spam, found := 0, false
	for _, e := range res.Evaluations {
		if e.Repository == w.ref("spam/evals").Name() {
			spam++
		}
		found = found || e.Statement == good.Statement
	}
	if spam != 20_000 || !found {
		t.Errorf("%d results of the flood, the honest one: %v", spam, found)
	}
	if len(res.Problems) != 1 || !strings.Contains(res.Problems[0], "more than 20000 results") {
		t.Errorf("problems %q", res.Problems)
	}
}
