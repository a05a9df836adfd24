package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

func include(patterns ...string) artifact.UnpackOptions {
	return artifact.UnpackOptions{Select: artifact.Selection{Include: patterns}}
}

// Selections replace each other in one directory: what is there is not fetched
// again, and what is no longer selected goes.
func TestUnpackSelection(t *testing.T) {
	files := map[string]string{"a.bin": randomText(1000), "b.bin": randomText(2000), "onnx/c.onnx": randomText(3000), "config.json": "{}"}
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "out")
	steps := []struct {
		opts    artifact.UnpackOptions
		want    []string
		fetched int64
	}{
		{include("a.bin"), []string{"a.bin"}, 1000},
		{include("a.bin"), []string{"a.bin"}, 0},
		{include("*.bin"), []string{"a.bin", "b.bin"}, 2000},
		{artifact.UnpackOptions{Select: artifact.Selection{Exclude: []string{"onnx/"}}}, []string{"a.bin", "b.bin", "config.json"}, 2},
		{include("*.json", "b*"), []string{"b.bin", "config.json"}, 0},
		{artifact.UnpackOptions{}, []string{"a.bin", "b.bin", "config.json", "onnx/c.onnx"}, 4000},
		{include("onnx/"), []string{"onnx/c.onnx"}, 0},
	}
	for i, s := range steps {
		plan, err := artifact.PlanUnpack(t.Context(), a, b, out, s.opts)
		if err != nil {
			t.Fatal(err)
		}
		u := mustUnpack(t, a, b, out, s.opts)
		want := make(map[string]string)
		for _, name := range s.want {
			want[name] = files[name]
		}
		if diff := cmp.Diff(want, readTree(t, out)); diff != "" {
			t.Errorf("step %d: files (-want +got):\n%s", i, diff)
		}
		if u.Fetched != s.fetched || u.Files != len(s.want) || u.LeftOut != len(files)-len(s.want) {
			t.Errorf("step %d: %+v, want %d fetched", i, u, s.fetched)
		}
		if plan.Fetch != u.Fetched || plan.Files != u.Files || plan.LeftOut != u.LeftOut || plan.Size != u.Size || plan.Reuse != u.Size-u.Fetched {
			t.Errorf("step %d: planned %+v, done %+v", i, plan, u)
		}
	}
	record, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(artifact.RecordFile)))
	if err != nil || !strings.Contains(string(record), `"selection":{"include":["onnx/"]}`) {
		t.Errorf("record: %v, %s", err, record)
	}
}

// Packing what was pulled in part tells that it is a part.
func TestPackTellsOfSelection(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a", "b.bin": "b"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "out")
	for _, opts := range []artifact.UnpackOptions{{}, include("a.bin")} {
		opts.Reference = "example.org/m:v1"
		mustUnpack(t, a, b, out, opts)
		notes := mustPack(t, out, b, artifact.PackOptions{}).Notes
		told := len(notes) == 1 && strings.Contains(notes[0], `some of the files of "example.org/m:v1"`)
		if told == opts.Select.IsAll() || len(notes) > 1 {
			t.Errorf("%v: notes %q", opts.Select, notes)
		}
	}
}

// A user's file that has the name of one that is not selected is the user's.
func TestUnpackSelectionKeepsTheirs(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a", "b.bin": "b"}), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "out")
	mustUnpack(t, a, b, out, include("a.bin"))
	writeTree(t, out, map[string]string{"b.bin": "mine"})
	mustUnpack(t, a, b, out, include("a*"))
	if got := readTree(t, out); got["b.bin"] != "mine" {
		t.Errorf("files: %v", got)
	}
	for _, plan := range []bool{true, false} {
		if err := unpackOrPlan(t, a, b, out, plan); !errors.Is(err, artifact.ErrNotOurs) {
			t.Errorf("plan: %v: error %v, want ErrNotOurs", plan, err)
		}
	}
}

func unpackOrPlan(t *testing.T, a *artifact.Artifact, b *blobs, out string, plan bool) error {
	t.Helper()
	var err error
	if plan {
		_, err = artifact.PlanUnpack(t.Context(), a, b, out, artifact.UnpackOptions{})
	} else {
		_, err = artifact.Unpack(t.Context(), a, b, out, artifact.UnpackOptions{})
	}
	return err
}

// manyFiles makes a model whose small files share layers.
func manyFiles() map[string]string {
	files := map[string]string{"model.safetensors": randomText(5000)}
	for i := range 600 {
		files[fmt.Sprintf("data/%03d.txt", i)] = strings.Repeat(fmt.Sprintf("%03d ", i), 500)
	}
	return files
}

// Of layers with an index only the wanted files are fetched, by ranges; then
// what is missing, and the whole layer where that is less trouble.
func TestUnpackSelectionOfIndexed(t *testing.T) {
	files := manyFiles()
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	src := ranged{b}
	out := filepath.Join(t.TempDir(), "out")
	few := include("data/00[12].txt", "data/599.txt")
	plan, err := artifact.PlanUnpack(t.Context(), a, src, out, few)
	if err != nil || plan.Fetch != 6000 || plan.Blobs != 3 || plan.Files != 3 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	u := mustUnpack(t, a, src, out, few)
	want := map[string]string{"data/001.txt": files["data/001.txt"], "data/002.txt": files["data/002.txt"], "data/599.txt": files["data/599.txt"]}
	if diff := cmp.Diff(want, readTree(t, out)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if u.Fetched != 6000 || u.LeftOut != 598 {
		t.Errorf("few: %+v", u)
	}
	u = mustUnpack(t, a, src, out, include("data/"))
	if u.Files != 600 || u.Fetched < 600*2000 {
		t.Errorf("all of the layer: %+v", u)
	}
	if u := mustUnpack(t, a, src, out, artifact.UnpackOptions{}); u.Fetched != 5000 || len(readTree(t, out)) != len(files) {
		t.Errorf("the rest: %+v", u)
	}
	if err := os.Remove(filepath.Join(out, "data", "007.txt")); err != nil {
		t.Fatal(err)
	}
	if u := mustUnpack(t, a, src, out, artifact.UnpackOptions{}); u.Fetched != 2000 || len(readTree(t, out)) != len(files) {
		t.Errorf("one that was lost: %+v", u)
	}
}

// A deaf source has no ranges, but does not know it before it is asked; a misled
// one gives others than those asked for.
type (
	deaf   struct{ *blobs }
	misled struct{ *blobs }
)

func (deaf) FetchRange(context.Context, ocispec.Descriptor, int64, int64) (io.ReadCloser, error) {
	return nil, errdef.ErrUnsupported
}

func (m misled) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	return ranged(m).FetchRange(ctx, desc, off+1, n)
}

// Without ranges, or with an index that tells wrong places, the layer is fetched.
func TestUnpackSelectionFallsBack(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), manyFiles()), b, artifact.PackOptions{}).Descriptor)
	out := filepath.Join(t.TempDir(), "out")
	for _, src := range []content.Fetcher{b, deaf{b}, misled{b}} {
		u := mustUnpack(t, a, src, out, include("data/005.txt"))
		if u.Files != 1 || u.Fetched < 1e6 {
			t.Errorf("%T: %+v", src, u)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
}

// A failing mirror gives wrong bytes of a layer until it is distrusted.
type failingMirror struct {
	*blobs
	layers     map[digest.Digest]bool
	distrusted atomic.Int64
}

func (m *failingMirror) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	if m.distrusted.Load() < 3 {
		off++
	}
	return ranged{m.blobs}.FetchRange(ctx, desc, off, n)
}

func (m *failingMirror) Distrust(desc ocispec.Descriptor) bool {
	return m.layers[desc.Digest] && m.distrusted.Add(1) <= 3
}

// Wrong bytes of a file in a layer have the places distrusted that gave them.
func TestUnpackSelectionDistrusts(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), manyFiles()), b, artifact.PackOptions{}).Descriptor)
	src := &failingMirror{blobs: b, layers: make(map[digest.Digest]bool)}
	for _, l := range a.Manifest.Layers {
		src.layers[l.Digest] = true
	}
	u := mustUnpack(t, a, src, filepath.Join(t.TempDir(), "out"), include("data/005.txt"))
	if u.Files != 1 || u.Fetched >= 1e6 || src.distrusted.Load() != 3 {
		t.Errorf("%+v after %d of 3 distrusts", u, src.distrusted.Load())
	}
}

// A located source gives parts as [transfer.Locator] says, or all of a blob.
type located struct {
	ranged
	whole bool
	asked *atomic.Int64
}

func (l located) Locate(desc ocispec.Descriptor) func(context.Context, int64, int64) (io.ReadCloser, int64, error) {
	return func(ctx context.Context, off, n int64) (io.ReadCloser, int64, error) {
		l.asked.Add(1)
		if l.whole {
			rc, err := l.Fetch(ctx, desc)
			return rc, 0, err
		}
		rc, err := l.FetchRange(ctx, desc, off, n)
		return rc, off, err
	}
}

func TestUnpackSelectionLocates(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), manyFiles()), b, artifact.PackOptions{}).Descriptor)
	for _, whole := range []bool{false, true} {
		src := located{ranged{b}, whole, new(atomic.Int64)}
		u := mustUnpack(t, a, src, filepath.Join(t.TempDir(), "out"), include("data/005.txt"))
		if u.Files != 1 || u.Fetched >= 1e6 || src.asked.Load() == 0 {
			t.Errorf("whole %v: %+v, %d parts", whole, u, src.asked.Load())
		}
	}
}

// From an archive without an index only what is wanted is written.
func TestUnpackSelectionOfArchive(t *testing.T) {
	b := newBlobs()
	for _, enc := range []mediatypes.Encoding{mediatypes.Tar, mediatypes.TarGzip} {
		data := tarOf(file("d/", ""), file("d/a.bin", "a"), file("e/", ""), file("e/b.bin", "b"), file(".bashrc", "x"))
		if enc == mediatypes.TarGzip {
			data = gzipOf(data)
		}
		a := mustOpen(t, b, modelPack(b, layerSpec{mediatypes.LayerType(mediatypes.KindWeight, enc), data, named("all")}))
		out := filepath.Join(t.TempDir(), "out")
		u := mustUnpack(t, a, b, out, include("d/"))
		if diff := cmp.Diff(map[string]string{"d/a.bin": "a"}, readTree(t, out)); diff != "" || u.LeftOut != 2 {
			t.Errorf("%s: %+v, files (-want +got):\n%s", enc, u, diff)
		}
		if _, err := os.Stat(filepath.Join(out, "e")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a directory that nothing is in: %v", enc, err)
		}
		_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(t.TempDir(), "out"), include("x/"))
		if !errors.Is(err, glob.ErrNoMatch) {
			t.Errorf("%s: error %v, want ErrNoMatch", enc, err)
		}
	}
}

// A selection that takes nothing, or cannot be read, is refused before anything
// is fetched or made.
func TestUnpackSelectionRefused(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	before := b.fetches()
	for pattern, want := range map[string]error{"A.bin": glob.ErrNoMatch, "": glob.ErrPattern} {
		if _, err := artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "new", "out"), include(pattern)); !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", pattern, err, want)
		}
	}
	if left := leftovers(t, parent); left != nil || b.fetches() != before {
		t.Errorf("left %v, %d fetches", left, b.fetches()-before)
	}
}

// A plan changes nothing, wherever it looks.
func TestPlanUnpackChangesNothing(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), map[string]string{"a.bin": "a", "b/c.bin": "bc"}), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	before := b.fetches()
	plan, err := artifact.PlanUnpack(t.Context(), a, b, filepath.Join(parent, "deep", "down", "out"), artifact.UnpackOptions{})
	if err != nil || plan.Fetch != 3 || plan.Reuse != 0 || plan.Blobs != 2 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	writeTree(t, parent, map[string]string{"theirs/x": "x"})
	if _, err := artifact.PlanUnpack(t.Context(), a, b, filepath.Join(parent, "theirs"), artifact.UnpackOptions{}); !errors.Is(err, artifact.ErrNotOurs) {
		t.Errorf("error %v, want ErrNotOurs", err)
	}
	if _, err := artifact.PlanUnpack(t.Context(), a, b, "/", artifact.UnpackOptions{}); !errors.Is(err, artifact.ErrTarget) {
		t.Errorf("error %v, want ErrTarget", err)
	}
	if left := leftovers(t, parent, "theirs"); left != nil || b.fetches() != before {
		t.Errorf("left %v, %d fetches", left, b.fetches()-before)
	}
}
