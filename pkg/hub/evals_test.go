package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

var lab = sync.OnceValue(newParty)

func measured(metric string, value float64) *eval.Report {
	return &eval.Report{Results: []eval.Result{{Task: "t", Dataset: eval.Dataset{ID: "d"}, Metric: eval.NewMetric(metric, value), Value: value}}}
}

func (w *world) evaluate(name string, report *eval.Report, opts hub.EvaluateOptions) *hub.EvaluateResult {
	w.t.Helper()
	res, err := w.Evaluate(w.t.Context(), w.ref(name), report, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) evaluations(name string, opts hub.EvaluationsOptions) *hub.Evaluations {
	w.t.Helper()
	res, err := w.Evaluations(w.t.Context(), w.ref(name), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// classes writes results as "metric class" lines.
func classes(res *hub.Evaluations) string {
	var b strings.Builder
	for _, e := range res.Evaluations {
		fmt.Fprintf(&b, "%s %s %v\n", e.Metric.Name, e.Class, e.Signer != nil)
	}
	return b.String()
}

func (p party) recorded() record.Party { return record.Party{Key: string(p.signer.Public().PEM())} }

func TestEvaluations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	w.evaluate("org/m:v1", measured("accuracy", 0.9), hub.EvaluateOptions{Signer: alice().signer})
	w.evaluate("org/m:v1", measured("f1", 0.8), hub.EvaluateOptions{Signer: stranger().signer})
	w.evaluate("org/m:v1", measured("wer", 0.1), hub.EvaluateOptions{})
	made := w.evaluate("org/m:v1", measured("bleu", 30), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	if made.Repository != w.srv.Host+"/lab/evals" || made.Made != 1 {
		t.Errorf("made %+v", made)
	}
	if again := w.evaluate("org/m:v1", measured("bleu", 30), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")}); again.Made != 0 {
		t.Errorf("the same again made %+v", again)
	}
	from := []ref.Reference{w.ref("lab/evals")}

	if got, want := classes(w.evaluations("org/m:v1", hub.EvaluationsOptions{})), "accuracy community false\nf1 community false\nwer unsigned false\n"; got != want {
		t.Errorf("nobody is known:\n%s", got)
	}
	got := classes(w.evaluations("org/m:v1", hub.EvaluationsOptions{From: from, Trust: lab().trust}))
	if want := "accuracy community false\nbleu trusted true\nf1 community false\nwer unsigned false\n"; got != want {
		t.Errorf("the lab is trusted:\n%s", got)
	}
	_, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Publishers, r.Evaluators = []record.Party{alice().recorded()}, []record.Party{lab().recorded()}
		r.Evaluations = []string{w.srv.Host + "/lab/evals", "elsewhere.example/evals"}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	res := w.evaluations("org/m:v1", hub.EvaluationsOptions{})
	if got, want := classes(res), "accuracy publisher true\nbleu evaluator true\nf1 community false\nwer unsigned false\n"; got != want {
		t.Errorf("the record names them:\n%s", got)
	}
	if len(res.Problems) != 1 || !strings.Contains(res.Problems[0], "elsewhere.example/evals: named by the record, and on another host") {
		t.Errorf("problems = %q, want one about the other host, which is not asked", res.Problems)
	}
	// Whom the reader names goes before what the record says.
	if got := classes(w.evaluations("org/m:v1", hub.EvaluationsOptions{Trust: alice().trust})); !strings.HasPrefix(got, "accuracy trusted true\n") {
		t.Errorf("a publisher who is trusted:\n%s", got)
	}
	// What older cosigns write behind a tag counts where it is verified.
	classic := signing.AttestOptions{Format: signing.Classic}
	w.evaluate("org/m:v1", measured("cer", 0.3), hub.EvaluateOptions{Signer: lab().signer, Attest: classic})
	if got := classes(w.evaluations("org/m:v1", hub.EvaluationsOptions{})); !strings.Contains(got, "cer evaluator true\n") {
		t.Errorf("a statement behind a tag:\n%s", got)
	}
	// Another version has none of this.
	w.push("org/m:v2", "other weights")
	if got := classes(w.evaluations("org/m:v2", hub.EvaluationsOptions{From: from, Trust: lab().trust})); got != "" {
		t.Errorf("another version:\n%s", got)
	}
}

func TestEvaluationsDisputed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	made := w.evaluate("org/m:v1", measured("accuracy", 0.1), hub.EvaluateOptions{Signer: lab().signer})
	doubt := func(by party) {
		t.Helper()
		if _, err := w.Dispute(t.Context(), w.ref("org/m:v1"), made.Statement, "wrong prompt", hub.EvaluationsOptions{Signer: by.signer}); err != nil {
			t.Fatal(err)
		}
	}
	doubt(stranger())
	for name, trust := range map[string]party{"lab": lab(), "alice": alice()} {
		if e := w.evaluations("org/m:v1", hub.EvaluationsOptions{Trust: trust.trust}).Evaluations[0]; len(e.Disputed) != 0 {
			t.Errorf("a stranger's doubt counts for %s: %+v", name, e.Disputed)
		}
	}
	doubt(alice())
	both := &signing.Trust{Keys: append(lab().trust.Keys[:1:1], alice().trust.Keys...)}
	res := w.evaluations("org/m:v1", hub.EvaluationsOptions{Trust: both})
	if len(res.Evaluations) != 1 || res.Evaluations[0].Class != hub.ClassTrusted || len(res.Evaluations[0].Disputed) != 1 {
		t.Fatalf("disputed by one who is trusted: %+v", res.Evaluations)
	}
	if len(res.Vouched()) != 0 {
		t.Error("what is disputed is vouched for")
	}
	// The doubt of a publisher is shown, and takes nothing from what the reader trusts.
	if _, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Publishers = []record.Party{alice().recorded()}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	res = w.evaluations("org/m:v1", hub.EvaluationsOptions{Trust: lab().trust})
	if len(res.Evaluations[0].Disputed) != 1 || res.Evaluations[0].Disputed[0].Class != hub.ClassPublisher || len(res.Vouched()) != 1 {
		t.Errorf("disputed by a publisher: %+v", res.Evaluations)
	}
	_, err := w.Dispute(t.Context(), w.ref("org/m:v1"), made.Statement, "wrong prompt", hub.EvaluationsOptions{})
	wantErr(t, err, hub.ErrUsage)
	_, err = w.Dispute(t.Context(), w.ref("org/m:v1"), "0000", "wrong prompt", hub.EvaluationsOptions{Signer: alice().signer})
	wantErr(t, err, errdef.ErrNotFound)
}

// referrer attaches a manifest as whoever can push may.
func (w *world) referrer(name, artifactType string, annotations map[string]string, subject ocispec.Descriptor, layer []byte) {
	w.t.Helper()
	repo := w.repo(name)
	desc := content.NewDescriptorFromBytes(artifactType, layer)
	for d, data := range map[*ocispec.Descriptor][]byte{&desc: layer, &ocispec.DescriptorEmptyJSON: []byte("{}")} {
		if err := repo.Push(w.t.Context(), ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, bytes.NewReader(data)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			w.t.Fatal(err)
		}
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{desc}, Subject: &subject, Annotations: annotations,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := repo.PushReferrer(w.t.Context(), raw, subject); err != nil {
		w.t.Fatal(err)
	}
}

// TestEvaluationsHostile attaches what those may who can push to a repository: it
// hides no honest result, and passes for none.
func TestEvaluationsHostile(t *testing.T) {
	t.Parallel()
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	pred := map[string]string{"dev.sigstore.bundle.predicateType": eval.PredicateType}
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	w.push("org/other:v1", "other weights")
	good := w.evaluate("org/m:v1", measured("accuracy", 0.9), hub.EvaluateOptions{Signer: alice().signer})
	subject, _ := w.manifest("org/m", "v1")

	w.referrer("org/m", mediatypes.ArtifactEvaluation, nil, subject, []byte("not JSON"))
	w.referrer("org/m", mediatypes.ArtifactEvaluation, nil, subject, []byte(`{"results":[{"metric":{"name":"a"},"metric":{"name":"b"}}]}`))
	w.referrer("org/m", mediatypes.ArtifactEvaluation, nil, subject, []byte(`{"results":[],"results":[]}`))
	w.referrer("org/m", bundle, pred, subject, []byte("{}"))
	w.referrer("org/m", bundle, pred, subject, bytes.Repeat([]byte("["), 1<<20))
	// Alice's statement about another model, attached to this one.
	other := w.evaluate("org/other:v1", measured("f1", 0.99), hub.EvaluateOptions{Signer: alice().signer})
	_, raw := w.manifest("org/other", other.Statement)
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := content.FetchAll(t.Context(), w.repo("org/other"), m.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	w.referrer("org/m", bundle, pred, subject, moved)
	// A signed statement of another type that is listed as results.
	vuln := signing.Predicate{Type: "https://example.com/x", Raw: []byte(`{"results":[{"metric":{"name":"accuracy"},"dataset":{"id":"d"},"value":1}]}`)}
	if _, err := w.Attest(t.Context(), w.ref("org/other:v1"), alice().signer, vuln, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}

	res := w.evaluations("org/m:v1", hub.EvaluationsOptions{Trust: alice().trust})
	if len(res.Evaluations) != 1 || res.Evaluations[0].Statement != good.Statement || res.Evaluations[0].Class != hub.ClassTrusted {
		t.Errorf("evaluations = %+v, want the honest one", res.Evaluations)
	}
	if len(res.Problems) != 6 {
		t.Errorf("%d problems, want one for each lie: %q", len(res.Problems), res.Problems)
	}
}

// TestEvaluationsMany tells how many requests it takes, and that they are bounded.
func TestEvaluationsMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	const n = 5
	for i := range n {
		w.evaluate("org/m:v1", measured("accuracy", float64(i)/n), hub.EvaluateOptions{})
	}
	w.srv.Reset()
	res := w.evaluations("org/m:v1", hub.EvaluationsOptions{})
	if len(res.Evaluations) != n {
		t.Errorf("%d results", len(res.Evaluations))
	}
	// The tag, the record, referrers of results and of cards (each asked twice: by the
	// interface and the tag), the version itself, and two for each statement.
	if got, most := len(w.srv.Requests()), 2*n+12; got > most {
		t.Errorf("%d requests, want at most %d", got, most)
	}
}

func TestEvaluateRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push("org/m:v1", "weights")
	_, err := w.Evaluate(t.Context(), w.ref("org/m:v1"), &eval.Report{}, hub.EvaluateOptions{Signer: alice().signer})
	wantErr(t, err, eval.ErrMalformed)
	_, err = w.Evaluate(t.Context(), w.ref("org/m:v2"), measured("f1", 1), hub.EvaluateOptions{Signer: alice().signer})
	wantErr(t, err, errdef.ErrNotFound)
	if got := w.evaluations("org/m:v1", hub.EvaluationsOptions{}).Evaluations; len(got) != 0 {
		t.Errorf("something was attached: %+v", got)
	}
}

// TestEvaluationsInDiff has diff and inspect know what is stated, before what cards claim.
func TestEvaluationsInDiff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for tag, value := range map[string]float64{"v1": 0.5, "v2": 0.4} {
		readme := "---\nlicense: mit\nmodel-index:\n- name: m\n  results:\n  - task: {type: t}\n    dataset: {name: d, type: d}\n    metrics: [{type: accuracy, value: 0.99}]\n---\n# M " + tag + "\n"
		if _, err := w.Push(t.Context(), dir(t, files{"README.md": readme}), w.ref("org/m:"+tag), hub.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		w.evaluate("org/m:"+tag, measured("accuracy", value), hub.EvaluateOptions{Signer: alice().signer})
	}
	res, err := w.Diff(t.Context(), hub.DiffSide{Reference: w.ref("org/m:v1")}, hub.DiffSide{Reference: w.ref("org/m:v2")}, hub.DiffOptions{Trust: alice().trust})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Metrics) != 1 || *res.Metrics[0].From != 0.5 || *res.Metrics[0].To != 0.4 || res.Metrics[0].Verdict != "worse" || res.Metrics[0].ToBy != "trusted" {
		t.Errorf("metrics = %+v, want what alice has measured", res.Metrics)
	}
	seen, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.Evaluations) != 1 || seen.Evaluations[0].Value != 0.5 || seen.Evaluations[0].Class != hub.ClassCommunity {
		t.Errorf("inspect shows %+v", seen.Evaluations)
	}
	compared, err := w.CompareEvaluations(t.Context(), w.ref("org/m:v1"), w.ref("org/m:v2"), hub.EvaluationsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(compared.Rows) != 1 || compared.Rows[0].Verdict != eval.Worse || compared.Rows[0].B.Class != hub.ClassCommunity {
		t.Errorf("compared %+v", compared.Rows)
	}
}
