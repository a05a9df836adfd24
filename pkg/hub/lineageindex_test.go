package hub_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
)

// indexed is an index of places of the registry.
func (w *world) indexed(places ...string) *index.Index {
	w.t.Helper()
	ix, err := index.Open(w.t.Context(), filepath.Join(w.t.TempDir(), "index.db"), index.OpenOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ix.Close() })
	if _, err := w.Crawl(w.t.Context(), ix, places, hub.CrawlOptions{}); err != nil {
		w.t.Fatal(err)
	}
	return ix
}

// learnt writes how what was made of a version was found.
func (w *world) learnt(res *hub.Lineage) []string {
	out := []string{}
	for _, e := range res.Edges {
		i := slices.IndexFunc(res.Nodes, func(n hub.LineageNode) bool { return n.ID == e.Output })
		n := res.Nodes[i]
		out = append(out, fmt.Sprintf("%s %s: %s, read: %v", strings.TrimPrefix(n.Reference, w.srv.Host+"/"), e.Relation, e.Learnt, n.Read))
	}
	slices.Sort(out)
	return out
}

// described is a registry with relatives here and there, and an index of it.
func described(w *world) *index.Index {
	relatives(w)
	base, data := hub.Input{Reference: w.ref("acme/base:v1")}, hub.Input{Relation: "dataset", Reference: w.ref("acme/tickets:v7")}
	w.made("other/far:v1", files{"README.md": readme("license: mit"), "model.safetensors": tensorFile(8, 2)}, base, data)
	w.made("other/further:v1", files{"model.safetensors": tensorFile(8, 2)}, hub.Input{Reference: w.ref("other/far:v1")})
	w.made("other/apart:v1", files{"model.safetensors": tensorFile(8, 2)})
	return w.indexed(w.srv.Host)
}

func TestLineageDownByIndex(t *testing.T) {
	w := newWorld(t)
	ix := described(w)
	w.srv.Reset()
	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true, Index: ix})
	want := []string{
		"acme/odd:v1 finetune: registry, read: true", "acme/tuned:v1 finetune: registry, read: true",
		"other/far:v1 finetune: index, read: false", "other/further:v1 finetune: index, read: false",
	}
	if diff := cmp.Diff(want, w.learnt(res)); diff != "" {
		t.Error(diff)
	}
	for _, r := range w.srv.Requests() {
		if strings.Contains(r.Path, "/other/") {
			t.Errorf("%s %s: what the index tells of is read", r.Method, r.Path)
		}
	}
	far := res.Nodes[slices.IndexFunc(res.Nodes, func(n hub.LineageNode) bool { return strings.HasSuffix(n.Reference, "other/far:v1") })]
	if !slices.Equal(far.Licenses, []string{"mit"}) || far.Digest != w.digestOf("other/far", "v1") {
		t.Errorf("as the index has it: %+v", far)
	}

	// To confirm is to read them; what is gone since is left out.
	w.srv.Reset()
	res = w.lineage("acme/base:v1", hub.LineageOptions{Down: true, Index: ix, Confirm: true})
	want[2], want[3] = "other/far:v1 finetune: index, read: true", "other/further:v1 finetune: index, read: true"
	if diff := cmp.Diff(want, w.learnt(res)); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(w.drawn(res), "other/far:v1 finetune of acme/base:v1: checked") {
		t.Errorf("read, and not compared: %v", w.drawn(res))
	}
	w.srv.Add(testreg.Rule{Path: "/other/far/manifests/", Do: testreg.Status(http.StatusNotFound, nil, "")})
	if res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true, Index: ix, Confirm: true}); len(res.Edges) != 2 {
		t.Errorf("what is gone: %v", w.learnt(res))
	}
}

// Without a network it is the index alone, and always the same.
func TestLineageOffline(t *testing.T) {
	w := newWorld(t)
	ix := described(w)
	w.srv.Reset()
	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, Index: ix, Offline: true})
	want := []string{
		"acme/odd:v1 finetune: index, read: false", "acme/tuned:v1 finetune: index, read: false",
		"other/far:v1 finetune: index, read: false", "other/further:v1 finetune: index, read: false",
	}
	if diff := cmp.Diff(want, w.learnt(res)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(res, w.lineage("acme/base:v1", hub.LineageOptions{Down: true, Index: ix, Offline: true})); diff != "" {
		t.Errorf("the second time: %s", diff)
	}
	if res := w.lineage("acme/tickets:v7", hub.LineageOptions{Down: true, Index: ix, Offline: true}); len(res.Edges) < 2 || res.Edges[0].Relation != "dataset" {
		t.Errorf("of a dataset: %v", w.learnt(res))
	}
	if n := len(w.srv.Requests()); n > 0 {
		t.Errorf("%d requests without a network", n)
	}
	_, err := w.Lineage(t.Context(), w.ref("acme/none:v1"), hub.LineageOptions{Down: true, Index: ix, Offline: true})
	wantErr(t, err, errdef.ErrNotFound)
	if res := w.lineage("acme/none@sha256:"+strings.Repeat("0", 64), hub.LineageOptions{Down: true, Index: ix, Offline: true}); len(res.Edges) != 0 {
		t.Errorf("of a digest that nobody names: %v", w.learnt(res))
	}
	for _, opts := range []hub.LineageOptions{{Down: true, Offline: true}, {Index: ix, Offline: true}} {
		_, err := w.Lineage(t.Context(), w.ref("acme/base:v1"), opts)
		wantErr(t, err, hub.ErrUsage)
	}
}

// Where nothing lists repositories the index tells what there is; it is bounded, and
// what it has from strangers is no more than a name.
func TestLineageDownByIndexAlone(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	base := w.digestOf("acme/base", "v1")
	ix := w.indexed(w.srv.Host + "/acme/tickets")
	var list []index.Record
	for i := range hub.MaxLineageNodes + 10 {
		list = append(list, index.Record{
			Repository: fmt.Sprintf("%s/other/m%d", w.srv.Host, i), Digest: fmt.Sprintf("sha256:%064d", i),
			Updated: time.Unix(int64(i), 0), Bases: []index.Base{{Name: "x", Relation: "\x1b[31m", Digest: base}},
		})
	}
	if err := ix.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Path: "_catalog", Do: testreg.Status(http.StatusNotFound, nil, "")})
	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, Index: ix})
	if len(res.Nodes) != hub.MaxLineageNodes || !res.Truncated {
		t.Errorf("%d nodes, truncated: %v", len(res.Nodes), res.Truncated)
	}
	if e := res.Edges[0]; e.Relation != "finetune" || !e.Inferred || !strings.HasSuffix(e.Output, list[len(list)-1].Digest) {
		t.Errorf("the first = %+v", e)
	}
	if !slices.ContainsFunc(res.Warnings, func(l hub.LineageWarning) bool { return strings.Contains(l.Message, "is in the index, is shown") }) {
		t.Errorf("warnings: %+v", res.Warnings)
	}
}

// Versions that name the same repository and mean another version of it, however
// many, are not in the way of those that are looked for.
func TestLineageDownByIndexOfAPopularBase(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	base := w.digestOf("acme/base", "v1")
	ix := w.indexed(w.srv.Host + "/acme/base")
	var list []index.Record
	add := func(repository string, made int, b index.Base) {
		list = append(list, index.Record{
			Repository: w.srv.Host + "/" + repository, Digest: fmt.Sprintf("sha256:%064d", len(list)),
			Tags: []string{"v1"}, Updated: time.Unix(int64(made), 0), Bases: []index.Base{b},
		})
	}
	name := w.srv.Host + "/acme/base"
	for i := range 2 * hub.MaxLineageNodes {
		add(fmt.Sprint("other/m", i), 1000+i, index.Base{Name: name + ":v2", Relation: "finetune", Digest: "sha256:" + strings.Repeat("e", 64)})
		add(fmt.Sprint("other/n", i), 1000+i, index.Base{Name: name + ":v2", Relation: "finetune"})
	}
	add("other/named", 2, index.Base{Name: name + ":v1", Relation: "finetune"})
	add("other/whole", 1, index.Base{Name: name, Relation: "finetune"})
	add("other/pinned", 0, index.Base{Name: "x", Relation: "quantized", Digest: base})
	if err := ix.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true, Index: ix, Offline: true})
	want := []string{"other/named:v1 finetune: index, read: false", "other/pinned:v1 quantized: index, read: false", "other/whole:v1 finetune: index, read: false"}
	if diff := cmp.Diff(want, w.learnt(res)); diff != "" || res.Truncated {
		t.Errorf("truncated: %v; (-want +got)\n%s", res.Truncated, diff)
	}
	// Those that pin the digest come first.
	if first := res.Edges[0]; first.Relation != "quantized" {
		t.Errorf("the first is %+v", first)
	}
}
