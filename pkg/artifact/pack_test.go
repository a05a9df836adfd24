package artifact_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const readme = `---
license: apache-2.0
language: [en, de, gsw]
library_name: transformers
pipeline_tag: text-generation
tags: [tiny, test]
base_model: someone/base
model_name: Tiny
---
# Tiny
`

func tinyModel(t testing.TB) string {
	t.Helper()
	dir := writeTree(t, t.TempDir(), map[string]string{
		"README.md": readme, "config.json": `{"model_type":"llama","architectures":["LlamaForCausalLM"]}`,
		"sub dir/größe.md": "text", "train.py": "print()", "empty.bin": "",
	})
	testmodel.Safetensors(t, dir)
	return dir
}

func TestPackLayout(t *testing.T) {
	b := newBlobs()
	p := mustPack(t, tinyModel(t), b, artifact.PackOptions{})
	var m ocispec.Manifest
	if err := json.Unmarshal(p.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	if m.ArtifactType != mediatypes.ArtifactModel || m.MediaType != ocispec.MediaTypeImageManifest || m.Config.MediaType != mediatypes.ConfigModel {
		t.Errorf("manifest is %s, %s with config %s", m.MediaType, m.ArtifactType, m.Config.MediaType)
	}
	var got []string
	for _, l := range m.Layers {
		want := map[string]string{mediatypes.AnnotationFilepath: l.Annotations[mediatypes.AnnotationTitle], mediatypes.AnnotationTitle: l.Annotations[mediatypes.AnnotationTitle]}
		if diff := cmp.Diff(want, l.Annotations); diff != "" {
			t.Errorf("annotations of a layer (-want +got):\n%s", diff)
		}
		got = append(got, l.Annotations[mediatypes.AnnotationTitle]+" "+strings.TrimPrefix(l.MediaType, "application/vnd.cncf.model."))
		if data := b.content[l.Digest]; int64(len(data)) != l.Size {
			t.Errorf("layer %v is not in the target", l.Annotations)
		}
	}
	want := []string{
		"README.md doc.v1.raw", "config.json weight.config.v1.raw", "empty.bin weight.v1.raw", "model.safetensors weight.v1.raw",
		"sub dir/größe.md doc.v1.raw", "train.py code.v1.raw",
	}
	for i := range got {
		// What is in "empty.bin" nobody can say.
		if strings.HasPrefix(got[i], "empty.bin") {
			got[i] = want[2]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	file := p.Files[0]
	if file.Path != "README.md" || file.Digest != digest.FromString(readme) || file.Size != int64(len(readme)) || file.Mode != 0o644 {
		t.Errorf("first file is %+v", file)
	}
	for k, v := range map[string]string{
		"org.opencontainers.image.title": "Tiny", "org.opencontainers.image.licenses": "apache-2.0",
		mediatypes.AnnotationTask: "text-generation", mediatypes.AnnotationLibrary: "transformers",
		mediatypes.AnnotationTags: "tiny,test", mediatypes.AnnotationLanguages: "en,de,gsw", mediatypes.AnnotationBaseModel: "someone/base",
		mediatypes.AnnotationFormats: "safetensors",
	} {
		if m.Annotations[k] != v {
			t.Errorf("annotation %s = %q, want %q", k, m.Annotations[k], v)
		}
	}
	if _, ok := m.Annotations["org.opencontainers.image.created"]; ok {
		t.Error("a time is in the manifest")
	}
}

// The same files give the same manifest, whoever packs them where and when.
func TestPackIsDeterministic(t *testing.T) {
	first := tinyModel(t)
	want := mustPack(t, first, newBlobs(), artifact.PackOptions{}).Descriptor.Digest

	other := filepath.Join(t.TempDir(), "of another name")
	// In another order, with other modes and times.
	files := readTree(t, first)
	for _, name := range []string{"train.py", "sub dir/größe.md", "model.safetensors", "empty.bin", "config.json", "README.md"} {
		writeTree(t, other, map[string]string{name: files[name]})
		p := filepath.Join(other, name)
		if err := errors.Join(os.Chmod(p, 0o750), os.Chtimes(p, time.Unix(1e9, 0), time.Unix(1e9, 5))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(files, readTree(t, other)); diff != "" {
		t.Fatal(diff)
	}
	t.Chdir(other)
	for _, dir := range []string{other, "."} {
		for _, procs := range []int{1, 2, 7} {
			old := runtime.GOMAXPROCS(procs)
			got := mustPack(t, dir, newBlobs(), artifact.PackOptions{Workers: procs}).Descriptor.Digest
			runtime.GOMAXPROCS(old)
			if got != want {
				t.Errorf("%s with %d workers: digest %s, want %s", dir, procs, got, want)
			}
		}
	}
	if got := mustPack(t, other, newBlobs(), artifact.PackOptions{Created: time.Unix(1e9, 0)}).Descriptor.Digest; got == want {
		t.Error("a creation time does not change the digest")
	}
}

// A digest that is written down: a change of it makes every model a new
// version, which must not happen by accident.
func TestPackDigestIsStable(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{"README.md": "# hello\n", "a/b.py": "print()\n"})
	p := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.cncf.model.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.cncf.model.config.v1+json","digest":"sha256:023dca2e3e432486dbf2419a1cb99d940320a5729fae498430cf7e5ffb17d0e1","size":217},` +
		`"layers":[{"mediaType":"application/vnd.cncf.model.doc.v1.raw","digest":"sha256:9e8b62f81ea5c66fa06ee53da032751386b37702153070c0e14dd1d316282fa7","size":8,` +
		`"annotations":{"org.cncf.model.filepath":"README.md","org.opencontainers.image.title":"README.md"}},` +
		`{"mediaType":"application/vnd.cncf.model.code.v1.raw","digest":"sha256:d8594fa1268ecabc62af7c9e2449b8c46db0f426cd9aad384c67efe59e582b3e","size":8,` +
		`"annotations":{"org.cncf.model.filepath":"a/b.py","org.opencontainers.image.title":"a/b.py"}}]}`
	if diff := cmp.Diff(want, string(p.Manifest)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestPackAgainSendsNothing(t *testing.T) {
	dir, b := tinyModel(t), newBlobs()
	first := mustPack(t, dir, b, artifact.PackOptions{})
	if first.Uploaded == 0 || first.Skipped != 0 {
		t.Errorf("first: uploaded %d, skipped %d", first.Uploaded, first.Skipped)
	}
	b.pushed = nil
	second := mustPack(t, dir, b, artifact.PackOptions{})
	if second.Uploaded != 0 || second.Skipped != first.Uploaded || len(b.pushed) != 0 {
		t.Errorf("second: uploaded %d, skipped %d, pushed %v", second.Uploaded, second.Skipped, b.pushed)
	}
}

func TestPackIgnores(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{
		".modelregignore": "# comment\n*.log\n/build/\n!keep.log\n!.env\n!.DS_Store\n!modelreg.yaml\n\r\n",
		"model.bin":       "x", "a.log": "x", "sub/b.log": "x", "keep.log": "x", "build/x": "x", "sub/build/y": "x",
		".env": "A=b", ".env.example": "A=", "prod.env": "x", ".git/config": "x", "sub/.git/HEAD": "x", "id_rsa": "x", ".aws/credentials": "x",
		"modelreg.yaml": "default:", "sub/modelreg.yaml": "kept",
		"node_modules/x.js": "x", "__pycache__/m.pyc": "x", ".DS_Store": "x", ".modelreg/pull.json": "{}", ".modelreg-x.partial/y": "",
		".gitattributes": "x", "credentials.json": "{}", ".cache/huggingface/x": "y", ".ipynb_checkpoints/a.ipynb": "{}",
	})
	p := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	want := []string{".DS_Store", ".env.example", ".gitattributes", "keep.log", "model.bin", "sub/build/y", "sub/modelreg.yaml"}
	if diff := cmp.Diff(want, paths(p.Files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	notes := strings.Join(p.Notes, "\n")
	for _, name := range []string{".env (secret", ".git/ (never", "sub/.git/", "a.log (ignored)", "id_rsa", "modelreg.yaml (the project's)"} {
		if !strings.Contains(notes, name) {
			t.Errorf("notes do not tell of %s:\n%s", name, notes)
		}
	}
	p = mustPack(t, dir, newBlobs(), artifact.PackOptions{IncludeSecrets: []string{".env", ".aws/credentials"}})
	want = append([]string{".DS_Store", ".aws/credentials", ".env"}, want[1:]...)
	if diff := cmp.Diff(want, paths(p.Files)); diff != "" {
		t.Errorf("files with secrets (-want +got):\n%s", diff)
	}
}

func paths(files []artifact.File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

func TestPackFollowsLinksInside(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{"real/model.bin": "weights", "b.txt": "b"})
	symlink(t, "real/model.bin", filepath.Join(dir, "model.bin"))
	symlink(t, "real", filepath.Join(dir, "alias"))
	p := mustPack(t, dir, newBlobs(), artifact.PackOptions{})
	if diff := cmp.Diff([]string{"alias/model.bin", "b.txt", "model.bin", "real/model.bin"}, paths(p.Files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "alias, model.bin") {
		t.Errorf("notes do not tell of the links: %s", notes)
	}
}

// A gate lets no upload end before a later file has been hashed: this hangs
// unless the two overlap.
type gate struct {
	*blobs
	hashed chan struct{}
}

func (g *gate) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	select {
	case <-g.hashed:
	case <-ctx.Done():
		return ctx.Err()
	}
	return g.blobs.Push(ctx, desc, r)
}

// A recorder is a digest cache that knows nothing and signals what it learns.
type recorder struct {
	mu     sync.Mutex
	known  map[string]digest.Digest
	asked  int
	hits   int
	signal chan struct{}
	after  int
}

func (r *recorder) Lookup(fi fs.FileInfo) (digest.Digest, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	d, ok := r.known[fi.Name()]
	if ok {
		r.hits++
	}
	return d, ok
}

func (r *recorder) Record(fi fs.FileInfo, d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[fi.Name()] = d
	if len(r.known) == r.after {
		close(r.signal)
	}
}

func TestPackHashesWhileItSends(t *testing.T) {
	files := make(map[string]string)
	for i := range 5 {
		files[fmt.Sprintf("model-%05d.bin", i)] = randomText(1<<20 + 1 + i)
	}
	dir := writeTree(t, t.TempDir(), files)
	g := &gate{blobs: newBlobs(), hashed: make(chan struct{})}
	rec := &recorder{known: make(map[string]digest.Digest), signal: g.hashed, after: 5}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := artifact.Pack(ctx, dir, g, artifact.PackOptions{Workers: 1, Digests: rec}); err != nil {
		t.Fatal(err)
	}
	rec.after = -1
	if _, err := artifact.Pack(ctx, dir, g, artifact.PackOptions{Digests: rec}); err != nil || rec.hits != 5 {
		t.Errorf("second pack: %v, %d of 5 digests from the cache", err, rec.hits)
	}
}

func TestPackSendsSameContentOnce(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{"a.bin": "same", "b.bin": "same", "c/d.bin": "same"})
	b := newBlobs()
	p := mustPack(t, dir, b, artifact.PackOptions{})
	if len(b.pushed) != 3 || p.Uploaded-int64(len("same")) >= p.Descriptor.Size+1000 { // layer, config, manifest
		t.Errorf("pushed %v", b.pushed)
	}
	if len(p.Files) != 3 {
		t.Errorf("files: %v", paths(p.Files))
	}
}

func TestPackAnnotations(t *testing.T) {
	dir := writeTree(t, t.TempDir(), map[string]string{
		"README.md": "---\nlicense: mit\nmodel_name: " + strings.Repeat("n", 30_000) + "\ndatasets: [" + strings.Repeat("d", 20_000) + "]\ntags: [a, \"b,c\"]\n---\n",
	})
	p := mustPack(t, dir, newBlobs(), artifact.PackOptions{
		Annotations: map[string]string{"org.opencontainers.image.licenses": "Apache-2.0", "x": strings.Repeat("x", 30_000)},
	})
	var m ocispec.Manifest
	if err := json.Unmarshal(p.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	size := 0
	for k, v := range m.Annotations {
		size += len(k) + len(v)
	}
	if size > 64<<10 {
		t.Errorf("annotations have %d bytes", size)
	}
	if m.Annotations["org.opencontainers.image.licenses"] != "Apache-2.0" || len(m.Annotations["x"]) != 30_000 {
		t.Error("the user's annotations did not win")
	}
	if m.Annotations["org.opencontainers.image.title"] != "" || len(m.Annotations[mediatypes.AnnotationDatasets]) != 20_000 {
		t.Error("not the longest annotation was left out")
	}
	if m.Annotations[mediatypes.AnnotationTags] != "a" {
		t.Errorf("tags = %q", m.Annotations[mediatypes.AnnotationTags])
	}
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "image.title") {
		t.Errorf("notes do not tell: %.200s", notes)
	}
	for name, bad := range map[string]map[string]string{
		"too long": {"x": strings.Repeat("x", 70_000)}, "no key": {"": "x"}, "not UTF-8": {"x": "\xff"},
	} {
		if _, err := artifact.Pack(t.Context(), dir, newBlobs(), artifact.PackOptions{Annotations: bad}); !errors.Is(err, artifact.ErrUnsafe) {
			t.Errorf("%s: Pack = %v, want ErrUnsafe", name, err)
		}
	}
}

func TestPackToDiscard(t *testing.T) {
	dir := tinyModel(t)
	want := mustPack(t, dir, newBlobs(), artifact.PackOptions{}).Descriptor
	got, err := artifact.Pack(t.Context(), dir, artifact.Discard, artifact.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Descriptor.Digest != want.Digest {
		t.Errorf("digest %s, want %s", got.Descriptor.Digest, want.Digest)
	}
}
