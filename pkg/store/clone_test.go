package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

func TestMaterialise(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 3<<20 + 5} {
		root := openRoot(t)
		b := blobOf(uint64(size), size)
		desc := pushBlob(t, s, b)
		if err := root.WriteFile("f", []byte("what was there"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"f", "dir/sub/f"} {
			if err := s.Materialise(t.Context(), root, name, desc); err != nil {
				t.Fatal(err)
			}
			if got, err := root.ReadFile(name); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s of %d bytes is wrong: %v", name, size, err)
			}
			if fi, err := root.Stat(name); err != nil || fi.Mode().Perm()&0o600 != 0o600 {
				t.Errorf("%s has mode %v, %v, want it writable", name, fi.Mode(), err)
			}
		}
		if diff := cmp.Diff([]string{"dir/sub/f", "f"}, names(t, root)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		// A change of the file is none of the blob.
		if err := root.WriteFile("f", []byte("edited"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := content.FetchAll(t.Context(), s, desc); err != nil {
			t.Errorf("blob after an edit of its copy: %v", err)
		}
	}
}

func TestMaterialiseOfDamagedBlob(t *testing.T) {
	s := openStore(t, t.TempDir())
	root := openRoot(t)
	b := blobOf(1, 100_000)
	desc := pushBlob(t, s, b)
	flipBit(t, blobPath(s, desc.Digest), 4711)
	if err := root.WriteFile("f", []byte("what was there"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.Materialise(t.Context(), root, "f", desc)
	if !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("Materialise error = %v, want ErrCorrupt", err)
	}
	if got, err := root.ReadFile("f"); err != nil || string(got) != "what was there" {
		t.Errorf("file = %q, %v, want it as it was", got, err)
	}
	if diff := cmp.Diff([]string{"f"}, names(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := s.Materialise(t.Context(), root, "f", desc); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("second Materialise error = %v, want errdef.ErrNotFound", err)
	}
	pushBlob(t, s, b)
	if err := s.Materialise(t.Context(), root, "f", desc); err != nil {
		t.Errorf("Materialise after Push error = %v", err)
	}
}

func TestCopyFileRefuses(t *testing.T) {
	root := openRoot(t)
	b := []byte("the source")
	name := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	good := storetest.Blob(b)
	short, long := good, good
	short.Size--
	long.Size++
	tests := map[string]struct {
		ctx  context.Context
		name string
		desc ocispec.Descriptor
		want error
	}{
		"other digest":  {t.Context(), "f", ocispec.Descriptor{Digest: digest.FromString("x"), Size: 10}, store.ErrCorrupt},
		"more bytes":    {t.Context(), "f", short, store.ErrCorrupt},
		"fewer bytes":   {t.Context(), "f", long, store.ErrCorrupt},
		"no time":       {cancelledContext(t), "f", good, context.Canceled},
		"outside":       {t.Context(), "../f", good, os.ErrInvalid},
		"absolute":      {t.Context(), "/f", good, os.ErrInvalid},
		"the directory": {t.Context(), ".", good, os.ErrInvalid},
		"bad digest":    {t.Context(), "f", ocispec.Descriptor{Digest: "sha256:x"}, errdef.ErrInvalidDigest},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := store.CopyFile(test.ctx, root, test.name, src, test.desc); !errors.Is(err, test.want) {
				t.Errorf("CopyFile error = %v, want %v", err, test.want)
			}
			if got := names(t, root); len(got) > 0 {
				t.Errorf("CopyFile left %v", got)
			}
		})
	}
	if err := store.CopyFile(t.Context(), root, "f", src, good); err != nil {
		t.Error(err)
	}
}

func TestClone(t *testing.T) {
	dir := t.TempDir()
	b := blobOf(1, 100_000)
	if err := os.WriteFile(filepath.Join(dir, "src"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := os.Open(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	err = store.Clone(dst, src)
	if errors.Is(err, store.ErrNoClone) {
		t.Skip(err)
	}
	if got, rerr := os.ReadFile(dst.Name()); err != nil || rerr != nil || !bytes.Equal(got, b) {
		t.Errorf("Clone error = %v, %v, or its bytes are wrong", err, rerr)
	}
}
