package hub_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

// Artifacts of other tools become ours without their blobs moving within a
// registry.
func TestImportMounts(t *testing.T) {
	w := newWorld(t)
	model := large(t)
	if _, err := w.Push(t.Context(), model, w.ref("theirs/m:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	res, err := w.Import(t.Context(), "oci://"+w.srv.Host+"/theirs/m:v1", w.ref("ours/m:v1"), hub.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.MountedBytes < res.Size || res.UploadedBytes > 16<<10 {
		t.Errorf("imported %+v", res)
	}
	theirs := w.digestOf("theirs/m", "v1")
	if res.Commit != theirs || res.Source != "oci://"+w.srv.Host+"/theirs/m@"+theirs {
		t.Errorf("imported %+v", res)
	}
}

// A model of Ollama's, in a registry on another host.
func TestImportOllama(t *testing.T) {
	w := newWorld(t)
	theirs := testreg.New(t, testreg.Options{})
	gguf := testmodel.GGUFFile(testmodel.TinyGGUF())
	layers := []testLayer{
		{mediatypes.OllamaModel, gguf},
		{mediatypes.OllamaTemplate, []byte("{{ .Prompt }}")},
		{mediatypes.OllamaParams, []byte(`{"stop":["</s>"]}`)},
		{mediatypes.OllamaLicense, []byte("MIT License\n")},
	}
	pushForeign(t, w.client, theirs.Host+"/library/tiny", foreign{mediaType: mediatypes.ManifestDocker, config: mediatypes.ConfigImageDocker, layers: layers})
	res, err := w.Import(t.Context(), "ollama://"+theirs.Host+"/library/tiny:latest", w.ref("ours/tiny:v1"), hub.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(res.Source, "ollama://"+theirs.Host+"/library/tiny@sha256:") {
		t.Errorf("imported %+v", res)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := w.Pull(t.Context(), w.ref("ours/tiny:v1"), out, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	want := files{"model.gguf": string(gguf), "template.txt": "{{ .Prompt }}", "params.json": `{"stop":["</s>"]}`, "LICENSE": "MIT License\n"}
	got := read(t, out)
	for name := range got {
		if strings.HasPrefix(name, ".modelreg") {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A ModelKit's archives stay as they are.
func TestImportModelKit(t *testing.T) {
	w := newWorld(t)
	kit := tarball(t, "weights/", "", "weights/w.bin", strings.Repeat("w", 4096))
	docs := tarball(t, "README.md", "read me")
	pushForeign(t, w.client, w.srv.Host+"/theirs/kit", foreign{
		mediaType: ocispec.MediaTypeImageManifest, config: mediatypes.ConfigModelKit,
		configData: `{"manifestVersion":"1.0.0","package":{},"model":{"path":"weights"},"docs":[{"path":"README.md"}]}`,
		layers:     []testLayer{{"application/vnd.kitops.modelkit.model.v1.tar", kit}, {"application/vnd.kitops.modelkit.docs.v1.tar", docs}},
	})
	res, err := w.Import(t.Context(), "oci://"+w.srv.Host+"/theirs/kit:latest", w.ref("ours/kit:v1"), hub.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.MountedBytes < int64(len(kit)+len(docs)) {
		t.Errorf("imported %+v", res)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := w.Pull(t.Context(), w.ref("ours/kit:v1"), out, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	got := read(t, out)
	if got["weights/w.bin"] != strings.Repeat("w", 4096) || got["README.md"] != "read me" {
		t.Errorf("pulled %d files", len(got))
	}
}

func TestImportRefuses(t *testing.T) {
	w := newWorld(t)
	srv := testhub.New(t, testhub.Options{})
	srv.Commit("org/m", map[string][]byte{"a.txt": []byte("a")})
	srv.Commit("org/bad", map[string][]byte{"../a.txt": []byte("a")})
	srv.Commit("org/gated", map[string][]byte{"a.txt": []byte("a")})
	srv.Gate("org/gated")
	pushForeign(t, w.client, w.srv.Host+"/theirs/image", foreign{
		mediaType: ocispec.MediaTypeImageManifest, config: ocispec.MediaTypeImageConfig, configData: `{"os":"linux"}`,
		layers: []testLayer{{ocispec.MediaTypeImageLayer, tarball(t, "models/", "", "models/w.bin", "w")}},
	})
	tests := map[string]struct {
		name, to string
		want     error
	}{
		"to a digest":      {"hf://org/m", "org/m@sha256:" + strings.Repeat("0", 64), hub.ErrUsage},
		"no such model":    {"hf://org/none", "org/m:v1", errdef.ErrNotFound},
		"gated":            {"hf://org/gated", "org/m:v1", remote.ErrForbidden},
		"unsafe name":      {"hf://org/bad", "org/m:v1", errUnsafe},
		"no such scheme":   {"s3://org/m", "org/m:v1", source.ErrName},
		"no such artifact": {"oci://" + w.srv.Host + "/theirs/none:v1", "org/m:v1", errdef.ErrNotFound},
		"an image":         {"oci://" + w.srv.Host + "/theirs/image:latest", "org/m:v1", errdef.ErrUnsupported},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := w.Import(t.Context(), tt.name, w.ref(tt.to), importing(srv))
			wantErr(t, err, tt.want)
		})
	}
	if slices.Contains(w.writes(), "PUT /v2/org/m/manifests/v1") {
		t.Error("a tag was moved")
	}
}

// What was pulled into a Hugging Face cache comes from where it was pulled.
func TestImportFromOwnCache(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	cache := t.TempDir()
	pulled, err := w.Pull(t.Context(), w.ref("org/m:v1"), cache, hub.PullOptions{HF: &artifact.HFOptions{RepoID: "acme/m"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Import(t.Context(), filepath.Join(cache, "models--acme--m"), w.ref("org/back:v1"), hub.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		ocispec.AnnotationSource: "", ocispec.AnnotationRevision: pulled.Digest,
		mediatypes.AnnotationOrigin: "oci:" + w.srv.Host + "/org/m@" + pulled.Digest,
	}
	if diff := cmp.Diff(want, annotationsOf(t, w, "org/back", "v1")); diff != "" {
		t.Error(diff)
	}
}
