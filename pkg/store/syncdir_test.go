package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/modelreg/modelreg/pkg/store"
)

// File systems that have no fsync of directories are good enough; a disk that
// fails is not.
func TestSyncDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("directories are not synced there")
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := store.SyncDir(root, "."); err != nil {
		t.Error(err)
	}
	if err := store.SyncDir(root, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
	for cause, tolerated := range map[error]bool{syscall.EINVAL: true, syscall.ENOTSUP: true, syscall.EIO: false} {
		t.Run(fmt.Sprint(cause), func(t *testing.T) {
			err := store.SyncDirOn(func(*os.File) error { return &fs.PathError{Op: "sync", Err: cause} }, root, ".")
			if tolerated != (err == nil) {
				t.Errorf("SyncDir: %v", err)
			}
		})
	}
}
