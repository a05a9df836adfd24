package artifact_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// rawManifest makes a manifest that is of no model.
func rawManifest(t *testing.T, b *blobs, config ocispec.Descriptor, layers ...ocispec.Descriptor) (ocispec.Descriptor, string) {
	t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b.put(ocispec.MediaTypeImageManifest, raw), string(raw)
}

func titled(desc ocispec.Descriptor, title string) ocispec.Descriptor {
	desc.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	return desc
}

func TestUnpackRaw(t *testing.T) {
	b := newBlobs()
	const chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	archive := gzipOf(tarOf(file("Chart.yaml", "x")))
	desc, manifest := rawManifest(
		t, b, b.put("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"x"}`)),
		b.put(chart, archive), titled(b.put(chart, []byte("prov")), "dir/x.prov"), titled(b.put(chart, []byte("up")), "../up"),
		titled(b.put(chart, []byte("manifest")), "Manifest.json"), titled(b.put(chart, []byte("control")), ".modelreg/pull.json"),
		b.put(chart, archive), // the same once more
		titled(b.put(chart, []byte("liar")), rawName("last")), b.put(chart, []byte("last")),
		b.put(mediatypes.ConfigEmpty, []byte("{}")),
	)
	if _, err := artifact.Open(t.Context(), b, desc); !errors.Is(err, artifact.ErrNotModel) {
		t.Errorf("Open error %v, want ErrNotModel", err)
	}
	a, err := artifact.OpenRaw(t.Context(), b, desc)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	plan, err := artifact.PlanUnpack(t.Context(), a, b, out, artifact.UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	if plan.Blobs != len(a.Files)-1 || plan.Fetch != u.Fetched || plan.Reuse != u.Reused {
		t.Errorf("plan %+v, result %+v", plan, u)
	}
	want := map[string]string{
		"manifest.json": manifest, "config.json": `{"name":"x"}`, rawName(string(archive)): string(archive), "dir/x.prov": "prov",
		rawName("up"): "up", rawName("manifest"): "manifest", rawName("control"): "control", rawName("last"): "liar", rawName("last") + "-1": "last",
	}
	if diff := cmp.Diff(want, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if notes := strings.Join(u.Notes, "\n"); len(u.Notes) != 4 || !strings.Contains(notes, "../up is in "+rawName("up")) {
		t.Errorf("notes:\n%s", notes)
	}
	checkModes(t, out)
	before := b.fetches()
	if u := mustUnpack(t, a, b, out, artifact.UnpackOptions{}); u.Fetched != 0 || b.fetches() != before {
		t.Errorf("second time: %+v", u)
	}
}

// What a model is made of can be had too, and the model again after it.
func TestUnpackRawModel(t *testing.T) {
	b := newBlobs()
	p := mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a", "d/b.bin": "b"}), b, artifact.PackOptions{})
	a, err := artifact.OpenRaw(t.Context(), b, p.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	if got := readTree(t, out); len(got) != 4 || got["d/b.bin"] != "b" || got["manifest.json"] != string(p.Manifest) {
		t.Errorf("files: %v", got)
	}
	u := mustUnpack(t, mustOpen(t, b, p.Descriptor), b, out, artifact.UnpackOptions{})
	if diff := cmp.Diff(map[string]string{"a.bin": "a", "d/b.bin": "b"}, readTree(t, out)); diff != "" || u.Fetched != 0 {
		t.Errorf("files (-want +got):\n%s%+v", diff, u)
	}
}

func TestUnpackRawWrongBytes(t *testing.T) {
	b := newBlobs()
	config, layer := b.put("application/vnd.x.config", []byte("{}")), b.put("application/vnd.x.layer", []byte("right"))
	desc, _ := rawManifest(t, b, config, layer)
	b.content[layer.Digest] = []byte("wrong")
	a, err := artifact.OpenRaw(t.Context(), b, desc)
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	_, err = artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "out"), artifact.UnpackOptions{})
	if !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("error %v, want a digest error", err)
	}
	if left := leftovers(t, parent); left != nil {
		t.Errorf("left: %v", left)
	}
	if _, err := artifact.OpenRaw(t.Context(), b, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex}); !errors.Is(err, artifact.ErrNotModel) {
		t.Errorf("index: error %v, want ErrNotModel", err)
	}
}

func rawName(text string) string { return "sha256-" + digest.FromString(text).Encoded() }
