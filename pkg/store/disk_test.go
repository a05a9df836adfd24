package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

// A badDisk has room for some bytes, and fails the n-th sync or rename.
type badDisk struct {
	store.OSDisk
	mu                 sync.Mutex
	room               int
	failSync, failName int // counted down to 0
}

func (d *badDisk) WriteAt(f *os.File, b []byte, off int64) (int, error) {
	d.mu.Lock()
	room := min(d.room, len(b))
	d.room -= room
	d.mu.Unlock()
	n, err := d.OSDisk.WriteAt(f, b[:room], off)
	if err == nil && n < len(b) {
		err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func (d *badDisk) countdown(n *int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	*n--
	return *n == 0
}

func (d *badDisk) Sync(f *os.File) error {
	if d.countdown(&d.failSync) {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: syscall.EIO}
	}
	return d.OSDisk.Sync(f)
}

func (d *badDisk) Rename(root *os.Root, from, to string) error {
	if d.countdown(&d.failName) {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOSPC}
	}
	return d.OSDisk.Rename(root, from, to)
}

// TestFullDisk pushes and tags with less and less room. What does not fit is an
// error with the system's reason, and nothing else.
func TestFullDisk(t *testing.T) {
	b := blobOf(1, 40_000)
	desc := storetest.Blob(b)
	const journal = 2048
	for _, room := range []int{0, 1, journal, journal + 20_000, journal + 39_999, journal + 40_000, journal + 40_100, journal + 41_000} {
		s := openStore(t, t.TempDir())
		s.SetDisk(&badDisk{room: room})
		err := s.Push(t.Context(), desc, bytes.NewReader(b))
		if err == nil {
			err = s.Tag(t.Context(), desc, "v1")
		}
		if fits := room >= journal+41_000; (err == nil) != fits {
			t.Errorf("room for %d: error = %v", room, err)
		} else if !fits && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d: error = %v, want ENOSPC", room, err)
		}
		if ok, err := s.Exists(t.Context(), desc); ok != (room >= journal+40_000) || err != nil {
			t.Errorf("room for %d: Exists = %v, %v", room, ok, err)
		}
		if u, err := s.Usage(t.Context()); err != nil || u.Partials != 0 {
			t.Errorf("room for %d: Usage = %+v, %v, want nothing left over", room, u, err)
		}
		s.SetDisk(store.OSDisk{})
		pushBlob(t, s, b)
		if err := s.Tag(t.Context(), desc, "v1"); err != nil {
			t.Errorf("with room again: %v", err)
		}
	}
}

// TestFailingDisk has each sync and each rename of a Push and a Tag fail.
func TestFailingDisk(t *testing.T) {
	b := blobOf(1, 1000)
	desc := storetest.Blob(b)
	tests := map[string]func(n int) *badDisk{
		"sync":   func(n int) *badDisk { return &badDisk{room: 1 << 20, failSync: n} },
		"rename": func(n int) *badDisk { return &badDisk{room: 1 << 20, failName: n} },
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				s := openStore(t, t.TempDir())
				s.SetDisk(fail(n))
				err := s.Push(t.Context(), desc, bytes.NewReader(b))
				if err == nil {
					err = s.Tag(t.Context(), desc, "v1")
				}
				if err == nil {
					if n < 3 {
						t.Errorf("only %d steps can fail", n-1)
					}
					return // no n-th step
				}
				s.SetDisk(store.OSDisk{})
				for f, err := range s.Verify(t.Context()) {
					t.Errorf("step %d: Verify found %+v, %v", n, f, err)
				}
				pushBlob(t, s, b)
				if err := s.Tag(t.Context(), desc, "v1"); err != nil {
					t.Errorf("step %d: Tag on a good disk error = %v", n, err)
				}
			}
		})
	}
}

// TestSyncIsNotRetried has fsync fail once. The kernel would let a second one
// succeed, over pages it has lost.
func TestSyncIsNotRetried(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 4*step)
	desc := storetest.Blob(b)
	p := openPartial(t, root, "f", desc)
	p.SetDisk(&badDisk{room: 1 << 20, failSync: 1})
	writeSteps(t, p, b, 4)
	for range 2 {
		if err := p.Commit(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Commit error = %v, want EIO", err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = openPartial(t, root, "f", desc)
	if n, err := ingest(p, desc, b); n != 0 || err != nil {
		t.Errorf("after a failed sync resumed from %d, %v, want 0", n, err)
	}
}

// TestFullDiskKeepsCheckpoint goes on after the disk was full.
func TestFullDiskKeepsCheckpoint(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 6*step)
	desc := storetest.Blob(b)
	p := openPartial(t, root, "f", desc)
	p.SetDisk(&badDisk{room: 3*step + 4000})
	if _, err := ingest(p, desc, b); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ingest error = %v, want ENOSPC", err)
	}
	p = openPartial(t, root, "f", desc)
	if n, err := ingest(p, desc, b); n < 2*step || err != nil {
		t.Errorf("resumed from %d, %v, want at least %d", n, err, 2*step)
	}
}

func TestReadOnlyStore(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	s := openStore(t, dir)
	desc := pushBlob(t, s, []byte("readable"))
	s.Close()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(name, 0o500)
			t.Cleanup(func() { _ = os.Chmod(name, 0o700) })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if _, err := content.FetchAll(t.Context(), s, desc); err != nil {
		t.Errorf("FetchAll error = %v", err)
	}
	other := storetest.Blob([]byte("not writable"))
	if err := s.Push(t.Context(), other, bytes.NewReader([]byte("not writable"))); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Push error = %v, want fs.ErrPermission", err)
	}
}

func TestFreeSpace(t *testing.T) {
	if n, err := store.FreeSpace(t.TempDir()); n <= 0 && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("FreeSpace = %d, %v, want some", n, err)
	}
	if _, err := store.FreeSpace(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("FreeSpace of nowhere error = nil, want one")
	}
}
