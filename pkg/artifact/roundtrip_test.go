package artifact_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func TestRoundTrip(t *testing.T) {
	many := make(map[string]string)
	for i := range 2000 {
		many[fmt.Sprintf("data/%02d/file %04d.json", i%50, i)] = fmt.Sprintf(`{"n":%d}`, i)
	}
	many["README.md"], many["model.safetensors"], many["empty/none.txt"] = readme, randomText(5000), ""
	flat := map[string]string{"config.json": "{}", "README.md": "x"}
	for i := range 600 {
		flat[fmt.Sprintf("image-%03d.txt", i)] = strings.Repeat("x", i)
	}
	tests := map[string]map[string]string{
		"one file":   {"a.bin": "a"},
		"empty file": {"a.bin": "", "b.bin": "b"},
		"only empty": {"a.bin": ""},
		"odd names":  {"mit Leerzeichen.bin": "1", "größe/模型.json": "2", "'quoted' & (b).txt": "3", ".dot/.file": "4", "a+b=c,d;e%20.md": "5", "🙂.txt": "6"},
		"deep":       {strings.Repeat("d/", 31) + "f.bin": "deep", strings.Repeat("long-component-", 17) + "/x": "long"},
		"2000 files": many,
		"600 in one": flat,
		"same bytes": {"a.bin": "same", "b.bin": "same", "c/d.bin": "same", "e.bin": "other"},
	}
	for name, files := range tests {
		for _, layout := range []artifact.Layout{artifact.LayoutAuto, artifact.LayoutRaw} {
			if layout == artifact.LayoutRaw && len(files) > 1000 {
				continue // slow, and no different
			}
			t.Run(fmt.Sprintf("%s/%d", name, layout), func(t *testing.T) {
				roundTrip(t, files, layout)
			})
		}
	}
}

func roundTrip(t *testing.T, files map[string]string, layout artifact.Layout) {
	t.Helper()
	b := newBlobs()
	dir := writeTree(t, t.TempDir(), files)
	p := mustPack(t, dir, b, artifact.PackOptions{Layout: layout})
	a := mustOpen(t, b, p.Descriptor)
	if diff := cmp.Diff(p.Files, a.Files); diff != "" {
		t.Errorf("files packed and opened (-packed +opened):\n%s", diff)
	}
	parent := t.TempDir()
	out := filepath.Join(parent, "new", "model")
	u := mustUnpack(t, a, b, out, artifact.UnpackOptions{Reference: "example.org/m:v1", AllowDotfiles: true})
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if u.Files != len(files) {
		t.Errorf("%d files, want %d", u.Files, len(files))
	}
	if left := leftovers(t, filepath.Join(parent, "new"), "model"); left != nil {
		t.Errorf("left beside the target: %v", left)
	}
	raw, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(artifact.ManifestFile)))
	if err != nil || string(raw) != string(p.Manifest) {
		t.Errorf("the manifest is not in the target: %v", err)
	}
	checkModes(t, out)
	// Packed again it is the same version, and unpacked again nothing moves.
	if again := mustPack(t, out, newBlobs(), artifact.PackOptions{Layout: layout}); again.Descriptor.Digest != p.Descriptor.Digest {
		t.Errorf("packed again: %s, want %s", again.Descriptor.Digest, p.Descriptor.Digest)
	}
	before := b.fetches()
	u = mustUnpack(t, a, b, out, artifact.UnpackOptions{AllowDotfiles: true})
	if b.fetches() != before || u.Fetched != 0 || u.Files != len(files) {
		t.Errorf("second time: %+v after %d fetches", u, b.fetches()-before)
	}
}

// checkModes makes sure that files are 0644 and directories 0755.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := fs.FileMode(0o644)
		if e.IsDir() {
			want = fs.ModeDir | 0o755
		}
		if err == nil && info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", p, info.Mode(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Small files of a large model share layers; weights and what people look for
// do not.
func TestManyFilesShareLayers(t *testing.T) {
	files := map[string]string{"README.md": "x", "config.json": "{}", "LICENSE": "y", "weights/tiny.safetensors": "z", "big.txt": strings.Repeat("b", 2<<20)}
	for i := range 700 {
		files[fmt.Sprintf("src/f%03d.py", i)] = "x" + fmt.Sprint(i)
		files[fmt.Sprintf("docs/d%03d.md", i)] = "x" + fmt.Sprint(i)
	}
	b := newBlobs()
	p := mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{})
	var m ocispec.Manifest
	if err := json.Unmarshal(p.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range m.Layers {
		got = append(got, l.Annotations[mediatypes.AnnotationFilepath]+" "+l.Annotations[mediatypes.AnnotationTitle]+" "+l.MediaType[len("application/vnd.cncf.model."):])
	}
	want := []string{
		".modelreg/index.json .modelreg/index.json doc.v1.raw",
		"LICENSE LICENSE doc.v1.raw", "README.md README.md doc.v1.raw", "big.txt big.txt " + kindOf(p, "big.txt") + ".v1.raw",
		"config.json config.json weight.config.v1.raw", "docs .modelreg/dir-docs.doc.tar doc.v1.tar", "src .modelreg/dir-src.code.tar code.v1.tar",
		"weights/tiny.safetensors weights/tiny.safetensors weight.v1.raw",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	if m.Layers[0].Annotations[mediatypes.AnnotationTarIndex] != "v1" {
		t.Errorf("the index is not marked: %v", m.Layers[0].Annotations)
	}
	// One file by its range, and only its bytes.
	src := ranged{b}
	a := mustOpen(t, src, p.Descriptor)
	before := b.fetches()
	rc, f, err := a.OpenFile(t.Context(), src, "src/f123.py")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	text, err := io.ReadAll(rc)
	if string(text) != "x123" || err != nil || b.fetches() != before || src.ranges != 1 {
		t.Errorf("read %q, %v with %d fetches and %d ranges", text, err, b.fetches()-before, src.ranges)
	}
	if f.Digest != digest.FromString("x123") || f.Kind != mediatypes.KindCode || f.Offset == 0 {
		t.Errorf("file is %+v", f)
	}
}

func kindOf(p *artifact.Packed, path string) string {
	for _, f := range p.Files {
		if f.Path == path {
			return string(f.Kind)
		}
	}
	return ""
}

func TestSparseBigFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "model.bin"))
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteAt([]byte("end"), 40<<20)
	if err := errors.Join(werr, f.Close()); err != nil {
		t.Fatal(err)
	}
	b := newBlobs()
	p := mustPack(t, dir, b, artifact.PackOptions{})
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, mustOpen(t, b, p.Descriptor), b, out, artifact.UnpackOptions{})
	got, err := os.ReadFile(filepath.Join(out, "model.bin"))
	if err != nil || digest.FromBytes(got) != p.Files[0].Digest {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}
