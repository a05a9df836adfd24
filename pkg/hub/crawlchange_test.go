package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
)

// layerOf describes a layer that need not be there, with a path as oras and olot
// write it.
func layerOf(mediaType, annotation, path string) ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(mediaType, []byte(mediaType+path))
	if annotation != "" {
		d.Annotations = map[string]string{annotation: path}
	}
	return d
}

// pushForeign tags a manifest of another tool.
func (w *world) pushForeign(name, tag string, m ocispec.Manifest, config any) ocispec.Descriptor {
	w.t.Helper()
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	raw, err := json.Marshal(config)
	if err != nil {
		w.t.Fatal(err)
	}
	was := m.Config.MediaType
	if was == "" {
		was = ocispec.MediaTypeEmptyJSON
	}
	for _, l := range m.Layers {
		w.pushBlob(name, l, []byte(l.MediaType+l.Annotations[mediatypes.AnnotationTitle]+l.Annotations[mediatypes.AnnotationOlotInLayerPath]))
	}
	m.Config = content.NewDescriptorFromBytes(was, raw)
	w.pushBlob(name, m.Config, raw)
	raw, err = json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, raw)
	if err := w.repo(name).PushManifest(w.t.Context(), desc, raw, tag); err != nil {
		w.t.Fatal(err)
	}
	return desc
}

func (w *world) pushBlob(name string, desc ocispec.Descriptor, raw []byte) {
	w.t.Helper()
	if err := w.repo(name).Push(w.t.Context(), desc, bytes.NewReader(raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		w.t.Fatal(err)
	}
}

// An image as builders make it: what its layers are of stands in its history.
func imageConfig(history ...string) map[string]any {
	steps := []map[string]string{}
	for _, h := range history {
		steps = append(steps, map[string]string{"created_by": h})
	}
	return map[string]any{"architecture": "amd64", "os": "linux", "history": steps}
}

// Registries hold much that is no model.
func TestCrawlLeavesOutWhatIsNoModel(t *testing.T) {
	const tar = "application/vnd.oci.image.layer.v1.tar+gzip"
	image := func(layers ...ocispec.Descriptor) ocispec.Manifest {
		return ocispec.Manifest{Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig}, Layers: layers}
	}
	files := func(names ...string) (m ocispec.Manifest) {
		for _, n := range names {
			m.Layers = append(m.Layers, layerOf("application/octet-stream", mediatypes.AnnotationTitle, n))
		}
		return m
	}
	said := image(layerOf(tar, "", ""))
	said.Annotations = map[string]string{mediatypes.AnnotationFormats: "gguf"}
	chart := ocispec.Manifest{Config: ocispec.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json"}, Layers: []ocispec.Descriptor{
		layerOf("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "", ""),
	}}
	wasm := ocispec.Manifest{Config: ocispec.Descriptor{MediaType: "application/vnd.wasm.config.v0+json"}, Layers: []ocispec.Descriptor{layerOf("application/wasm", "", "")}}
	tests := []struct {
		name   string
		m      ocispec.Manifest
		config any
		want   bool
	}{
		{"image", image(layerOf(tar, "", "")), imageConfig("COPY src/models /app/models # buildkit", "/bin/sh -c mkdir /models"), false},
		{"damaged-image", image(layerOf(tar, "", "")), "no config", false},
		{"chart", chart, nil, false},
		{"wasm", wasm, nil, false},
		{"text", ocispec.Manifest{ArtifactType: "text/plain", Layers: []ocispec.Descriptor{layerOf("text/plain", mediatypes.AnnotationTitle, "notes.txt")}}, nil, false},
		{"sbom", files("sbom.spdx.json"), nil, false},
		{"nothing", ocispec.Manifest{ArtifactType: mediatypes.ArtifactModel}, nil, false},
		{"modelcar-copied", image(layerOf(tar, "", ""), layerOf(tar, "", "")), imageConfig("/bin/sh -c #(nop) CMD", "COPY data/ /models/ # buildkit"), true},
		{"modelcar-classic", image(layerOf(tar, "", "")), imageConfig("/bin/sh -c #(nop) COPY dir:1234 in /models "), true},
		{"modelcar-olot", image(layerOf(tar, mediatypes.AnnotationOlotInLayerPath, "/models/m.gguf")), imageConfig(), true},
		{"ramalama", image(layerOf(tar, "", "")), map[string]any{"config": map[string]any{"Labels": map[string]string{"org.containers.type": "ai.image.model.raw"}}}, true},
		{"says-so", said, imageConfig(), true},
		{"adapter", files("adapter_config.json"), nil, true},
		{"oras", files("notes.txt", "model.safetensors"), nil, true},
	}
	w := newWorld(t)
	ix := openIndex(t)
	want, models := []string{}, 0
	for _, tt := range tests {
		w.pushForeign("org/"+tt.name, "v1", tt.m, tt.config)
		if tt.want {
			want, models = append(want, "org/"+tt.name+":v1"), models+1
		}
	}
	res := w.crawl(ix, "")
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), w.found(ix, "versions:all")); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if res.Versions != models || res.Skipped != len(tests)-models || res.Failed != 0 {
		t.Errorf("result %+v", res)
	}
}

// What is no model is looked at once.
func TestCrawlRemembersWhatIsNoModel(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	w.pushCard("org/m:v1", "license: mit", "# Model")
	for i := range 3 {
		m := ocispec.Manifest{Config: ocispec.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json"}}
		w.pushForeign("org/m", fmt.Sprint("chart-", i), m, i)
	}
	if res := w.crawl(ix, ""); res.Skipped != 3 || res.Versions != 1 {
		t.Errorf("result %+v", res)
	}
	w.srv.Reset()
	if res := w.crawl(ix, ""); res.Skipped != 3 || res.Fetched != 0 {
		t.Errorf("again: %+v", res)
	}
	// One for each tag, and one for what is attached to the model.
	if diff := cmp.Diff(map[string]int{"GET list": 2, "HEAD manifest": 5}, w.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	// What is there no more is forgotten, and what is new is looked at.
	w.pushForeign("org/m", "chart-0", ocispec.Manifest{Config: ocispec.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json"}}, "new")
	w.srv.Reset()
	if res := w.crawl(ix, ""); res.Skipped != 3 {
		t.Errorf("with a new one: %+v", res)
	}
	if n := w.requests()["GET manifest"]; n != 1 {
		t.Errorf("%d manifests were fetched, want that of the new one", n)
	}
}

// Who publishes decides what counts, and the record of the repository says who does.
func TestCrawlNoticesANewRecord(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	w.pushCard("org/m:v1", "license: mit", "# One")
	w.pushCard("org/m:v2", "license: mit", "# Two")
	w.pushCard("org/other:v1", "license: mit", "# Other")
	w.state("org/m:v1", stranger(), record.Yanked, "because I say so")
	w.crawl(ix, "")
	if diff := cmp.Diff([]string{"org/m:v1"}, w.found(ix, "yanked:yes versions:all")); diff != "" {
		t.Error(diff)
	}
	_, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Publishers = []record.Party{{Key: string(alice().signer.Public().PEM())}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// As another process, which has read the record of then.
	crawler := &world{Hub: w.with(hub.Options{}), t: t, srv: w.srv}
	w.srv.Reset()
	res := crawler.crawl(ix, "")
	if res.Fetched != 1 || res.Versions != 3 {
		t.Errorf("result %+v", res)
	}
	if got := w.found(ix, "yanked:yes versions:all"); len(got) > 0 {
		t.Errorf("withdrawn by who is no publisher: %v", got)
	}
	w.sameAsRebuilt(ix)
	// The record costs what it cost before: one manifest.
	w.srv.Reset()
	if res := crawler.crawl(ix, ""); res.Fetched != 0 || res.Changed != 0 {
		t.Errorf("with nothing new: %+v", res)
	}
	if diff := cmp.Diff(map[string]int{"GET list": 3, "HEAD manifest": 6, "GET manifest": 1}, w.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	// A hub that lives on does not go by what it has read once.
	if _, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		r.Publishers = nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if res := crawler.crawl(ix, ""); res.Fetched != 1 {
		t.Errorf("after the record was changed back: %+v", res)
	}
	w.sameAsRebuilt(ix)
}

// A signature in the older layout is attached by a tag alone.
func TestCrawlNoticesASignatureInATag(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	v1 := w.pushCard("org/m:v1", "license: mit", "# One")
	w.pushCard("org/m:v2", "license: mit", "# Two")
	w.crawl(ix, "")
	sign := func(what string) {
		m := ocispec.Manifest{Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig}}
		w.pushForeign("org/m", "sha256-"+v1.Digest[len("sha256:"):]+".sig", m, what)
	}
	for i, what := range []string{"once", "twice"} {
		sign(what)
		w.srv.Reset()
		if res := w.crawl(ix, ""); res.Fetched != 1 {
			t.Errorf("signed %s: %+v", what, res)
		}
		if diff := cmp.Diff([]string{"org/m:v1"}, w.found(ix, "signed:yes versions:all")); diff != "" {
			t.Error(diff)
		}
		w.srv.Reset()
		if res := w.crawl(ix, ""); res.Fetched != 0 {
			t.Errorf("nothing new: %+v", res)
		}
		// One for each tag, for what is attached to each, and for the signature.
		if n := w.requests()["HEAD manifest"]; n != 5 {
			t.Errorf("%d: %d tags were asked for, want 5", i, n)
		}
	}
	w.sameAsRebuilt(ix)
}

// sameAsRebuilt compares an index that was brought up to date with one that is made
// of the registry as it is now.
func (w *world) sameAsRebuilt(updated *index.Index) {
	w.t.Helper()
	rebuilt := openIndex(w.t)
	if _, err := w.with(hub.Options{}).Crawl(w.t.Context(), rebuilt, []string{w.srv.Host}, hub.CrawlOptions{}); err != nil {
		w.t.Fatal(err)
	}
	var snapshots [2]bytes.Buffer
	for i, ix := range []*index.Index{updated, rebuilt} {
		if _, err := ix.WriteSnapshot(w.t.Context(), &snapshots[i], nil); err != nil {
			w.t.Fatal(err)
		}
	}
	if !bytes.Equal(snapshots[0].Bytes(), snapshots[1].Bytes()) {
		w.t.Error("an index that was updated differs from one that was built now")
	}
}

// A time that is in the year 10000 elsewhere cannot be written as JSON, and must not
// keep others from being indexed or shown.
func TestCreatedAtTheEndOfTime(t *testing.T) {
	w := newWorld(t)
	m := ocispec.Manifest{
		Layers:      []ocispec.Descriptor{layerOf("application/octet-stream", mediatypes.AnnotationTitle, "config.json")},
		Annotations: map[string]string{ocispec.AnnotationCreated: "9999-12-31T23:59:59-12:00"},
	}
	w.pushForeign("org/odd", "v1", m, nil)
	w.pushCard("org/even:v1", "license: mit", "# Even")
	ix := openIndex(t)
	w.crawl(ix, "")
	if diff := cmp.Diff([]string{"org/even:v1", "org/odd:v1"}, w.found(ix, "")); diff != "" {
		t.Error(diff)
	}
	log, err := w.Log(t.Context(), w.ref("org/odd:v1"), hub.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(log); err != nil {
		t.Error(err)
	}
}
