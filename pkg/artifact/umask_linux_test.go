package artifact_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/store"
)

// Whatever the umask, files that are put in place can be read by all and written
// by nobody else, and the store is its owner's.
func TestUnpackUmask(t *testing.T) {
	for name, mask := range map[string]int{"000": 0o000, "077": 0o077} {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			files := map[string]string{"a/big.bin": randomText(100_000), "small.txt": "small"}
			a := mustOpen(t, b, mustPack(t, writeTree(t, t.TempDir(), files), b, artifact.PackOptions{}).Descriptor)
			parent, kept := t.TempDir(), filepath.Join(t.TempDir(), "store")
			defer syscall.Umask(syscall.Umask(mask)) // of the process: no test here runs beside others
			s, err := store.Open(kept)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			mustUnpack(t, a, ranged{b}, filepath.Join(parent, "m"), artifact.UnpackOptions{Store: s})
			out := filepath.Join(parent, "m")
			refuseModes(t, out, 0o022)
			for name, want := range map[string]fs.FileMode{"small.txt": 0o644, "a/big.bin": 0o644, "a": 0o755} {
				if info, err := os.Stat(filepath.Join(out, name)); err != nil {
					t.Error(err)
				} else if info.Mode().Perm() != want {
					t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
				}
			}
			refuseModes(t, kept, 0o022)
			if info, err := os.Stat(kept); err != nil {
				t.Error(err)
			} else if info.Mode().Perm() != 0o700 {
				t.Errorf("the store has mode %v, want 0700", info.Mode())
			}
		})
	}
}

// refuseModes looks for bits that no file below dir may have.
func refuseModes(t *testing.T, dir string, refused fs.FileMode) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&refused != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
