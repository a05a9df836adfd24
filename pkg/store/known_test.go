package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
)

func TestKnownFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nothing tells a file from another there")
	}
	dir := t.TempDir()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.ChunkIndexes()
	if err != nil {
		t.Fatal(err)
	}
	know := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		f, ok := store.NewKnownFile(path, fi, digest.FromString("index of "+name))
		if !ok {
			t.Fatal("not a file to know")
		}
		c.Know(f)
		return path
	}
	a, b, gone, changed, link := know("a"), know("b"), know("gone"), know("changed"), know("link")
	know("a") // again: it moves to the front
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(b, link); err != nil {
		t.Fatal(err)
	}
	files := c.Files()
	if len(files) != 2 || files[0].Path != a || files[1].Path != b || files[0].Index != digest.FromString("index of a") {
		t.Fatalf("known files: %+v", files)
	}
	f, err := files[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.WriteFile(a, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := files[0].Open(); err == nil {
		f.Close()
		t.Error("opened a file that is another by now")
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), "chunks", "files"), []byte(`{"version":1,"files":[{"path":"../x"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.Files(); len(got) != 0 {
		t.Errorf("files of a list that is none: %v", got)
	}
}

func TestKnownFilesAreBounded(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.ChunkIndexes()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	var many []store.KnownFile
	for i := range 1500 {
		f, ok := store.NewKnownFile(path, fi, digest.FromString("index"))
		if !ok {
			if runtime.GOOS == "windows" {
				t.Skip("nothing tells a file from another there")
			}
			t.Fatal("nothing tells a file from another here")
		}
		f.Path = fmt.Sprintf("%s%d", path, i)
		if err := os.Link(path, f.Path); err != nil {
			t.Fatal(err)
		}
		many = append(many, f)
	}
	c.Know(many...)
	if got := c.Files(); len(got) != 1024 {
		t.Errorf("%d known files, want 1024", len(got))
	}
}
