package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
	"github.com/modelreg/modelreg/pkg/transfer"
)

var (
	_ transfer.Partial      = (*store.Partial)(nil)
	_ transfer.PartKeeper   = (*store.Partial)(nil)
	_ transfer.RangeFetcher = (*store.Store)(nil)
	_ transfer.Target       = (*store.Store)(nil)
)

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names lists all regular files below a root.
func names(t *testing.T, root *os.Root) []string {
	t.Helper()
	var list []string
	err := fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func openPartial(t *testing.T, root *os.Root, name string, desc ocispec.Descriptor) *store.Partial {
	t.Helper()
	p, err := store.OpenPartial(root, name, desc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// writeSteps writes the first n steps of b with a checkpoint after each.
func writeSteps(t *testing.T, p *store.Partial, b []byte, n int) {
	t.Helper()
	_, state, err := p.Resume()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		piece := b[i*step : (i+1)*step]
		if _, err := p.WriteAt(piece, int64(i*step)); err != nil {
			t.Fatal(err)
		}
		state.Write(piece)
		if err := p.Checkpoint(int64((i+1)*step), state); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenPartialCommits(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			root := openRoot(t)
			b := blobOf(1, 5*step+17)
			desc := ocispec.Descriptor{Digest: alg.FromBytes(b), Size: int64(len(b))}
			p := openPartial(t, root, "dir/model.gguf", desc)
			writeSteps(t, p, b, 3)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"dir/model.gguf.journal", "dir/model.gguf.partial"}, names(t, root)); diff != "" {
				t.Errorf("files after Close (-want +got):\n%s", diff)
			}
			p = openPartial(t, root, "dir/model.gguf", desc)
			if n, err := ingest(p, desc, b); n != 3*step || err != nil {
				t.Errorf("resumed from %d, %v, want %d", n, err, 3*step)
			}
			if diff := cmp.Diff([]string{"dir/model.gguf"}, names(t, root)); diff != "" {
				t.Errorf("files after Commit (-want +got):\n%s", diff)
			}
			if got, err := root.ReadFile("dir/model.gguf"); err != nil || !bytes.Equal(got, b) {
				t.Errorf("file is wrong: %v", err)
			}
			if err := p.Commit(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("second Commit error = %v, want fs.ErrClosed", err)
			}
			if err := p.Reset(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Reset after Commit error = %v, want fs.ErrClosed", err)
			}
			if got, err := root.ReadFile("dir/model.gguf"); err != nil || !bytes.Equal(got, b) {
				t.Errorf("file is wrong after Reset: %v", err)
			}
		})
	}
}

func TestPartialIsLocked(t *testing.T) {
	root := openRoot(t)
	desc := storetest.Blob([]byte("one at a time"))
	p := openPartial(t, root, "f", desc)
	if q, err := store.OpenPartial(root, "f", desc); !errors.Is(err, store.ErrLocked) {
		t.Errorf("second OpenPartial = %v, %v, want ErrLocked", q, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	openPartial(t, root, "f", desc)
}

// TestPartialIsContended has many want the same file at the same time.
func TestPartialIsContended(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 3*step)
	desc := storetest.Blob(b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for done := 0; done < 5; {
				p, err := store.OpenPartial(root, "f", desc)
				if errors.Is(err, store.ErrLocked) {
					continue
				}
				if err == nil {
					_, err = ingest(p, desc, b)
				}
				if err != nil {
					t.Error(err)
				}
				if got, err := root.ReadFile("f"); err != nil || !bytes.Equal(got, b) {
					t.Errorf("file is wrong: %v", err)
				}
				done++
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]string{"f"}, names(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestPartialWithoutCheckpointLeavesNothing(t *testing.T) {
	root := openRoot(t)
	p := openPartial(t, root, "f", storetest.Blob([]byte("abc")))
	if _, err := p.WriteAt([]byte("ab"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, root); len(got) > 0 {
		t.Errorf("files after Close: %v", got)
	}
}

// TestCloseBeforeResumeKeeps has a run end before it came to look at what an
// earlier one left.
func TestCloseBeforeResumeKeeps(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 4*step)
	for i := range 2 {
		p := openPartial(t, root, "f", storetest.Blob(b))
		if i == 0 {
			writeSteps(t, p, b, 2)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p := openPartial(t, root, "f", storetest.Blob(b))
	if n, _, err := p.Resume(); n != 2*step || err != nil {
		t.Errorf("Resume = %d, %v, want %d", n, err, 2*step)
	}
}

func TestPartialRefuses(t *testing.T) {
	root := openRoot(t)
	p := openPartial(t, root, "f", storetest.Blob([]byte("12345")))
	for _, w := range []struct {
		text string
		off  int64
	}{{"1", -1}, {"1", 5}, {"123456", 0}, {"12", 4}, {"1", 1<<63 - 1}} {
		if _, err := p.WriteAt([]byte(w.text), w.off); err == nil {
			t.Errorf("WriteAt(%q, %d) error = nil, want one", w.text, w.off)
		}
	}
	for _, n := range []int64{-1, 6} {
		if err := p.Checkpoint(n, sha256.New()); err == nil {
			t.Errorf("Checkpoint(%d) error = nil, want one", n)
		}
	}
	if err := p.Checkpoint(1, struct{ hash.Hash }{sha256.New()}); err == nil {
		t.Error("Checkpoint of a hash without state error = nil, want one")
	}
	if _, err := p.WriteAt([]byte("1234"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Commit of too few bytes error = %v, want ErrCorrupt", err)
	}
	if diff := cmp.Diff([]string{"f.journal", "f.partial"}, names(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, desc := range []ocispec.Descriptor{{}, {Digest: "sha256:..", Size: 1}, {Digest: digest.FromString(""), Size: -1}} {
		if p, err := store.OpenPartial(root, "g", desc); err == nil {
			p.Close()
			t.Errorf("OpenPartial(%v) error = nil, want one", desc)
		}
	}
	for _, name := range []string{"../f", "/f", "a/../../f"} {
		if p, err := store.OpenPartial(root, name, storetest.Blob(nil)); err == nil {
			p.Close()
			t.Errorf("OpenPartial(%q) error = nil, want one", name)
		}
	}
}

// TestPartialNameCollides has an artifact with a file that is called like the
// temporary name of another.
func TestPartialNameCollides(t *testing.T) {
	root := openRoot(t)
	good, evil := []byte("good bytes"), []byte("evil bytes")
	p := openPartial(t, root, "a", storetest.Blob(good))
	if _, err := p.WriteAt(good, 0); err != nil {
		t.Fatal(err)
	}
	q := openPartial(t, root, "a.partial", storetest.Blob(evil))
	if _, err := q.WriteAt(evil, 0); err != nil {
		t.Fatal(err)
	}
	if err := q.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err == nil {
		t.Error("Commit error = nil, want one")
	}
	if got, err := root.ReadFile("a"); err == nil {
		t.Errorf("file is there with %q", got)
	}
}

// TestPartialLeavesForeignFilesAlone has files of an artifact, or of the user,
// under the names that a partial would use.
func TestPartialLeavesForeignFilesAlone(t *testing.T) {
	b := blobOf(1, 2*step)
	desc := storetest.Blob(b)
	for name, foreign := range map[string]map[string]string{
		"data":          {"f.partial": "mine"},
		"empty data":    {"f.partial": ""},
		"journal":       {"f.journal": "mine"},
		"empty journal": {"f.journal": ""},
		"both":          {"f.partial": "mine", "f.journal": strings.Repeat(" ", 2048)},
		"both empty":    {"f.partial": "", "f.journal": ""},
		"later version": {"f.partial": "mine", "f.journal": `{"version":2}` + strings.Repeat(" ", 2048-13)},
	} {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			want := map[string]string{"f": string(b)}
			for name, text := range foreign {
				want[name] = text
				if err := root.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cut := openPartial(t, root, "f", desc)
			writeSteps(t, cut, b, 1)
			if err := cut.Close(); err != nil {
				t.Fatal(err)
			}
			if n, err := ingest(openPartial(t, root, "f", desc), desc, b); n != 0 || err != nil {
				t.Errorf("resumed from %d, %v, want 0", n, err)
			}
			if diff := cmp.Diff(want, tree(t, root)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJournalNameCollides has a file of an artifact come to lie over a journal.
func TestJournalNameCollides(t *testing.T) {
	root := openRoot(t)
	b, other := blobOf(1, 2*step), []byte("called like a journal")
	p := openPartial(t, root, "f", storetest.Blob(b))
	writeSteps(t, p, b, 2)
	if _, err := ingest(openPartial(t, root, "f.journal", storetest.Blob(other)), storetest.Blob(other), other); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"f": string(b), "f.journal": string(other)}, tree(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestResumeTwice goes on from a checkpoint made after a resume, and back to an
// earlier one.
func TestResumeTwice(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 6*step)
	desc := storetest.Blob(b)
	for _, to := range []int64{3 * step, 5 * step, 2 * step} {
		p := openPartial(t, root, "f", desc)
		if _, _, err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.WriteAt(b[:to], 0); err != nil {
			t.Fatal(err)
		}
		state := sha256.New()
		state.Write(b[:to])
		if err := p.Checkpoint(to, state); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = openPartial(t, root, "f", desc)
		n, state, err := p.Resume()
		if n != to || err != nil {
			t.Errorf("Resume = %d, %v, want %d", n, err, to)
		}
		if want := sha256.Sum256(b[:to]); !bytes.Equal(state.Sum(nil), want[:]) {
			t.Errorf("Resume at %d has another state", to)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResetForgets(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 4*step)
	desc := storetest.Blob(b)
	p := openPartial(t, root, "f", desc)
	writeSteps(t, p, b, 3)
	if err := p.Reset(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := p.Resume(); n != 0 || err != nil {
		t.Errorf("Resume after Reset = %d, %v, want 0", n, err)
	}
	if n, err := ingest(p, desc, b); n != 0 || err != nil {
		t.Errorf("ingest after Reset = %d, %v", n, err)
	}
}

// TestStoreAdoptsLongestPartial leaves several partials of one blob behind.
func TestStoreAdoptsLongestPartial(t *testing.T) {
	s := openStore(t, t.TempDir())
	b := blobOf(1, 6*step)
	desc := storetest.Blob(b)
	var open []*store.Partial
	for _, n := range []int{2, 1, 4, 3, 1, 2} {
		p, err := s.Partial(desc)
		if err != nil {
			t.Fatal(err)
		}
		writeSteps(t, p, b, n)
		open = append(open, p)
	}
	for _, p := range open {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.Partial(desc)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := ingest(p, desc, b); n != 4*step || err != nil {
		t.Errorf("resumed from %d, %v, want %d", n, err, 4*step)
	}
	if u, err := s.Usage(t.Context()); err != nil || u.Partials != 0 || u.Blobs != 1 {
		t.Errorf("Usage = %+v, %v, want one blob and no partials", u, err)
	}
}

// TestCommitHeals commits over a blob that has gone bad with its size right.
func TestCommitHeals(t *testing.T) {
	s := openStore(t, t.TempDir())
	b := blobOf(1, 2*step)
	desc := pushBlob(t, s, b)
	flipBit(t, blobPath(s, desc.Digest), 77)
	p, err := s.Partial(desc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingest(p, desc, b); err != nil {
		t.Fatal(err)
	}
	if _, err := content.FetchAll(t.Context(), s, desc); err != nil {
		t.Errorf("FetchAll after Commit error = %v", err)
	}
}

// flipBit changes one bit of a read-only file.
func flipBit(t *testing.T, name string, bit int64) {
	t.Helper()
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], bit/8); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b[:], bit/8); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(0o444); err != nil {
		t.Fatal(err)
	}
}
