package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

// pieceAt is the piece of b with so many bytes from an offset.
func pieceAt(b []byte, off, size int64) store.Piece {
	d := digest.FromBytes(b[off : off+size])
	return store.Piece{Offset: off, Size: size, Digest: d, Name: d.Encoded()}
}

func openPieces(t *testing.T, root *os.Root, b []byte, list ...store.Piece) *store.Partial {
	t.Helper()
	p, err := store.OpenPieces(t.Context(), root, "dir/blob", storetest.Blob(b), list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// pieceLists are ways to cut a blob of 8 steps and a bit.
func pieceLists(b []byte) map[string][]store.Piece {
	return map[string][]store.Piece{
		"none":            nil,
		"all":             {pieceAt(b, 0, int64(len(b)))},
		"at both ends":    {pieceAt(b, 0, step), pieceAt(b, int64(len(b)-5), 5)},
		"side by side":    {pieceAt(b, 10, 1), pieceAt(b, 11, 2*step), pieceAt(b, 11+2*step, 3*step)},
		"not in order":    {pieceAt(b, 5*step, step), pieceAt(b, 2*step+7, 100), pieceAt(b, 1, 1)},
		"gaps of a block": {pieceAt(b, 512, 700), pieceAt(b, 2048, step), pieceAt(b, 2048+step+512, 3*step)},
	}
}

func TestPiecesCommit(t *testing.T) {
	b := blobOf(1, 8*step+17)
	for name, list := range pieceLists(b) {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			p := openPieces(t, root, b, list...)
			writeSteps(t, p, b, 3)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = openPieces(t, root, b, list...)
			if n, err := ingest(p, storetest.Blob(b), b); n != 3*step || err != nil {
				t.Errorf("resumed from %d, %v, want %d", n, err, 3*step)
			}
			var want []string
			for _, q := range list {
				want = append(want, "dir/"+q.Name)
				if got, err := root.ReadFile("dir/" + q.Name); err != nil || digest.FromBytes(got) != q.Digest {
					t.Errorf("%s is wrong: %v", q.Name, err)
				}
				if fi, err := root.Stat("dir/" + q.Name); err != nil || fi.Mode() != 0o644 {
					t.Errorf("%s: mode %v, %v", q.Name, fi.Mode(), err)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, names(t, root)); diff != "" {
				t.Errorf("files after Commit (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever is written, the bytes are where they would be in one file.
func TestPiecesAreOneBlob(t *testing.T) {
	b := blobOf(2, 8*step+17)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for name, list := range pieceLists(b) {
		t.Run(name, func(t *testing.T) {
			p := openPieces(t, openRoot(t), b, list...)
			one := openPartial(t, openRoot(t), "f", storetest.Blob(b))
			for range 50 {
				off := random.Int64N(int64(len(b)))
				piece := b[off:min(off+random.Int64N(3*step), int64(len(b)))]
				for _, w := range []io.WriterAt{p, one} {
					if n, err := w.WriteAt(piece, off); n != len(piece) || err != nil {
						t.Fatalf("WriteAt %d bytes at %d = %d, %v", len(piece), off, n, err)
					}
				}
				got, want := make([]byte, len(piece)), make([]byte, len(piece))
				_, gotErr := p.ReadAt(got, off)
				_, wantErr := one.ReadAt(want, off)
				if !bytes.Equal(got, want) || (gotErr == nil) != (wantErr == nil) {
					t.Fatalf("ReadAt %d bytes at %d: %v, want %v", len(piece), off, gotErr, wantErr)
				}
			}
			if _, err := p.ReadAt(make([]byte, 2), int64(len(b))-1); !errors.Is(err, io.EOF) {
				t.Errorf("ReadAt past the end: %v, want EOF", err)
			}
		})
	}
}

// What was not written by the last checkpoint, or to another layout, is written
// again.
func TestPiecesResume(t *testing.T) {
	b := blobOf(3, 8*step+17)
	list := pieceLists(b)["gaps of a block"]
	tests := map[string]struct {
		next []store.Piece
		edit func(t *testing.T, root *os.Root, dir string)
		from int64
		kept []int
	}{
		"same":              {list, nil, 2 * step, []int{4, 6}},
		"other places":      {list[:2], nil, 0, nil},
		"piece is gone":     {list, func(t *testing.T, root *os.Root, dir string) { remove(t, root, dir+"/1") }, 0, []int{4, 6}},
		"piece is shorter":  {list, func(t *testing.T, root *os.Root, dir string) { truncate(t, root, dir+"/1", 10) }, 0, []int{4, 6}},
		"all but a journal": {list, func(t *testing.T, root *os.Root, dir string) { remove(t, root, dir) }, 0, nil},
		"no journal": {list, func(t *testing.T, root *os.Root, dir string) {
			remove(t, root, strings.TrimSuffix(dir, ".pieces")+".journal")
		}, 0, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			p := openPieces(t, root, b, list...)
			writeSteps(t, p, b, 2)
			keep(t, p, b, 4, 6)
			if _, err := p.WriteAt(b[7*step:], 7*step); err != nil { // nobody recorded it
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if test.edit != nil {
				test.edit(t, root, piecesDir(t, root))
			}
			p = openPieces(t, root, b, test.next...)
			n, _, err := p.Resume()
			if n != test.from || err != nil {
				t.Errorf("Resume = %d, %v, want %d", n, err, test.from)
			}
			if diff := cmp.Diff(test.kept, kept(t, p, b)); diff != "" {
				t.Errorf("parts (-want +got):\n%s", diff)
			}
			if _, err := p.ReadAt(make([]byte, 1), 7*step+5); !errors.Is(err, io.EOF) {
				t.Errorf("what nobody recorded is still there: %v", err)
			}
		})
	}
}

func TestPiecesRefuse(t *testing.T) {
	b := blobOf(4, 8*step+17)
	wrong := pieceAt(b, step, step)
	wrong.Digest = digest.FromString("other")
	t.Run("wrong digest", func(t *testing.T) {
		root := openRoot(t)
		p := openPieces(t, root, b, pieceAt(b, 0, 9), wrong)
		writeSteps(t, p, b, 8)
		if _, err := p.WriteAt(b[8*step:], 8*step); err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("Commit error = %v, want ErrCorrupt", err)
		}
		got := make([]byte, len(b))
		if _, err := p.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
			t.Errorf("the blob cannot be read any more: %v", err)
		}
		if err := p.Reset(); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left := names(t, root); left != nil {
			t.Errorf("files are left: %v", left)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		root := openRoot(t)
		p, err := store.OpenPieces(ctx, root, "dir/blob", storetest.Blob(b), []store.Piece{pieceAt(b, 0, 9)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		cancel()
		if _, err := ingest(p, storetest.Blob(b), b); !errors.Is(err, context.Canceled) {
			t.Errorf("Commit error = %v, want context.Canceled", err)
		}
	})
	for name, list := range map[string][]store.Piece{
		"overlap":       {pieceAt(b, 0, 10), pieceAt(b, 9, 10)},
		"empty":         {pieceAt(b, 7, 0)},
		"before":        {{Offset: -1, Size: 3, Digest: wrong.Digest, Name: "x"}},
		"behind":        {{Offset: int64(len(b)) - 2, Size: 3, Digest: wrong.Digest, Name: "x"}},
		"no digest":     {{Size: 3, Name: "x"}},
		"outside":       {{Size: 3, Digest: wrong.Digest, Name: "../x"}},
		"far too large": {{Size: 1 << 62, Digest: wrong.Digest, Name: "x"}},
	} {
		if p, err := store.OpenPieces(t.Context(), openRoot(t), "dir/blob", storetest.Blob(b), list); err == nil {
			t.Errorf("%s: no error", name)
			p.Close()
		}
	}
}

// A disk that fails leaves no journal that promises bytes, and no name without
// the bytes.
func TestPiecesOnABadDisk(t *testing.T) {
	b := blobOf(5, 8*step+17)
	list := pieceLists(b)["gaps of a block"]
	for what, disk := range map[string]func(n int) *badDisk{
		"sync":   func(n int) *badDisk { return &badDisk{room: 1 << 30, failSync: n} },
		"rename": func(n int) *badDisk { return &badDisk{room: 1 << 30, failName: n} },
	} {
		for n := 1; n <= len(list); n++ {
			t.Run(fmt.Sprintf("%s/%d", what, n), func(t *testing.T) {
				root := openRoot(t)
				p := openPieces(t, root, b, list...)
				p.SetDisk(disk(n))
				if _, err := ingest(p, storetest.Blob(b), b); err == nil {
					t.Fatal("no error")
				}
				p.Close()
				for _, q := range list {
					if got, err := root.ReadFile("dir/" + q.Name); err == nil && digest.FromBytes(got) != q.Digest {
						t.Errorf("%s has a name and the wrong bytes", q.Name)
					}
				}
				if n, err := ingest(openPieces(t, root, b, list...), storetest.Blob(b), b); n != 0 || err != nil {
					t.Errorf("the next run went on from %d: %v", n, err)
				}
			})
		}
	}
}

func piecesDir(t *testing.T, root *os.Root) string {
	t.Helper()
	for _, name := range names(t, root) {
		if dir, _, ok := strings.Cut(name, ".pieces/"); ok {
			return dir + ".pieces"
		}
	}
	t.Fatal("there are no pieces")
	return ""
}

func remove(t *testing.T, root *os.Root, name string) {
	t.Helper()
	if err := root.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, root *os.Root, name string, size int64) {
	t.Helper()
	f, err := root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}
