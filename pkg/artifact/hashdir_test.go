package artifact_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
)

// digests is a DigestCache that a test looks into.
type digests struct {
	mu       sync.Mutex
	known    map[int64]digest.Digest // by size
	recorded map[string]digest.Digest
	look     func(fs.FileInfo)
}

func (d *digests) Lookup(fi fs.FileInfo) (digest.Digest, bool) {
	if d.look != nil {
		d.look(fi)
	}
	dgst, ok := d.known[fi.Size()]
	return dgst, ok
}

func (d *digests) Record(fi fs.FileInfo, dgst digest.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recorded[fi.Name()] = dgst
}

func hashTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "A", "sub/b": "BB", ".hidden": "hid", ".git/config": "git"} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"inside": "sub/b", "outside": os.Args[0], "dir": "sub", "nowhere": "gone"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip("links need a privilege there")
			}
			t.Fatal(err)
		}
	}
	return dir
}

func TestHashDir(t *testing.T) {
	dir := hashTree(t)
	skip := func(name string, isDir bool) bool { return name == ".git" && isDir }
	tests := map[string]struct {
		opts artifact.HashOptions
		want []artifact.DirFile
	}{
		"every file, and no link": {artifact.HashOptions{Skip: skip}, []artifact.DirFile{
			{Path: ".hidden", Size: 3, Digest: digest.FromString("hid")},
			{Path: "a", Size: 1, Digest: digest.FromString("A")},
			{Path: "dir", Other: "link"},
			{Path: "inside", Other: "link"},
			{Path: "nowhere", Other: "link"},
			{Path: "outside", Other: "link"},
			{Path: "sub/b", Size: 2, Digest: digest.FromString("BB")},
		}},
		"links that stay inside": {artifact.HashOptions{Skip: skip, Links: true}, []artifact.DirFile{
			{Path: ".hidden", Size: 3, Digest: digest.FromString("hid")},
			{Path: "a", Size: 1, Digest: digest.FromString("A")},
			{Path: "dir", Other: "link"},
			{Path: "inside", Size: 2, Digest: digest.FromString("BB")},
			{Path: "nowhere", Other: "link"},
			{Path: "outside", Other: "link"},
			{Path: "sub/b", Size: 2, Digest: digest.FromString("BB")},
		}},
		"what is wanted": {artifact.HashOptions{
			Skip: func(name string, _ bool) bool { return name[0] != 'a' && name[0] != 's' },
			Want: func(name string, size int64) bool { return name == "sub/b" && size == 2 },
		}, []artifact.DirFile{{Path: "a", Size: 1}, {Path: "sub/b", Size: 2, Digest: digest.FromString("BB")}}},
		"what is known": {artifact.HashOptions{
			Skip:    func(name string, _ bool) bool { return name[0] != 'a' && name[0] != 's' },
			Digests: &digests{known: map[int64]digest.Digest{1: digest.FromString("K")}, recorded: map[string]digest.Digest{}},
		}, []artifact.DirFile{
			{Path: "a", Size: 1, Digest: digest.FromString("K"), Known: true},
			{Path: "sub/b", Size: 2, Digest: digest.FromString("BB")},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := artifact.HashDir(t.Context(), dir, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(artifact.DirFile{})); diff != "" {
				t.Error(diff)
			}
			if c, ok := tt.opts.Digests.(*digests); ok && (len(c.recorded) != 1 || c.recorded["b"] != digest.FromString("BB")) {
				t.Errorf("recorded %v", c.recorded)
			}
		})
	}
}

// What changes under the reader has no digest.
func TestHashDirOfChangingFile(t *testing.T) {
	dir := hashTree(t)
	cache := &digests{recorded: map[string]digest.Digest{}}
	cache.look = func(fi fs.FileInfo) {
		if fi.Name() == "a" {
			if err := os.WriteFile(filepath.Join(dir, "a"), []byte("changed"), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := artifact.HashDir(t.Context(), dir, artifact.HashOptions{Digests: cache}); !errors.Is(err, artifact.ErrChanged) {
		t.Errorf("HashDir error = %v, want ErrChanged", err)
	}
	if d, ok := cache.recorded["a"]; ok {
		t.Errorf("recorded %s", d)
	}
}

func TestHashDirEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := artifact.HashDir(ctx, hashTree(t), artifact.HashOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("HashDir error = %v, want Canceled", err)
	}
	if _, err := artifact.HashDir(t.Context(), filepath.Join(t.TempDir(), "gone"), artifact.HashOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("HashDir error = %v, want ErrNotExist", err)
	}
}

// A pipe is named and not waited for.
func TestHashDirOfPipe(t *testing.T) {
	dir := t.TempDir()
	if err := mkfifo(filepath.Join(dir, "pipe")); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("no pipes there")
		}
		t.Fatal(err)
	}
	got, err := artifact.HashDir(t.Context(), dir, artifact.HashOptions{})
	if err != nil || len(got) != 1 || got[0].Other != "named pipe" || got[0].Digest != "" {
		t.Errorf("HashDir = %+v, %v", got, err)
	}
}
