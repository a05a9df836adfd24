package store_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/store"
)

// A recordingDisk tells in which order files were synced and renamed.
type recordingDisk struct {
	store.OSDisk
	mu   sync.Mutex
	done []string // "sync NAME", "rename NAME", by the last elements of paths
}

func (d *recordingDisk) note(what, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, what+" "+filepath.Base(name))
}

func (d *recordingDisk) WriteAt(f *os.File, b []byte, off int64) (int, error) {
	d.note("write", f.Name())
	return d.OSDisk.WriteAt(f, b, off)
}

func (d *recordingDisk) Sync(f *os.File) error {
	d.note("sync", f.Name())
	return d.OSDisk.Sync(f)
}

func (d *recordingDisk) Rename(root *os.Root, from, to string) error {
	d.note("rename", to)
	return d.OSDisk.Rename(root, from, to)
}

// A blob gets its name when its bytes are durable, and is committed when its
// name is: whenever the power goes, a name never stands for other bytes.
func TestSyncOrder(t *testing.T) {
	b := blobOf(80, 3*step)
	desc := ocispec.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b))}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	p, err := store.OpenPartial(root, "dir/m.bin", desc)
	if err != nil {
		t.Fatal(err)
	}
	disk := &recordingDisk{}
	p.SetDisk(disk)
	if _, err := ingest(p, desc, b); err != nil {
		t.Fatal(err)
	}
	at := func(what string) int { return slices.Index(disk.done, what) }
	synced, named, dir := at("sync m.bin.partial"), at("rename m.bin"), at("sync dir")
	if runtime.GOOS == "windows" {
		dir = len(disk.done) // which syncs no directories
	}
	if synced < 0 || named < synced || dir < named {
		t.Errorf("synced at %d, renamed at %d, directory synced at %d: %q", synced, named, dir, disk.done)
	}
	if late := slices.Index(disk.done[max(synced, 0):], "write m.bin.partial"); late >= 0 {
		t.Errorf("written after the sync: %q", disk.done)
	}
}
