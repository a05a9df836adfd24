package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
	"github.com/modelreg/modelreg/pkg/transfer"
)

var _ transfer.DirectWriter = (*store.Partial)(nil)

// bigBlob is one that is written past the page cache, and ends within a block.
func bigBlob() ([]byte, ocispec.Descriptor) {
	b := blobOf(1, 64<<20+5000)
	return b, storetest.Blob(b)
}

// A countingDisk knows how many bytes went past the page cache, and refuses those
// after some.
type countingDisk struct {
	store.OSDisk
	direct, most int
	refusal      error
}

func (d *countingDisk) WriteAt(f *os.File, b []byte, off int64) (int, error) {
	if store.IsDirect(f) {
		if d.direct+len(b) > d.most {
			return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: d.refusal}
		}
		d.direct += len(b)
	}
	return d.OSDisk.WriteAt(f, b, off)
}

// writeInPieces writes b in pieces of a buffer, but for a short one now and then.
func writeInPieces(t *testing.T, p *store.Partial, b []byte) error {
	t.Helper()
	const buffer = 1 << 20
	buf := make([]byte, buffer)
	random := rand.New(rand.NewPCG(1, 2))
	for off := 0; off < len(b); {
		n := min(buffer-off%buffer, len(b)-off)
		if random.IntN(4) == 0 {
			n = 1 + random.IntN(n)
		}
		if _, err := p.WriteDirect(buf[:copy(buf, b[off:off+n])], int64(off)); err != nil {
			return err
		}
		off += n
	}
	return nil
}

func TestWriteDirect(t *testing.T) {
	b, desc := bigBlob()
	tests := map[string]*countingDisk{
		"all":               {most: len(b)},
		"refused at once":   {refusal: syscall.EINVAL},
		"refused later":     {most: 9 << 20, refusal: syscall.EINVAL},
		"not supported":     {refusal: syscall.ENOTSUP},
		"the disk is full":  {most: 20 << 20, refusal: syscall.ENOSPC},
		"the disk is dying": {most: 20 << 20, refusal: syscall.EIO},
	}
	for name, disk := range tests {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			p := openPartial(t, root, "weights", desc)
			p.SetDisk(disk)
			if _, _, err := p.Resume(); err != nil {
				t.Fatal(err)
			}
			possible := store.TakesDirect(root)
			t.Logf("past the page cache is possible here: %v", possible)
			err := writeInPieces(t, p, b)
			if fatal := errors.Is(disk.refusal, syscall.ENOSPC) || errors.Is(disk.refusal, syscall.EIO); fatal && possible {
				if !errors.Is(err, disk.refusal) {
					t.Errorf("error = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			if _, err := io.Copy(h, io.NewSectionReader(p, 0, desc.Size)); err != nil || !bytes.Equal(h.Sum(nil), sum(b)) {
				t.Errorf("read back other bytes, %v", err)
			}
			if err := p.Commit(); err != nil {
				t.Fatal(err)
			}
			if got, err := root.ReadFile("weights"); err != nil || !bytes.Equal(got, b) {
				t.Errorf("the file has other bytes, %v", err)
			}
			if want := min(disk.most-1<<20, len(b)/2); possible && disk.direct < want {
				t.Errorf("%d bytes went past the page cache, want %d", disk.direct, want)
			}
		})
	}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// A small blob goes through the page cache, and so does one in pieces.
func TestWriteDirectNot(t *testing.T) {
	b := blobOf(3, 4<<20)
	desc := storetest.Blob(b)
	for name, p := range map[string]*store.Partial{
		"small":  openPartial(t, openRoot(t), "weights", desc),
		"pieces": openPieces(t, openRoot(t), b, pieceLists(b)["gaps of a block"]...),
	} {
		disk := &countingDisk{refusal: syscall.EIO}
		p.SetDisk(disk)
		if _, err := p.WriteDirect(b[:1<<20], 0); err != nil || disk.direct != 0 {
			t.Errorf("%s: %d bytes went past the page cache, %v", name, disk.direct, err)
		}
		if _, err := p.WriteDirect(b, 1); err == nil {
			t.Errorf("%s: bytes past the end were taken", name)
		}
	}
}

// What is on the disk goes from the page cache, and reads as before.
func TestUncache(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if !store.TakesDirect(root) {
		t.Skip("the files of this system or file system are always in memory, or nobody can tell")
	}
	b, desc := bigBlob()
	p := openPartial(t, root, "weights", desc)
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "weights.partial")
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	p.Uncache(0, 32<<20)
	left, err := store.Cached(name)
	if err != nil {
		t.Fatal(err)
	}
	if most := desc.Size - 32<<20 + 1<<20; left > most {
		t.Errorf("%d bytes are in the page cache, want at most %d", left, most)
	}
	got := make([]byte, len(b))
	if _, err := p.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("read back other bytes, %v", err)
	}
}
