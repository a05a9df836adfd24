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
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// An indexEntry is what an index says of a file.
type indexEntry struct {
	Path   string        `json:"path"`
	Offset int64         `json:"offset"`
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
}

// lying makes an artifact of one archive and what its index says of it.
func lying(t *testing.T, b *blobs, data []byte, entries ...indexEntry) *artifact.Artifact {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"layers": []any{
		map[string]any{"digest": digest.FromBytes(data), "files": entries},
	}})
	if err != nil {
		t.Fatal(err)
	}
	index := named(".modelreg/index.json")
	index[mediatypes.AnnotationTarIndex] = "v1"
	return mustOpen(t, b, modelPack(
		b,
		layerSpec{"application/vnd.cncf.model.doc.v1.raw", raw, index},
		layerSpec{"application/vnd.cncf.model.doc.v1.tar", data, named("d")},
	))
}

// What an index says is compared with what is in the archive: places that are
// wrong do no harm, and files that are not there are not made.
func TestUnpackIndexThatLies(t *testing.T) {
	const body = "the bytes of a file"
	good := tarOf(file("d/a", body), file("d/none/", ""), file("d/b", strings.Repeat(body, 50)))
	a := indexEntry{"d/a", 512, int64(len(body)), digest.FromString(body)}
	b := indexEntry{"d/b", 2048, int64(50 * len(body)), digest.FromString(strings.Repeat(body, 50))}
	lie := func(e indexEntry, how func(e *indexEntry)) indexEntry {
		how(&e)
		return e
	}
	want := map[string]string{"d/a": body, "d/b": strings.Repeat(body, 50), "d/none/": ""}
	tests := map[string]struct {
		data    []byte
		entries []indexEntry
		err     error // nil: want
	}{
		"nothing":       {good, []indexEntry{a, b}, nil},
		"offset":        {good, []indexEntry{a, lie(b, func(e *indexEntry) { e.Offset += 512 })}, nil},
		"into headers":  {good, []indexEntry{lie(a, func(e *indexEntry) { e.Offset += 512 }), b}, nil},
		"size":          {good, []indexEntry{a, lie(b, func(e *indexEntry) { e.Size-- })}, nil},
		"digest":        {good, []indexEntry{lie(a, func(e *indexEntry) { e.Digest = b.Digest }), b}, content.ErrMismatchedDigest},
		"name":          {good, []indexEntry{lie(a, func(e *indexEntry) { e.Path = "d/x" }), b}, content.ErrMismatchedDigest},
		"one more":      {good, []indexEntry{a, b, lie(a, func(e *indexEntry) { e.Path, e.Offset = "d/z", 3584 })}, artifact.ErrUnsafe},
		"one less":      {good, []indexEntry{a}, content.ErrMismatchedDigest},
		"link":          {tarOf(file("d/a", body), link("d/b", "/etc/passwd")), []indexEntry{a}, artifact.ErrUnsafe},
		"escape":        {tarOf(file("d/a", body), file("../b", body)), []indexEntry{a}, artifact.ErrUnsafe},
		"no archive":    {[]byte(strings.Repeat("x", 4096)), []indexEntry{a}, artifact.ErrUnsafe},
		"cut":           {good[:2048+700], []indexEntry{a}, artifact.ErrUnsafe},
		"data at end":   {append(good[:len(good):len(good)], 'x'), []indexEntry{a, b}, artifact.ErrUnsafe},
		"file over dir": {tarOf(file("d/a", body), file("d/a/", "")), []indexEntry{a}, artifact.ErrUnsafe},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			parent := t.TempDir()
			out := filepath.Join(parent, "m")
			_, err := artifact.Unpack(t.Context(), lying(t, b, test.data, test.entries...), b, out, artifact.UnpackOptions{})
			if !errors.Is(err, test.err) {
				t.Fatalf("Unpack error = %v, want %v", err, test.err)
			}
			if test.err != nil {
				if left := leftovers(t, parent); left != nil {
					t.Errorf("left: %v", left)
				}
				return
			}
			if diff := cmp.Diff(want, withEmptyDirs(t, out)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// withEmptyDirs is readTree with the directories that nothing is in.
func withEmptyDirs(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := readTree(t, dir)
	for _, name := range []string{"d/none"} {
		if entries, err := os.ReadDir(filepath.Join(dir, name)); err == nil && len(entries) == 0 {
			files[name+"/"] = ""
		}
	}
	return files
}

// A source that breaks off for good after so many bytes.
type shortLived struct {
	ranged
	left atomic.Int64
}

func (s *shortLived) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	rc, err := s.ranged.FetchRange(ctx, desc, off, n)
	return s.cut(rc), err
}

func (s *shortLived) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := s.ranged.Fetch(ctx, desc)
	return s.cut(rc), err
}

func (s *shortLived) cut(rc io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(rc, s), rc}
}

// Write counts what was read.
func (s *shortLived) Write(p []byte) (int, error) {
	if s.left.Add(-int64(len(p))) < 0 {
		return 0, errCut
	}
	return len(p), nil
}

// The files of an archive lie apart from the beginning, and an interrupted
// archive goes on in the middle.
func TestUnpackArchiveInParts(t *testing.T) {
	files := make(map[string]string)
	for i := range 520 {
		files[fmt.Sprintf("data/%03d.txt", i)] = randomText(90_000 + i)
	}
	files["data/last.txt"], files["data/same.txt"] = "", files["data/000.txt"]
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
	parent := t.TempDir()
	out := filepath.Join(parent, "m")
	src := &shortLived{ranged: ranged{b}}
	src.left.Store(40 << 20)
	if _, err := artifact.Unpack(t.Context(), a, src, out, artifact.UnpackOptions{}); !errors.Is(err, errCut) {
		t.Fatalf("Unpack = %v, want %v", err, errCut)
	}
	apart, whole := 0, int64(0)
	err := filepath.WalkDir(parent, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if strings.HasSuffix(filepath.Dir(name), ".pieces") {
			apart++
		}
		info, err := e.Info()
		if err == nil {
			whole = max(whole, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if apart < 100 || whole > 1<<20 {
		t.Errorf("%d files lie apart, and the longest has %d bytes", apart, whole)
	}
	src.left.Store(1 << 30)
	u := mustUnpack(t, a, src, out, artifact.UnpackOptions{})
	if u.Reused < 16<<20 || u.Fetched > 33<<20 || len(u.Notes) > 0 {
		t.Errorf("the next run: %+v", u)
	}
	if diff := cmp.Diff(files, readTree(t, out)); diff != "" {
		t.Error("files differ")
	}
	checkModes(t, out)
	if left := leftovers(t, parent, "m"); left != nil {
		t.Errorf("left: %v", left)
	}
}

// An archive that turns out wrong is thrown away, with all files that were in it.
func TestUnpackWrongArchive(t *testing.T) {
	b := newBlobs()
	a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), manyFiles()), b, artifact.PackOptions{}).Descriptor)
	for _, f := range a.Files {
		if f.Path == "data/300.txt" { // padding behind a file is no file's
			b.content[f.Layer.Digest][f.Offset+f.Size] ^= 1
		}
	}
	parent := t.TempDir()
	tries := 0
	_, err := artifact.Unpack(t.Context(), a, b, filepath.Join(parent, "m"), artifact.UnpackOptions{Workers: 1, Observe: func(e transfer.Event) {
		if e.Action == transfer.Retry {
			tries++
		}
	}})
	if !errors.Is(err, content.ErrMismatchedDigest) || tries != 1 {
		t.Errorf("Unpack error = %v after %d tries more, want a wrong digest after 1", err, tries)
	}
	if left := leftovers(t, parent); left != nil {
		t.Errorf("left: %v", left)
	}
}
