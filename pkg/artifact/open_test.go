package artifact_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// golden puts a manifest that another tool wrote, its config, and the files of
// the model it was written from into memory.
func golden(t *testing.T, name string) (*blobs, ocispec.Descriptor) {
	t.Helper()
	b := newBlobs()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata", "golden", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	b.put("", read(name+".config.json"))
	for _, text := range readTree(t, filepath.Join("testdata", "golden", "model")) {
		b.put("", []byte(text))
	}
	return b, b.put(ocispec.MediaTypeImageManifest, read(name+".json"))
}

type listed struct {
	Path    string
	Kind    mediatypes.Kind
	Mode    fs.FileMode
	Archive bool
}

func list(a *artifact.Artifact) []listed {
	var out []listed
	for _, f := range a.Files {
		out = append(out, listed{f.Path, f.Kind, f.Mode, f.Archive})
	}
	return out
}

// These manifests were written by modctl, docker model (two ways) and kit over
// one directory.
func TestOpenGolden(t *testing.T) {
	const m = 0o644
	w, c, d, code := mediatypes.KindWeight, mediatypes.KindWeightConfig, mediatypes.KindDoc, mediatypes.KindCode
	tests := map[string]struct {
		family mediatypes.Family
		files  []listed
	}{
		"mod": {mediatypes.ModelPack, []listed{
			{"README.md", d, m, false},
			{"config.json", c, m, false},
			{"model-00001-of-00002.safetensors", w, m, false},
			{"model-00002-of-00002.safetensors", w, m, false},
			{"sub/train.py", code, m, false},
			{"tokenizer.json", c, m, false},
		}},
		"dmrc": {mediatypes.ModelPack, []listed{
			{"README.md", c, m, false},
			{"config.json", c, m, false},
			{"model-00001-of-00002.safetensors", w, m, false},
			{"model-00002-of-00002.safetensors", w, m, false},
			{"sub/train.py", c, m, false},
			{"tokenizer.json", c, m, false},
		}},
		"dmr": {mediatypes.DockerAI, []listed{
			{"README.md", d, m, false},
			{"config.json", c, m, false},
			{"model-00001-of-00002.safetensors", w, m, false},
			{"model-00002-of-00002.safetensors", w, m, false},
			{"sub/train.py", code, m, false},
			{"tokenizer.json", c, m, false},
		}},
		"kit": {mediatypes.ModelKit, []listed{
			{"README.md", d, m, true},
			{"config.json", w, m, true},
			{"model-00001-of-00002.safetensors", w, m, true},
			{"model-00002-of-00002.safetensors", w, m, true},
			{"sub", code, m, true},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, desc := golden(t, name)
			a := mustOpen(t, b, desc)
			if a.Family != tt.family {
				t.Errorf("family %q, want %q", a.Family, tt.family)
			}
			if diff := cmp.Diff(tt.files, list(a)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if tt.files[0].Archive {
				return // the blobs are not among the test data
			}
			out := filepath.Join(t.TempDir(), "m")
			mustUnpack(t, a, b, out, artifact.UnpackOptions{})
			if diff := cmp.Diff(readTree(t, filepath.Join("testdata", "golden", "model")), readTree(t, out)); diff != "" {
				t.Errorf("unpacked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenFamilies(t *testing.T) {
	raw := mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw)
	title := func(s string) map[string]string { return map[string]string{mediatypes.AnnotationTitle: s} }
	dir := tarOf(file("models/", ""), file("models/x.bin", "x"))
	kitTar := tarOf(file("sub/", ""), file("sub/a.py", "a"))
	tests := map[string]struct {
		artifactType, config string
		configData           string
		layers               []layerSpec
		family               mediatypes.Family
		files                map[string]string // after unpacking
	}{
		"legacy annotations": {
			mediatypes.ArtifactModel, mediatypes.ConfigModel, "{}",
			[]layerSpec{
				{raw, []byte("1"), map[string]string{"org.cnai.model.filepath": "a/b.bin"}},
				{raw, []byte("2"), map[string]string{"org.cnai.model.file.metadata+json": `{"name":"c.bin","mode":33188}`}},
			},
			mediatypes.ModelPack,
			map[string]string{"a/b.bin": "1", "c.bin": "2"},
		},
		"RamaLama": {
			mediatypes.ArtifactModel, mediatypes.ConfigEmpty, "{}",
			[]layerSpec{{"application/vnd.cncf.model.weight.v1.gguf", []byte("GGUF"), map[string]string{
				mediatypes.AnnotationFileMetadata: `{"name":"dir/x.gguf","mode":420,"typeflag":48,"mtime":"2026-01-01T00:00:00.000001Z","uid":1,"gid":1,"size":4}`,
				mediatypes.AnnotationTitle:        "x.gguf",
			}}},
			mediatypes.ModelPack,
			map[string]string{"dir/x.gguf": "GGUF"},
		},
		"olot's ModelPack": {
			mediatypes.ArtifactModel, mediatypes.ConfigModel, "{}",
			[]layerSpec{{"application/vnd.cncf.model.weight.v1.tar", dir, map[string]string{
				mediatypes.AnnotationTitle: "x.bin", mediatypes.AnnotationOlotType: "file",
			}}},
			mediatypes.ModelPack,
			map[string]string{"x.bin": "x"},
		},
		"tar, gzip and zstd": {
			mediatypes.ArtifactModel, mediatypes.ConfigModel, "{}",
			[]layerSpec{
				{"application/vnd.cncf.model.weight.v1.tar", tarOf(file("a/w.bin", "w")), named("a/w.bin")},
				{"application/vnd.cncf.model.doc.v1.tar+gzip", gzipOf(tarOf(file("./README.md", "r"))), named("README.md")},
				{"application/vnd.cncf.model.code.v1.tar+zstd", zstdOf(tarOf(file("a/", ""), file("a/c.py", "c"))), named("a")},
			},
			mediatypes.ModelPack,
			map[string]string{"a/w.bin": "w", "README.md": "r", "a/c.py": "c"},
		},
		"kit": {
			"", mediatypes.ConfigModelKit, `{"manifestVersion":"1.0.0","package":{},"code":[{"path":"./sub","digest":"` + digest.FromBytes(kitTar).String() + `"}]}`,
			[]layerSpec{{"application/vnd.kitops.modelkit.code.v1.tar", kitTar, nil}},
			mediatypes.ModelKit,
			map[string]string{"sub/a.py": "a"},
		},
		"kit without digests": {
			"", mediatypes.ConfigModelKit, `{"package":{},"model":{"path":"m.bin"},"code":[{"path":"sub"}]}`,
			[]layerSpec{
				{"application/vnd.kitops.modelkit.model.v1.tar+gzip", gzipOf(tarOf(file("m.bin", "m"))), nil},
				{"application/vnd.kitops.modelkit.code.v1.tar", kitTar, nil},
			},
			mediatypes.ModelKit,
			map[string]string{"m.bin": "m", "sub/a.py": "a"},
		},
		"kit of 2026": {
			mediatypes.ArtifactModelKit, mediatypes.ConfigModelKit, `{"package":{}}`,
			[]layerSpec{
				{"application/vnd.kitops.modelkit.model.v1.raw", []byte("m"), named("m.bin")},
				{"application/vnd.kitops.modelkit.docs.v1.tar+zstd", zstdOf(tarOf(file("d.md", "d"))), nil},
			},
			mediatypes.ModelKit,
			map[string]string{"m.bin": "m", "d.md": "d"},
		},
		"docker 0.1": {
			"", mediatypes.ConfigDockerAI01, "{}",
			[]layerSpec{
				{mediatypes.DockerAIGGUF, []byte("g"), nil},
				{mediatypes.DockerAIMMProj, []byte("p"), nil},
				{mediatypes.DockerAIChatTemplate, []byte("t"), nil},
				{mediatypes.DockerAILicense, []byte("l"), nil},
				{mediatypes.DockerAILicense, []byte("l2"), nil},
				{mediatypes.DockerAIVLLMConfig, tarOf(file("config.json", "{}")), nil},
			},
			mediatypes.DockerAI,
			map[string]string{
				"model.gguf": "g", "model.mmproj": "p", "template.jinja": "t", "LICENSE": "l", "LICENSE-2": "l2", "config.json": "{}",
			},
		},
		"docker 0.1 in shards": {
			"", mediatypes.ConfigDockerAI01, "{}",
			[]layerSpec{{mediatypes.DockerAISafetensors, []byte("1"), nil}, {mediatypes.DockerAISafetensors, []byte("2"), nil}},
			mediatypes.DockerAI,
			map[string]string{"model-00001-of-00002.safetensors": "1", "model-00002-of-00002.safetensors": "2"},
		},
		"ollama": {
			"", mediatypes.ConfigImageDocker, `{"model_format":"gguf","rootfs":{"type":"layers","diff_ids":["sha256:nothing"]}}`,
			[]layerSpec{
				{mediatypes.OllamaModel, []byte("g"), nil},
				{mediatypes.OllamaTemplate, []byte("t"), nil},
				{mediatypes.OllamaParams, []byte("{}"), nil},
				{mediatypes.OllamaLicense, []byte("l"), nil},
				{mediatypes.OllamaLicense, []byte("m"), nil},
				{mediatypes.OllamaSystem, []byte("s"), nil},
				{mediatypes.OllamaMessages, []byte("[]"), nil},
				{mediatypes.OllamaJSON, []byte("{ }"), title("config/x.json")},
			},
			mediatypes.Ollama,
			map[string]string{
				"model.gguf": "g", "template.txt": "t", "params.json": "{}", "LICENSE": "l", "LICENSE-2": "m", "system.txt": "s",
				"messages.json": "[]", "config/x.json": "{ }",
			},
		},
		"oras": {
			"application/vnd.example", mediatypes.ConfigEmpty, "{}",
			[]layerSpec{
				{"text/plain", []byte("t"), title("a/notes.txt")},
				{"application/vnd.oci.image.layer.v1.tar", []byte("not a tar"), title("model.bin")},
				{"application/vnd.oci.image.layer.v1.tar+gzip", gzipOf(tarOf(file("d/", ""), file("d/x", "x"))), map[string]string{
					mediatypes.AnnotationTitle: "d", mediatypes.AnnotationORASUnpack: "true",
					mediatypes.AnnotationORASTarDigest: digest.FromBytes(tarOf(file("d/", ""), file("d/x", "x"))).String(),
				}},
			},
			mediatypes.ORAS,
			map[string]string{"a/notes.txt": "t", "model.bin": "not a tar", "d/x": "x"},
		},
		"omlmd": {
			"", mediatypes.ConfigOMLMD, `{"name":"x"}`,
			[]layerSpec{
				{mediatypes.OMLMDModel, []byte("joblib"), title("model.joblib")},
				{mediatypes.ConfigOMLMD, []byte(`{"name":"x"}`), title("model_metadata.omlmd.json")},
				{"application/vnd.oci.image.layer.v1.tar+gzip", gzipOf(tarOf(file("extra/x", "x"))), title("extra")},
			},
			mediatypes.ORAS,
			map[string]string{"model.joblib": "joblib", "model_metadata.omlmd.json": `{"name":"x"}`, "extra/x": "x"},
		},
		"modelcar": {
			"", mediatypes.ConfigImageOCI, `{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`,
			[]layerSpec{
				{ocispec.MediaTypeImageLayerGzip, gzipOf(tarOf(file("bin/", ""), file("bin/sh", "sh"), link("bin/ln", "sh"), file("../out", "x"))), nil},
				{ocispec.MediaTypeImageLayer, tarOf(file("models/", ""), file("models/a/w.bin", "w"), link("models/model.file", "/models/a/w.bin")), nil},
				{ocispec.MediaTypeImageLayerZstd, zstdOf(tarOf(file("models/README.md", "r"))), nil},
			},
			mediatypes.Image,
			map[string]string{"a/w.bin": "w", "README.md": "r"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			m := ocispec.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: tt.artifactType,
				Config: b.put(tt.config, []byte(tt.configData)),
			}
			for _, l := range tt.layers {
				desc := b.put(l.mediaType, l.data)
				desc.Annotations = l.annotations
				m.Layers = append(m.Layers, desc)
			}
			a := mustOpen(t, b, putManifest(b, m))
			if a.Family != tt.family {
				t.Errorf("family %q, want %q", a.Family, tt.family)
			}
			out := filepath.Join(t.TempDir(), "m")
			u := mustUnpack(t, a, b, out, artifact.UnpackOptions{})
			if diff := cmp.Diff(tt.files, readTree(t, out)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if u.Files != len(tt.files) {
				t.Errorf("%d files, want %d", u.Files, len(tt.files))
			}
			checkModes(t, out)
			for p, want := range tt.files {
				rc, f, err := a.OpenFile(t.Context(), b, p)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(rc)
				if err := errors.Join(err, rc.Close()); err != nil || string(got) != want || f.Path != p || f.Size != int64(len(want)) {
					t.Errorf("OpenFile(%q) = %q %+v, %v", p, got, f, err)
				}
			}
			converts(t, a, b, tt.files)
		})
	}
}

// What a mode, a time or a foreign name in the metadata says changes nothing
// that is written.
func TestOpenIgnoresForeignMetadata(t *testing.T) {
	b := newBlobs()
	desc := modelPack(b, layerSpec{mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw), []byte("x"), map[string]string{
		mediatypes.AnnotationFilepath:     "a.bin",
		mediatypes.AnnotationFileMetadata: `{"name":"../../etc/passwd","mode":2559,"uid":0,"gid":0,"size":-5,"mtime":"9999-01-01T00:00:00Z","typeflag":0}`,
	}})
	a := mustOpen(t, b, desc)
	if f := a.Files[0]; f.Path != "a.bin" || f.Mode != 0o777 {
		t.Errorf("file is %+v", f)
	}
	out := filepath.Join(t.TempDir(), "m")
	mustUnpack(t, a, b, out, artifact.UnpackOptions{})
	checkModes(t, out)
}

func TestModelKitParent(t *testing.T) {
	b := newBlobs()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	kit := tarOf(file("README.md", "r"))
	m.Config = b.put(mediatypes.ConfigModelKit, []byte(`{"model":{"path":"example.org/base:v1"},"docs":[{"path":"README.md","digest":"`+string(digest.FromBytes(kit))+`"}]}`))
	m.Layers = append(m.Layers, b.put("application/vnd.kitops.modelkit.docs.v1.tar", kit))
	a := mustOpen(t, b, putManifest(b, m))
	if a.Parent != "example.org/base:v1" {
		t.Errorf("parent %q", a.Parent)
	}
	u := mustUnpack(t, a, b, filepath.Join(t.TempDir(), "m"), artifact.UnpackOptions{})
	if !strings.Contains(strings.Join(u.Notes, "\n"), "example.org/base:v1") {
		t.Errorf("notes do not tell of the parent: %v", u.Notes)
	}
}
