package hub_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A joining is an index of a world, of which the lab is trusted.
type joining struct {
	*world
	ix     *index.Index
	opts   hub.Options
	places []string
}

func newJoining(w *world, places ...string) *joining {
	j := &joining{world: w, ix: openIndex(w.t)}
	for _, p := range places {
		j.places = append(j.places, w.srv.Host+p)
	}
	return j
}

// read crawls into an index, as a process of its own.
func (j *joining) read(ix *index.Index, places []string, whole bool) *hub.CrawlResult {
	j.t.Helper()
	opts := j.opts
	opts.Remote, opts.Warn = j.client, j.warn
	res, err := hub.New(opts).Crawl(j.t.Context(), ix, places, hub.CrawlOptions{Trust: lab().trust, Whole: whole})
	if err != nil {
		j.t.Fatal(err)
	}
	return res
}

// update brings the index up to date, and holds it against one that is made now.
func (j *joining) update() *hub.CrawlResult {
	j.t.Helper()
	res := j.read(j.ix, j.places, true)
	rebuilt := openIndex(j.t)
	j.read(rebuilt, j.places, true)
	var snapshots [2]bytes.Buffer
	for i, ix := range []*index.Index{j.ix, rebuilt} {
		if _, err := ix.WriteSnapshot(j.t.Context(), &snapshots[i], nil); err != nil {
			j.t.Fatal(err)
		}
	}
	if !bytes.Equal(snapshots[0].Bytes(), snapshots[1].Bytes()) {
		j.t.Errorf("the index that was updated is another than the one that was built now:\n%s", cmp.Diff(j.metrics(rebuilt, "org/m"), j.metrics(j.ix, "org/m")))
	}
	return res
}

// metrics are what an index has of a repository, a line for each number.
func (j *joining) metrics(ix *index.Index, name string) []string {
	j.t.Helper()
	list, err := ix.Versions(j.t.Context(), j.srv.Host+"/"+name)
	if err != nil {
		j.t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		for _, m := range r.Metrics {
			out = append(out, fmt.Sprintf("%s=%v %s %s", m.Name, m.Value, m.Class, strings.TrimPrefix(m.Repository, j.srv.Host+"/")))
		}
	}
	return out
}

func (j *joining) want(query string, names ...string) {
	j.t.Helper()
	if diff := cmp.Diff(names, j.found(j.ix, query)); len(names)+len(j.found(j.ix, query)) > 0 && diff != "" {
		j.t.Errorf("%s (-want +got):\n%s", query, diff)
	}
}

// untag removes the list that a repository has about a version of org/m.
func (w *world) untag(name, tag string) {
	w.t.Helper()
	desc, _ := w.manifest("org/m", tag)
	if err := w.repo(name).Untag(w.t.Context(), "sha256-"+desc.Digest.Encoded()); err != nil {
		w.t.Fatal(err)
	}
}

// What a lab measures is found by search, whatever the owner of the model removes.
func TestCrawlJoinsEvaluations(t *testing.T) {
	for name, reg := range map[string]testreg.Options{"tags": {NoReferrers: true}, "API": {}} {
		t.Run(name, func(t *testing.T) {
			j := newJoining(newWorldWith(t, reg), "")
			if !reg.NoReferrers { // it hides lists of attachments, and wants to be asked
				j.opts.Evaluations = []ref.Reference{j.ref("lab/evals")}
			}
			j.pushCard("org/m:v1", "license: mit", "# Model")
			j.pushCard("org/m:v2", "license: mit", "# Model, the second")
			j.evaluate("org/m:v1", measured("mmlu", 0.9), hub.EvaluateOptions{})
			j.update()
			j.want("metric:mmlu>0.7 versions:all", "org/m:v1")
			j.want("measured:mmlu>0.7 versions:all")

			j.evaluate("org/m:v1", measured("mmlu", 0.8), hub.EvaluateOptions{Signer: lab().signer, To: j.ref("lab/evals")})
			if res := j.update(); res.Joined != 1 || res.Fetched != 0 {
				t.Errorf("a new statement elsewhere: %+v", res)
			}
			j.want("measured:mmlu>0.7 versions:all", "org/m:v1")
			// Nothing new costs the list that the lab has, besides what it cost before.
			j.srv.Reset()
			if res := j.read(j.ix, j.places, true); res.Joined+res.Fetched+res.Changed != 0 {
				t.Errorf("nothing new: %+v", res)
			}
			if n := j.requests()["GET manifest"]; n > 3 {
				t.Errorf("%d manifests were fetched, want that of the lab's list, or one for each version, and the record", n)
			}
			if reg.NoReferrers {
				j.untag("org/m", "v1")
				j.update()
				j.want("measured:mmlu>0.7 versions:all", "org/m:v1")
				j.want("metric:mmlu>0.85 versions:all")
			}
			// The lab measures on, and the owner names it.
			j.evaluate("org/m:v2", measured("mmlu", 0.6), hub.EvaluateOptions{Signer: alice().signer, To: j.ref("lab/evals")})
			j.update()
			j.want("metric:mmlu=0.6 versions:all", "org/m:v2")
			if _, err := j.SetRecord(t.Context(), j.ref("org/m"), nil, func(r *record.Record) error {
				r.Evaluators = []record.Party{alice().recorded()}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			j.update()
			if got := j.metrics(j.ix, "org/m"); !slices.Contains(got, "mmlu=0.6 evaluator lab/evals") {
				t.Errorf("what is known: %q", got)
			}
			if reg.NoReferrers { // the lab takes back what it has said
				j.untag("lab/evals", "v1")
				j.untag("lab/evals", "v2")
				j.update()
				j.want("metric:mmlu versions:all")
			}
		})
	}
}

// Repositories that are not crawled are looked into if the reader or the model's own
// repository names them.
func TestCrawlLooksWhereItIsTold(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	for _, name := range []string{"org/m", "org/other"} {
		w.pushCard(name+":v1", "license: mit", "# "+name)
	}
	w.evaluate("org/m:v1", measured("mmlu", 0.8), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	w.evaluate("org/other:v1", measured("mmlu", 0.8), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	j := newJoining(w, "/org/")
	j.update()
	j.want("metric:mmlu")

	if _, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Evaluations = []string{w.ref("lab/evals").Name(), "elsewhere.example/lab/evals"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	j.update()
	j.want("metric:mmlu", "org/m:v1") // the other has named nobody

	j.opts.Evaluations = []ref.Reference{w.ref("lab/evals"), w.ref("lab/absent")}
	j.update()
	j.want("measured:mmlu", "org/m:v1", "org/other:v1")
	j.opts.Evaluations = nil
	j.update()
	j.want("metric:mmlu", "org/m:v1")
}

// What cannot be read, and what is not looked at this time, stays as it was.
func TestCrawlKeepsWhatWasJoined(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.pushCard("org/m:v1", "license: mit", "# Model")
	w.evaluate("org/m:v1", measured("mmlu", 0.8), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	j := newJoining(w, "/org/m", "/lab/evals")
	j.update()

	j.read(j.ix, j.places[:1], false)
	j.want("measured:mmlu", "org/m:v1")
	// The model has changed, and the lab does not answer.
	w.evaluate("org/m:v1", measured("f1", 0.5), hub.EvaluateOptions{})
	w.srv.Add(testreg.Rule{Path: "^/v2/lab/", Do: testreg.Status(http.StatusForbidden, nil, "")})
	if res := j.read(j.ix, j.places[:1], false); res.Fetched != 1 || res.Failed != 1 {
		t.Errorf("a lab that fails: %+v", res)
	}
	j.want("measured:mmlu metric:f1", "org/m:v1")
	w.srv.Reset()
	j.update()
	// The lab alone: what is new there reaches the model.
	w.evaluate("org/m:v1", measured("mmlu", 0.9), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	if res := j.read(j.ix, j.places[1:], false); res.Joined != 1 {
		t.Errorf("the lab alone: %+v", res)
	}
	j.want("measured:mmlu>0.85", "org/m:v1")
	// Who takes the lab out of the places has nothing of it any more.
	j.places = j.places[:1]
	j.update()
	j.want("metric:mmlu")
}

// A flood of absurd numbers costs a bounded number of requests, and hides neither what
// the card claims nor what others have measured.
func TestCrawlOfAFlood(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.pushCard("org/m:v1", "license: mit\nmodel-index:\n- name: m\n  results:\n  - task: {type: t}\n    dataset: {name: d, type: d}\n    metrics: [{type: accuracy, value: 0.4}]", "# Model")
	w.pushCard("org/good:v1", "license: mit", "# Good")
	subject, _ := w.manifest("org/m", "v1")
	for i := range 20 {
		doc := fmt.Sprintf(`{"results":[{"task":"a","metric":{"name":"mmlu"},"dataset":{"id":"aaa%d"},"value":1e308},{"task":"a","metric":{"name":"loss"},"dataset":{"id":"d%d"},"value":-1e308},{"task":"a","metric":{"name":"f1"},"dataset":{"id":"d%d"},"value":1e308},{"task":"a","metric":{"name":"wer"},"dataset":{"id":"d%d"},"value":0}]}`, i, i, i, i)
		w.referrer("aaa/spam", mediatypes.ArtifactEvaluation, nil, subject, []byte(doc))
	}
	tag := "sha256-" + subject.Digest.Encoded()
	_, raw := w.manifest("aaa/spam", tag)
	list, err := mediatypes.ParseIndex(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		list.Manifests = append(list.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactEvaluation, Size: 500, Digest: digest.FromString(fmt.Sprint(i)),
		})
	}
	if raw, err = json.Marshal(list); err != nil {
		t.Fatal(err)
	}
	w.evaluate("org/m:v1", measured("mmlu", 0.5), hub.EvaluateOptions{Signer: alice().signer, To: w.ref("zzz/evals")})
	w.evaluate("org/good:v1", measured("mmlu", 0.8), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	j := newJoining(w, "")
	w.srv.Reset()
	w.srv.Add(testreg.Rule{Method: "GET", Path: "^/v2/aaa/spam/manifests/" + tag, Do: testreg.Status(http.StatusOK, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}, string(raw))})
	j.read(j.ix, j.places, true)
	if n, most := len(w.srv.Requests()), 2*hub.MaxEvaluations+100; n > most {
		t.Errorf("%d requests, want at most %d", n, most)
	}
	got := j.metrics(j.ix, "org/m")
	if len(got) != index.MaxList {
		t.Errorf("%d numbers, want %d", len(got), index.MaxList)
	}
	for _, want := range []string{"mmlu=0.5 community zzz/evals", "accuracy=0.4 claimed "} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	for _, sort := range []string{"metric:mmlu", "-metric:mmlu"} {
		q, err := index.ParseQuery("metric:mmlu")
		if err != nil {
			t.Fatal(err)
		}
		res, err := j.ix.Search(t.Context(), q, index.Options{Sort: sort})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Hits) != 2 || !strings.HasSuffix(res.Hits[0].Record.Repository, "/org/good") {
			t.Errorf("%s: %+v", sort, res.Hits)
		}
	}
}

// What one repository puts up behind the tag of older cosigns is too much, and keeps
// nobody else's numbers out.
func TestCrawlOfAClassicFlood(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.pushCard("org/m:v1", "license: mit", "# Model")
	subject, _ := w.manifest("org/m", "v1")
	w.referrer("aaa/spam", mediatypes.ArtifactEvaluation, nil, subject, []byte("{}"))
	w.evaluate("org/m:v1", measured("mmlu", 0.5), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	flood := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON}
	for range signing.MaxClassic + 1 {
		flood.Layers = append(flood.Layers, ocispec.DescriptorEmptyJSON)
	}
	repo := w.repo("aaa/spam")
	raw, err := json.Marshal(flood)
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.PushManifest(t.Context(), content.NewDescriptorFromBytes(flood.MediaType, raw), raw, "sha256-"+subject.Digest.Encoded()+".att"); err != nil {
		t.Fatal(err)
	}
	j := newJoining(w, "/org/", "/aaa/", "/lab/")
	j.update()
	j.want("measured:mmlu", "org/m:v1")
}

// Many repositories that are named are listed side by side.
func TestCrawlLooksInManyPlaces(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.pushCard("org/m:v1", "license: mit", "# Model")
	w.evaluate("org/m:v1", measured("mmlu", 0.5), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("lab/evals")})
	j := newJoining(w, "/org/")
	for i := range 80 {
		j.opts.Evaluations = append(j.opts.Evaluations, w.ref(fmt.Sprintf("lab/absent%d", i)))
	}
	j.opts.Evaluations = append(j.opts.Evaluations, w.ref("lab/evals"))
	j.update()
	j.want("measured:mmlu", "org/m:v1")
}

// A snapshot for others has nothing of repositories that are not for them.
func TestSnapshotLeavesOutWhereNobodyMayLook(t *testing.T) {
	w := newWorldWith(t, testreg.Options{NoReferrers: true})
	w.pushCard("org/m:v1", "license: mit", "# Model")
	w.evaluate("org/m:v1", measured("mmlu", 0.8), hub.EvaluateOptions{Signer: lab().signer, To: w.ref("secret/evals")})
	j := newJoining(w, "")
	j.update()
	read := func(keep func(string) bool) []index.Record {
		var b bytes.Buffer
		if _, err := j.ix.WriteSnapshot(t.Context(), &b, keep); err != nil {
			t.Fatal(err)
		}
		var list []index.Record
		if _, err := index.ReadSnapshot(t.Context(), &b, func(some []index.Record) error { list = append(list, some...); return nil }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if all := read(nil); len(all) != 1 || len(all[0].Metrics) != 1 || len(all[0].Elsewhere) != 1 {
		t.Errorf("for all: %+v", all)
	}
	some := read(func(name string) bool { return strings.HasSuffix(name, "/org/m") })
	if len(some) != 1 || len(some[0].Metrics)+len(some[0].Elsewhere) != 0 || some[0].Joined != "" {
		t.Errorf("for those who may see org/m alone: %+v", some)
	}
}
