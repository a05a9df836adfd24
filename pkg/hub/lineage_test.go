package hub_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// tensorFile is a file of a model of two layers with this width.
func tensorFile(width int64, layers int) string {
	var list []testmodel.Tensor
	add := func(name string, shape ...int64) {
		n := int64(4)
		for _, d := range shape {
			n *= d
		}
		list = append(list, testmodel.Tensor{Name: name, DType: "F32", Shape: shape, Data: make([]byte, n)})
	}
	add("model.embed_tokens.weight", 8, 4)
	for i := range layers {
		add(fmt.Sprintf("model.layers.%d.mlp.up_proj.weight", i), width, 4)
	}
	return string(testmodel.SafetensorsFile(list, nil))
}

func readme(lines ...string) string {
	return "---\n" + strings.Join(lines, "\n") + "\n---\n# A model\n"
}

// made pushes a model that is made of others.
func (w *world) made(name string, f files, inputs ...hub.Input) *hub.PushResult {
	w.t.Helper()
	res, err := w.Push(w.t.Context(), dir(w.t, f), w.ref(name), hub.PushOptions{Inputs: inputs})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) lineage(name string, opts hub.LineageOptions) *hub.Lineage {
	w.t.Helper()
	res, err := w.Lineage(w.t.Context(), w.ref(name), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// drawn writes a lineage as short lines.
func (w *world) drawn(res *hub.Lineage) []string {
	short := map[string]string{}
	for _, n := range res.Nodes {
		short[n.ID] = strings.TrimPrefix(n.Reference, w.srv.Host+"/")
	}
	out := []string{}
	for _, e := range res.Edges {
		out = append(out, fmt.Sprintf("%s %s of %s: %s", short[e.Output], e.Relation, short[e.Input], e.Claim.Verdict))
	}
	slices.Sort(out)
	for _, warning := range res.Warnings {
		out = append(out, "! "+warning.Kind+" "+short[warning.Node])
	}
	return out
}

// relatives pushes a model, a fine-tune of it, a false fine-tune of that, and what
// these were trained on.
func relatives(w *world) {
	w.made("acme/base:v1", files{"README.md": readme("license: llama3.1"), "model.safetensors": tensorFile(8, 2)})
	w.made("acme/tickets:v7", files{"tickets.csv": "a,b\n"})
	w.made("acme/tuned:v1", files{"README.md": readme("license: llama3.1"), "model.safetensors": tensorFile(8, 2)},
		hub.Input{Reference: w.ref("acme/base:v1")}, hub.Input{Relation: lineage.Dataset, Reference: w.ref("acme/tickets:v7")})
	w.made("acme/odd:v1", files{"README.md": readme("license: mit"), "model.safetensors": tensorFile(16, 2)},
		hub.Input{Relation: lineage.Finetune, Reference: w.ref("acme/tuned:v1")}, hub.Input{Relation: lineage.Code, Elsewhere: "https://git.example.com/x@" + strings.Repeat("a", 40)})
}

func TestLineageUp(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	want := []string{
		"acme/odd:v1 code of https://git.example.com/x@" + strings.Repeat("a", 40) + ": claimed",
		"acme/odd:v1 finetune of acme/tuned:v1: contradicted",
		"acme/tuned:v1 dataset of acme/tickets:v7: claimed",
		"acme/tuned:v1 finetune of acme/base:v1: checked",
		"! contradicted acme/odd:v1", "! licence acme/odd:v1", "! licence acme/odd:v1",
		"! unsigned acme/tuned:v1", "! unsigned acme/base:v1",
	}
	res := w.lineage("acme/odd:v1", hub.LineageOptions{})
	if diff := cmp.Diff(want, w.drawn(res)); diff != "" {
		t.Error(diff)
	}
	if c := res.Edges[0].Claim; !strings.Contains(c.Reason, "layers.0.mlp.up_proj.weight: 16×4, 8×4 in the base, and 1 more") {
		t.Errorf("reason = %s", c.Reason)
	}
	if res.Truncated {
		t.Error("truncated")
	}
	near := w.lineage("acme/odd:v1", hub.LineageOptions{Depth: 1, NoCheck: true})
	if len(near.Nodes) != 3 || !near.Truncated || near.Edges[0].Claim.Verdict != lineage.Claimed {
		t.Errorf("one step: %d nodes, truncated %v, %v", len(near.Nodes), near.Truncated, near.Edges)
	}
}

// Whole files of weights are not read, and requests grow with the versions alone.
func TestLineageReadsHeaders(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	w.srv.Reset()
	w.lineage("acme/odd:v1", hub.LineageOptions{NoCheck: true})
	// A version costs its manifest, what is attached in both ways, and the
	// names under which signatures may be.
	if n := len(w.srv.Requests()); n > 4*6 {
		t.Errorf("%d requests for 4 versions", n)
	}
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("it wrote: %v", writes)
	}
}

func TestLineageDown(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	w.made("other/far:v1", files{"model.safetensors": tensorFile(8, 2)}, hub.Input{Reference: w.ref("acme/base:v1")})
	w.made("acme/card:v1", files{"README.md": readme("base_model: " + w.srv.Host + "/acme/base:v1"), "model.safetensors": tensorFile(8, 1)})

	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true})
	want := []string{
		"acme/card:v1 finetune of acme/base:v1: claimed", // nobody said finetune
		"acme/odd:v1 finetune of acme/tuned:v1: contradicted",
		"acme/tuned:v1 finetune of acme/base:v1: checked",
	}
	if diff := cmp.Diff(want, w.drawn(res)[:3]); diff != "" {
		t.Error(diff)
	}
	res = w.lineage("acme/base:v1", hub.LineageOptions{Down: true, Depth: 1, In: []string{w.srv.Host + "/other"}, NoCheck: true})
	if diff := cmp.Diff([]string{"other/far:v1 finetune of acme/base:v1: claimed"}, w.drawn(res)[:1]); diff != "" {
		t.Error(diff)
	}
	both := w.lineage("acme/tuned:v1", hub.LineageOptions{Down: true, Both: true, NoCheck: true})
	if n := len(both.Edges); n != 3 {
		t.Errorf("both ways: %v", w.drawn(both))
	}
}

// What a stranger's version says cannot send its readers into their own network,
// in circles, or on for ever.
func TestLineageHostile(t *testing.T) {
	w := newWorld(t)
	push := func(name, inputs string) {
		t.Helper()
		if _, err := w.Push(t.Context(), dir(t, files{"notes.txt": name}), w.ref(name), hub.PushOptions{Annotations: map[string]string{"dev.modelreg.inputs": inputs}}); err != nil {
			t.Fatal(err)
		}
	}
	host := w.srv.Host
	push("acme/a:v1", `[{"rel":"finetune","ref":"`+host+`/acme/b:v1"}]`)
	push("acme/b:v1", `[{"rel":"finetune","ref":"`+host+`/acme/a:v1"},{"rel":"merge","ref":"\u001b[31m"},{"rel":"adapter","ref":"`+host+`/acme/gone:v1"}]`)
	res := w.lineage("acme/a:v1", hub.LineageOptions{})
	want := []string{
		"acme/a:v1 finetune of acme/b:v1: claimed", "acme/b:v1 adapter of acme/gone:v1: claimed",
		"acme/b:v1 finetune of acme/a:v1: claimed", "acme/b:v1 merge of \x1b[31m: claimed",
	}
	if diff := cmp.Diff(want, w.drawn(res)[:4]); diff != "" {
		t.Error(diff)
	}
	push("acme/bad:v1", `[{"rel":"finetune"`)
	if res := w.lineage("acme/bad:v1", hub.LineageOptions{}); len(res.Edges) > 0 || !strings.Contains(res.Nodes[0].Problem, "invalid lineage") {
		t.Errorf("inputs that cannot be read: %+v", res.Nodes[0])
	}
}

func TestLineageOfWithdrawnBases(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	for _, name := range []string{"acme/base:v1", "acme/tuned:v1"} {
		if _, err := w.Sign(t.Context(), w.ref(name), alice().signer, signing.SignOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.SetState(t.Context(), w.ref("acme/base:v1"), alice().signer, hub.StateChange{State: record.Yanked, Reason: "it leaks"}); err != nil {
		t.Fatal(err)
	}
	res := w.lineage("acme/odd:v1", hub.LineageOptions{Trust: alice().trust, NoCheck: true})
	var told []string
	for _, warning := range res.Warnings {
		if warning.Kind != "licence" {
			told = append(told, warning.Message)
		}
	}
	if diff := cmp.Diff([]string{"acme/base:v1 is yanked: it leaks"}, told); diff != "" {
		t.Error(diff)
	}
	if res := w.lineage("acme/odd:v1", hub.LineageOptions{Trust: stranger().trust, NoCheck: true}); !slices.ContainsFunc(res.Warnings, func(l hub.LineageWarning) bool {
		return l.Kind == "unsigned" && strings.Contains(l.Message, "nobody who is trusted")
	}) {
		t.Errorf("a stranger trusts: %v", res.Warnings)
	}
}

// A provenance and the version itself say the same of what it was made of.
func TestLineageAndProvenance(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"notes.txt": "base"})
	_, err := w.Push(t.Context(), dir(t, files{"notes.txt": "tuned"}), w.ref("acme/tuned:v1"), hub.PushOptions{
		Inputs: []hub.Input{{Reference: w.ref("acme/base:v1")}}, Signer: alice().signer, Provenance: &hub.Provenance{},
	})
	if err != nil {
		t.Fatal(err)
	}
	differs := func() []string {
		var out []string
		for _, warning := range w.lineage("acme/tuned:v1", hub.LineageOptions{Trust: alice().trust}).Warnings {
			if warning.Kind == "provenance" {
				out = append(out, warning.Message)
			}
		}
		return out
	}
	if got := differs(); len(got) > 0 {
		t.Errorf("they differ: %v", got)
	}
	const other = `{"buildDefinition":{"buildType":"https://example.com/x","externalParameters":{},"resolvedDependencies":[{"name":"base-model","uri":"oci://example.com/other","digest":{"sha256":"aa"}}]},"runDetails":{"builder":{"id":"https://example.com/x"}}}`
	if _, err := w.Attest(t.Context(), w.ref("acme/tuned:v1"), alice().signer, signing.Predicate{Type: "https://slsa.dev/provenance/v1", Raw: []byte(other)}, signing.AttestOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := differs(); len(got) != 2 {
		t.Errorf("differences = %v, want one each way", got)
	}
}

func TestPushRefusesNamesUnderStrictness(t *testing.T) {
	w := newWorld(t)
	_, err := w.Push(t.Context(), dir(t, files{"README.md": readme("base_model: org/model")}), w.ref("acme/m:v1"), hub.PushOptions{Strict: true})
	wantErr(t, err, hub.ErrStrict)
	if d := w.digestOf("acme/m", "v1"); d != "" {
		t.Errorf("it was pushed: %s", d)
	}
}

// Imports lead back to where they are from, and their files are compared.
func TestLineageOfImports(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"model.safetensors": tensorFile(8, 2)})
	if _, err := w.Import(t.Context(), "oci://"+w.srv.Host+"/acme/base:v1", w.ref("mirror/base:v1"), hub.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	got := w.drawn(w.lineage("mirror/base:v1", hub.LineageOptions{}))
	if want := "mirror/base:v1 origin of acme/base: checked"; len(got) == 0 || got[0] != want {
		t.Errorf("lineage = %q, want %q first", got, want)
	}
}

// Of what cannot be looked into is told, and the rest is found; a collection of
// garbage, which would delete what that may need, stops.
func TestLineageDownPastClosedDoors(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	w.made("acme/closed:v1", files{"notes.txt": "closed"}, hub.Input{Reference: w.ref("acme/base:v1")})
	w.srv.Add(testreg.Rule{Path: "acme/closed/", Do: testreg.Status(http.StatusForbidden, nil, "")})

	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true})
	if len(res.Edges) != 2 {
		t.Errorf("edges: %v", w.drawn(res))
	}
	unread := slices.DeleteFunc(slices.Clone(res.Warnings), func(l hub.LineageWarning) bool { return l.Kind != "unread" })
	if len(unread) != 1 || unread[0].Node != res.Nodes[0].ID || !strings.Contains(unread[0].Message, "acme/closed was not looked into") {
		t.Errorf("warnings = %v, want one about acme/closed", unread)
	}
	_, err := w.Lineage(t.Context(), w.ref("acme/base:v1"), hub.LineageOptions{Down: true, In: []string{w.srv.Host + "/acme/closed"}})
	wantErr(t, err, remote.ErrForbidden)
	_, err = w.GC(t.Context(), w.ref("acme/base"), hub.GCOptions{In: []string{w.srv.Host + "/acme"}})
	wantErr(t, err, remote.ErrForbidden)
}

// Limits hold while versions are read, and not only afterwards.
func TestLineageDownIsBounded(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	for i := range 30 {
		w.made(fmt.Sprintf("acme/many:v%d", i), files{"notes.txt": "many"}, hub.Input{Reference: w.ref("acme/base:v1")})
	}
	w.srv.Reset()
	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true, MaxVersions: 5})
	if !res.Truncated || len(res.Nodes) > 6 {
		t.Errorf("truncated %v, %d nodes", res.Truncated, len(res.Nodes))
	}
	read := 0
	for _, q := range w.srv.Requests() {
		if q.Method == http.MethodGet && strings.Contains(q.Path, "/manifests/") && !strings.Contains(q.Path, "sha256") {
			read++
		}
	}
	if read > 5+1 { // and the version itself
		t.Errorf("%d versions were read, want 5 at most", read)
	}
}

// roundTripper is a function that carries requests.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Versions lead their readers to few registries, and not back to this machine
// under another name.
func TestLineageAsksAround(t *testing.T) {
	w := newWorld(t)
	const home = "registry.example"
	var mu sync.Mutex
	asked := map[string]bool{}
	transport := roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == home {
			out := req.Clone(req.Context())
			out.URL.Scheme, out.URL.Host, out.Host = "http", w.srv.Host, ""
			return http.DefaultTransport.RoundTrip(out)
		}
		mu.Lock()
		defer mu.Unlock()
		asked[req.URL.Host] = true
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: req, ProtoMajor: 1, ProtoMinor: 1}, nil
	})
	client, err := remote.New(remote.Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	push := func(name string, inputs ...string) {
		t.Helper()
		raw := `[{"rel":"finetune","ref":"` + strings.Join(inputs, `"},{"rel":"finetune","ref":"`) + `"}]`
		if _, err := w.Push(t.Context(), dir(t, files{"notes.txt": name}), w.ref(name), hub.PushOptions{Annotations: map[string]string{"dev.modelreg.inputs": raw}}); err != nil {
			t.Fatal(err)
		}
	}
	lineageOf := func(name string) *hub.Lineage {
		t.Helper()
		r, err := ref.Parse(home + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		res, err := hub.New(hub.Options{Remote: client}).Lineage(t.Context(), r, hub.LineageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}

	within := []string{"127.1:5000/a/b:v1", "0x7f.1/a/b:v1", "localhost:5000/a/b:v1", "2130706433:5000/a/b:v1", w.srv.Host + "/a/b:v1"}
	push("acme/within:v1", within...)
	for _, n := range lineageOf("acme/within:v1").Nodes[1:] {
		if n.Problem == "" || n.Read {
			t.Errorf("%s: problem %q, read %v", n.Reference, n.Problem, n.Read)
		}
	}
	if len(asked) > 0 {
		t.Errorf("asked: %v", asked)
	}

	var far []string
	for i := range 3 * hub.MaxLineageHosts {
		far = append(far, fmt.Sprintf("r%d.example/a/b:v1", i))
	}
	push("acme/far:v1", far...)
	nodes := lineageOf("acme/far:v1").Nodes
	if len(asked) != hub.MaxLineageHosts {
		t.Errorf("%d hosts were asked, want %d", len(asked), hub.MaxLineageHosts)
	}
	if p := nodes[len(nodes)-1].Problem; !strings.Contains(p, "one more registry") {
		t.Errorf("problem of the last = %q", p)
	}
}
