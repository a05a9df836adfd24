package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

// A link is the blob itself, read-only, and replaces what had its name; what is
// damaged is put aside and not linked.
func TestLink(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	s := openStore(t, dir)
	b := []byte("some bytes")
	desc := storetest.Blob(b)
	file := filepath.Join(out, "file")
	if err := s.Link(t.Context(), file, desc); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Link of nothing error = %v, want ErrNotFound", err)
	}
	if err := s.Push(t.Context(), desc, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blobs", "sha256", desc.Digest.Encoded())
	for range 2 {
		if err := s.Link(t.Context(), file, desc); err != nil {
			t.Fatal(err)
		}
		mine, err := os.Stat(file)
		theirs, terr := os.Stat(blob)
		if err := errors.Join(err, terr); err != nil || !os.SameFile(mine, theirs) || mine.Mode() != 0o444 {
			t.Errorf("after Link: %v, %v", mine.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := errors.Join(os.Chmod(file, 0o644), os.WriteFile(file, []byte("0ther byte"), 0o644)); err != nil {
		t.Fatal(err)
	}
	err := s.Link(t.Context(), filepath.Join(out, "second"), desc)
	if !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("Link of what was changed error = %v, want ErrCorrupt", err)
	}
	if ok, err := s.Exists(t.Context(), desc); ok || err != nil {
		t.Errorf("Exists = %v, %v after it was found to be damaged", ok, err)
	}
}

func TestCanLink(t *testing.T) {
	s := openStore(t, t.TempDir())
	out := t.TempDir()
	if err := s.CanLink(out); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := s.CanLink(filepath.Join(out, "nowhere")); err == nil {
		t.Error("CanLink to nowhere error = nil, want one")
	}
}

// A copy is a file of its own.
func TestCopyOut(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	b := []byte("some bytes")
	desc := storetest.Blob(b)
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := s.CopyOut(t.Context(), root, "a/file", desc); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("CopyOut of nothing error = %v, want ErrNotFound", err)
	}
	if err := s.Push(t.Context(), desc, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if err := s.CopyOut(t.Context(), root, "a/file", desc); err != nil {
		t.Fatal(err)
	}
	if got, err := root.ReadFile("a/file"); err != nil || !bytes.Equal(got, b) {
		t.Errorf("file = %q, %v", got, err)
	}
	blob := filepath.Join(dir, "blobs", "sha256", desc.Digest.Encoded())
	if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, []byte("0ther byte"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := s.CopyOut(t.Context(), root, "b", desc); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("CopyOut of what was changed error = %v, want ErrCorrupt", err)
	}
}
