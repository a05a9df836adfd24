package store_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/store"
)

func TestOpenStaged(t *testing.T) {
	tests := map[string]struct {
		size    int
		journal bool
	}{
		"empty": {0, false},
		"small": {1<<20 - 1, false},
		"large": {1 << 20, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			data := bytes.Repeat([]byte{7}, tt.size)
			desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(tt.size)}
			// What a process that was killed has left is not taken for the blob.
			if !tt.journal {
				if err := os.WriteFile(filepath.Join(dir, "b.partial"), bytes.Repeat([]byte{1}, tt.size+10), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err := store.OpenStaged(root, "b", desc, 0o604)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if n, state, err := p.Resume(); n != 0 || state == nil || err != nil {
				t.Fatalf("Resume = %d, %v, %v", n, state, err)
			}
			if _, err := p.WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "b.journal")); (err == nil) != tt.journal {
				t.Errorf("journal: %v", err)
			}
			if err := p.Commit(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "b"))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if info, err := os.Lstat(filepath.Join(dir, "b")); err != nil || info.Mode() != fs.FileMode(0o604) {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
				t.Errorf("left %v, %v", names, err)
			}
		})
	}
}

// A small blob that did not come to its end leaves nothing.
func TestOpenStagedGivenUp(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	p, err := store.OpenStaged(root, "b", ocispec.Descriptor{Digest: digest.FromString("text"), Size: 4}, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("te"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err == nil {
		t.Error("half a blob was committed")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left %v, %v", names, err)
	}
}
