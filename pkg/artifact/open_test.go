package artifact_test

import (
	"bytes"
	"encoding/json"
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
	"oras.land/oras-go/v2/content"

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
			{"README.md", d, m, false}, {"config.json", c, m, false}, {"model-00001-of-00002.safetensors", w, m, false},
			{"model-00002-of-00002.safetensors", w, m, false}, {"sub/train.py", code, m, false}, {"tokenizer.json", c, m, false},
		}},
		"dmrc": {mediatypes.ModelPack, []listed{
			{"README.md", c, m, false}, {"config.json", c, m, false}, {"model-00001-of-00002.safetensors", w, m, false},
			{"model-00002-of-00002.safetensors", w, m, false}, {"sub/train.py", c, m, false}, {"tokenizer.json", c, m, false},
		}},
		"dmr": {mediatypes.DockerAI, []listed{
			{"README.md", d, m, false}, {"config.json", c, m, false}, {"model-00001-of-00002.safetensors", w, m, false},
			{"model-00002-of-00002.safetensors", w, m, false}, {"sub/train.py", code, m, false}, {"tokenizer.json", c, m, false},
		}},
		"kit": {mediatypes.ModelKit, []listed{
			{"README.md", d, m, true}, {"config.json", w, m, true}, {"model-00001-of-00002.safetensors", w, m, true},
			{"model-00002-of-00002.safetensors", w, m, true}, {"sub", code, m, true},
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
			}, mediatypes.ModelPack, map[string]string{"a/b.bin": "1", "c.bin": "2"},
		},
		"RamaLama": {
			mediatypes.ArtifactModel, mediatypes.ConfigEmpty, "{}",
			[]layerSpec{{"application/vnd.cncf.model.weight.v1.gguf", []byte("GGUF"), map[string]string{
				mediatypes.AnnotationFileMetadata: `{"name":"dir/x.gguf","mode":420,"typeflag":48,"mtime":"2026-01-01T00:00:00.000001Z","uid":1,"gid":1,"size":4}`,
				mediatypes.AnnotationTitle:        "x.gguf",
			}}}, mediatypes.ModelPack, map[string]string{"dir/x.gguf": "GGUF"},
		},
		"olot's ModelPack": {
			mediatypes.ArtifactModel, mediatypes.ConfigModel, "{}",
			[]layerSpec{{"application/vnd.cncf.model.weight.v1.tar", dir, map[string]string{
				mediatypes.AnnotationTitle: "x.bin", mediatypes.AnnotationOlotType: "file",
			}}}, mediatypes.ModelPack, map[string]string{"x.bin": "x"},
		},
		"tar, gzip and zstd": {
			mediatypes.ArtifactModel, mediatypes.ConfigModel, "{}",
			[]layerSpec{
				{"application/vnd.cncf.model.weight.v1.tar", tarOf(file("a/w.bin", "w")), named("a/w.bin")},
				{"application/vnd.cncf.model.doc.v1.tar+gzip", gzipOf(tarOf(file("./README.md", "r"))), named("README.md")},
				{"application/vnd.cncf.model.code.v1.tar+zstd", zstdOf(tarOf(file("a/", ""), file("a/c.py", "c"))), named("a")},
			}, mediatypes.ModelPack, map[string]string{"a/w.bin": "w", "README.md": "r", "a/c.py": "c"},
		},
		"kit": {
			"", mediatypes.ConfigModelKit, `{"manifestVersion":"1.0.0","package":{},"code":[{"path":"./sub","digest":"` + digest.FromBytes(kitTar).String() + `"}]}`,
			[]layerSpec{{"application/vnd.kitops.modelkit.code.v1.tar", kitTar, nil}},
			mediatypes.ModelKit, map[string]string{"sub/a.py": "a"},
		},
		"kit without digests": {
			"", mediatypes.ConfigModelKit, `{"package":{},"model":{"path":"m.bin"},"code":[{"path":"sub"}]}`,
			[]layerSpec{
				{"application/vnd.kitops.modelkit.model.v1.tar+gzip", gzipOf(tarOf(file("m.bin", "m"))), nil},
				{"application/vnd.kitops.modelkit.code.v1.tar", kitTar, nil},
			}, mediatypes.ModelKit, map[string]string{"m.bin": "m", "sub/a.py": "a"},
		},
		"kit of 2026": {
			mediatypes.ArtifactModelKit, mediatypes.ConfigModelKit, `{"package":{}}`,
			[]layerSpec{
				{"application/vnd.kitops.modelkit.model.v1.raw", []byte("m"), named("m.bin")},
				{"application/vnd.kitops.modelkit.docs.v1.tar+zstd", zstdOf(tarOf(file("d.md", "d"))), nil},
			}, mediatypes.ModelKit, map[string]string{"m.bin": "m", "d.md": "d"},
		},
		"docker 0.1": {
			"", mediatypes.ConfigDockerAI01, "{}",
			[]layerSpec{
				{mediatypes.DockerAIGGUF, []byte("g"), nil}, {mediatypes.DockerAIMMProj, []byte("p"), nil},
				{mediatypes.DockerAIChatTemplate, []byte("t"), nil}, {mediatypes.DockerAILicense, []byte("l"), nil},
				{mediatypes.DockerAILicense, []byte("l2"), nil}, {mediatypes.DockerAIVLLMConfig, tarOf(file("config.json", "{}")), nil},
			}, mediatypes.DockerAI, map[string]string{
				"model.gguf": "g", "model.mmproj": "p", "template.jinja": "t", "LICENSE": "l", "LICENSE-2": "l2", "config.json": "{}",
			},
		},
		"docker 0.1 in shards": {
			"", mediatypes.ConfigDockerAI01, "{}",
			[]layerSpec{{mediatypes.DockerAISafetensors, []byte("1"), nil}, {mediatypes.DockerAISafetensors, []byte("2"), nil}},
			mediatypes.DockerAI, map[string]string{"model-00001-of-00002.safetensors": "1", "model-00002-of-00002.safetensors": "2"},
		},
		"ollama": {
			"", mediatypes.ConfigImageDocker, `{"model_format":"gguf","rootfs":{"type":"layers","diff_ids":["sha256:nothing"]}}`,
			[]layerSpec{
				{mediatypes.OllamaModel, []byte("g"), nil}, {mediatypes.OllamaTemplate, []byte("t"), nil}, {mediatypes.OllamaParams, []byte("{}"), nil},
				{mediatypes.OllamaLicense, []byte("l"), nil}, {mediatypes.OllamaLicense, []byte("m"), nil}, {mediatypes.OllamaSystem, []byte("s"), nil},
				{mediatypes.OllamaMessages, []byte("[]"), nil}, {mediatypes.OllamaJSON, []byte("{ }"), title("config/x.json")},
			}, mediatypes.Ollama, map[string]string{
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
			}, mediatypes.ORAS, map[string]string{"a/notes.txt": "t", "model.bin": "not a tar", "d/x": "x"},
		},
		"omlmd": {
			"", mediatypes.ConfigOMLMD, `{"name":"x"}`,
			[]layerSpec{
				{mediatypes.OMLMDModel, []byte("joblib"), title("model.joblib")}, {mediatypes.ConfigOMLMD, []byte(`{"name":"x"}`), title("model_metadata.omlmd.json")},
				{"application/vnd.oci.image.layer.v1.tar+gzip", gzipOf(tarOf(file("extra/x", "x"))), title("extra")},
			}, mediatypes.ORAS, map[string]string{"model.joblib": "joblib", "model_metadata.omlmd.json": `{"name":"x"}`, "extra/x": "x"},
		},
		"modelcar": {
			"", mediatypes.ConfigImageOCI, `{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`,
			[]layerSpec{
				{ocispec.MediaTypeImageLayerGzip, gzipOf(tarOf(file("bin/", ""), file("bin/sh", "sh"), link("bin/ln", "sh"), file("../out", "x"))), nil},
				{ocispec.MediaTypeImageLayer, tarOf(file("models/", ""), file("models/a/w.bin", "w"), link("models/model.file", "/models/a/w.bin")), nil},
				{ocispec.MediaTypeImageLayerZstd, zstdOf(tarOf(file("models/README.md", "r"))), nil},
			}, mediatypes.Image, map[string]string{"a/w.bin": "w", "README.md": "r"},
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
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	raw := mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw)
	layer := func(b *blobs, a map[string]string) ocispec.Descriptor {
		desc := b.put(raw, []byte("x"))
		desc.Annotations = a
		return desc
	}
	manifest := func(b *blobs, layers ...ocispec.Descriptor) ocispec.Manifest {
		return ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: mediatypes.ArtifactModel, Config: b.put(mediatypes.ConfigModel, []byte("{}")), Layers: layers,
		}
	}
	edit := func(change func(text string) string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor {
			text, _ := json.Marshal(manifest(b, layer(b, named("a.bin"))))
			return b.put(ocispec.MediaTypeImageManifest, []byte(change(string(text))))
		}
	}
	config := func(text string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor {
			m := manifest(b, layer(b, named("a.bin")))
			m.Config = b.put(mediatypes.ConfigModel, []byte(text))
			return putManifest(b, m)
		}
	}
	path := func(p string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b, layer(b, named(p)))) }
	}
	pathsOf := func(ps ...string) func(b *blobs) ocispec.Descriptor {
		return func(b *blobs) ocispec.Descriptor {
			var layers []ocispec.Descriptor
			for _, p := range ps {
				layers = append(layers, layer(b, named(p)))
			}
			return putManifest(b, manifest(b, layers...))
		}
	}
	digestOf := func(d string) func(b *blobs) ocispec.Descriptor {
		return edit(func(s string) string { return strings.Replace(s, string(digest.FromString("x")), d, 1) })
	}
	size := func(n string) func(b *blobs) ocispec.Descriptor {
		return edit(func(s string) string { return strings.Replace(s, `"size":1,`, `"size":`+n+`,`, 1) })
	}
	tests := map[string]struct {
		make func(b *blobs) ocispec.Descriptor
		want error
	}{
		// A. Names.
		"dot dot":                  {path("../../escape.txt"), artifact.ErrUnsafe},
		"absolute":                 {path("/etc/x"), artifact.ErrUnsafe},
		"backslash":                {path(`..\x`), artifact.ErrUnsafe},
		"drive":                    {path("C:/x"), artifact.ErrUnsafe},
		"same path twice":          {pathsOf("m.bin", "m.bin"), artifact.ErrUnsafe},
		"file and directory":       {pathsOf("a", "a/b"), artifact.ErrUnsafe},
		"case":                     {pathsOf("Model.bin", "model.bin"), artifact.ErrUnsafe},
		"decomposed":               {pathsOf("é", "e\u0301"), artifact.ErrUnsafe},
		"NUL":                      {path("a\x00b"), artifact.ErrUnsafe},
		"escape sequence":          {path("\x1b[2J"), artifact.ErrUnsafe},
		"bidi":                     {path("a\u202eb"), artifact.ErrUnsafe},
		"git":                      {path("sub/.git/hooks/post-checkout"), artifact.ErrUnsafe},
		"control":                  {path(".modelreg/pull.json"), artifact.ErrUnsafe},
		"long component":           {path(strings.Repeat("a", 256)), artifact.ErrUnsafe},
		"long path":                {path(strings.Repeat("a/", 2000) + "x"), artifact.ErrUnsafe},
		"device":                   {path("NUL"), artifact.ErrUnsafe},
		"no path":                  {func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b, layer(b, nil))) }, artifact.ErrUnsafe},
		"link in the metadata":     {metadataTypeflag(layer, manifest, "2"), artifact.ErrUnsafe},
		"link in ASCII":            {metadataTypeflag(layer, manifest, "50"), artifact.ErrUnsafe},
		"bad path in the metadata": {func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b, layer(b, map[string]string{mediatypes.AnnotationFileMetadata: `{"name":"../x"}`}))) }, artifact.ErrUnsafe},

		// C. Documents.
		"trailing document":  {edit(func(s string) string { return s + s }), artifact.ErrUnsafe},
		"byte order mark":    {edit(func(s string) string { return "\ufeff" + s }), artifact.ErrUnsafe},
		"bad UTF-8":          {edit(func(s string) string { return strings.Replace(s, "a.bin", "a\xff", 1) }), artifact.ErrUnsafe},
		"duplicate key":      {edit(func(s string) string { return strings.Replace(s, `"layers"`, `"layers":[],"layers"`, 1) }), artifact.ErrUnsafe},
		"deep":               {edit(func(s string) string { return strings.Replace(s, `"layers"`, `"x":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`,"layers"`, 1) }), artifact.ErrUnsafe},
		"large":              {edit(func(s string) string { return s + strings.Repeat(" ", 4<<20) }), artifact.ErrUnsafe},
		"many layers":        {manyLayers(layer, manifest), artifact.ErrUnsafe},
		"layers and indexes": {edit(func(s string) string { return strings.Replace(s, `"layers"`, `"manifests":[],"layers"`, 1) }), artifact.ErrUnsafe},
		"schema 1":           {edit(func(string) string { return `{"schemaVersion":1,"fsLayers":[]}` }), artifact.ErrUnsafe},
		"index as manifest":  {edit(func(string) string { return `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}` }), artifact.ErrUnsafe},
		"upper-case digest":  {digestOf("sha256:" + strings.ToUpper(digest.FromString("x").Encoded())), artifact.ErrUnsafe},
		"md5":                {digestOf("md5:d41d8cd98f00b204e9800998ecf8427e"), artifact.ErrUnsafe},
		"short digest":       {digestOf("sha256:abcd"), artifact.ErrUnsafe},
		"path as digest":     {digestOf("sha256:../../../../../../tmp/x"), artifact.ErrUnsafe},
		"empty digest":       {digestOf(""), artifact.ErrUnsafe},
		"digest and CRLF":    {digestOf(string(digest.FromString("x")) + `\r\nX: y`), artifact.ErrUnsafe},
		"digest and query":   {digestOf(string(digest.FromString("x"))[:69] + "?a"), artifact.ErrUnsafe},
		"negative size":      {size("-1"), artifact.ErrUnsafe},
		"size 2^63":          {size("9223372036854775808"), artifact.ErrUnsafe},
		"size 1e3":           {size("1e3"), artifact.ErrUnsafe},
		"foreign urls":       {edit(func(s string) string { return strings.Replace(s, `"size":1,`, `"size":1,"urls":["http://169.254.169.254/"],`, 1) }), artifact.ErrUnsafe},
		"deep config":        {config(strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)), artifact.ErrUnsafe},
		"very deep config":   {config(strings.Repeat(`[`, 200_000)), artifact.ErrUnsafe},
		"large config":       {config(`"` + strings.Repeat("x", 5<<20) + `"`), artifact.ErrUnsafe},
		"config is no JSON":  {config("hello"), artifact.ErrUnsafe},
		"config is two":      {config("{}{}"), artifact.ErrUnsafe},
		"diff id differs":    {config(`{"modelfs":{"type":"layers","diffIds":["` + string(digest.FromString("y")) + `"]}}`), content.ErrMismatchedDigest},
		"diff ids too many":  {config(`{"modelfs":{"diffIds":["` + string(digest.FromString("x")) + `","` + string(digest.FromString("x")) + `"]}}`), content.ErrMismatchedDigest},
		"bad diff id":        {config(`{"modelfs":{"diffIds":["sha256:../x"]}}`), artifact.ErrUnsafe},
		"diff ids no list":   {config(`{"modelfs":{"diffIds":{"a":1}}}`), artifact.ErrUnsafe},

		// What is no model.
		"index": {func(b *blobs) ocispec.Descriptor { return b.put(ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`)) }, artifact.ErrNotModel},
		"signature": {func(b *blobs) ocispec.Descriptor {
			m := manifest(b, layer(b, nil))
			m.ArtifactType, m.Config.MediaType, m.Layers[0].MediaType = "", ocispec.MediaTypeImageConfig, "application/vnd.dev.cosign.simplesigning.v1+json"
			return putManifest(b, m)
		}, artifact.ErrNotModel},
		"no layers": {func(b *blobs) ocispec.Descriptor { return putManifest(b, manifest(b)) }, artifact.ErrNotModel},
		"manifest is missing": {func(*blobs) ocispec.Descriptor {
			return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, []byte("x"))
		}, nil},
		"wrong manifest": {func(b *blobs) ocispec.Descriptor {
			desc := path("a.bin")(b)
			b.content[desc.Digest] = bytes.Replace(b.content[desc.Digest], []byte("a.bin"), []byte("b.bin"), 1)
			return desc
		}, content.ErrMismatchedDigest},
		"served as another type": {func(b *blobs) ocispec.Descriptor {
			desc := path("a.bin")(b)
			desc.MediaType = mediatypes.ManifestDocker
			return desc
		}, artifact.ErrUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			desc := tt.make(b)
			_, err := artifact.Open(t.Context(), b, desc)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, want %v", err, tt.want)
			}
			if err != nil && (len(err.Error()) > 4096 || strings.ContainsAny(err.Error(), "\x1b\x00\r")) {
				t.Errorf("message %.100q", err)
			}
			if b.fetched[digest.FromString("x")] != 0 {
				t.Error("a layer was fetched")
			}
		})
	}
}

func metadataTypeflag(layer func(*blobs, map[string]string) ocispec.Descriptor, manifest func(*blobs, ...ocispec.Descriptor) ocispec.Manifest, flag string) func(*blobs) ocispec.Descriptor {
	return func(b *blobs) ocispec.Descriptor {
		return putManifest(b, manifest(b, layer(b, map[string]string{
			mediatypes.AnnotationFilepath: "a", mediatypes.AnnotationFileMetadata: `{"name":"a","typeflag":` + flag + `}`,
		})))
	}
}

func manyLayers(layer func(*blobs, map[string]string) ocispec.Descriptor, manifest func(*blobs, ...ocispec.Descriptor) ocispec.Manifest) func(*blobs) ocispec.Descriptor {
	return func(b *blobs) ocispec.Descriptor {
		layers := make([]ocispec.Descriptor, 10_001)
		for i := range layers {
			layers[i] = layer(b, named(strings.Repeat("x", i%200+1)))
		}
		return putManifest(b, manifest(b, layers...))
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
