package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

func TestConformance(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) content.Storage { return openStore(t, t.TempDir()) }, storetest.Options{})
	})
	t.Run("memory", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) content.Storage { return memory.New() }, storetest.Options{NoContext: true})
	})
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func pushBlob(t *testing.T, s *store.Store, b []byte) ocispec.Descriptor {
	t.Helper()
	desc := storetest.Blob(b)
	if err := s.Push(t.Context(), desc, bytes.NewReader(b)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		t.Fatal(err)
	}
	return desc
}

// blobPath is where the image layout specification has a blob.
func blobPath(s *store.Store, dgst digest.Digest) string {
	return filepath.Join(s.Dir(), "blobs", dgst.Algorithm().String(), dgst.Encoded())
}

func TestOpenMakesPrivateStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "store")
	s := openStore(t, dir)
	desc := pushBlob(t, s, []byte("blob"))
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err == nil && e.IsDir() && fi.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", name, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(blobPath(s, desc.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o444 {
		t.Errorf("blob has mode %v, want 0444", fi.Mode())
	}
	openStore(t, dir)
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]func(dir string) error{
		"a directory of the user": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600)
		},
		"a newer store": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "VERSION"), []byte("2\n"), 0o600)
		},
		"a store of no version": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "VERSION"), []byte("new\n"), 0o600)
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(dir)
			if err == nil {
				s.Close()
				t.Fatal("Open error = nil, want one")
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("Open left %v in the directory it refused", entries)
			}
		})
	}
}

// TestOtherToolsRead copies artifacts from and to image layouts of oras.
func TestOtherToolsRead(t *testing.T) {
	s := openStore(t, t.TempDir())
	desc := storetest.PushManifest(t, s, "one", "two")
	if err := s.Tag(t.Context(), desc, "v1"); err != nil {
		t.Fatal(err)
	}
	theirs, err := oci.NewFromFS(t.Context(), os.DirFS(s.Dir()))
	if err != nil {
		t.Fatalf("oras cannot open the store: %v", err)
	}
	dir := t.TempDir()
	layout, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Copy(t.Context(), theirs, "v1", layout, "v2", oras.DefaultCopyOptions); err != nil {
		t.Fatalf("oras cannot copy from the store: %v", err)
	}

	mine := openStore(t, dir)
	got, err := mine.Resolve(t.Context(), "v2")
	if err != nil || got.Digest != desc.Digest {
		t.Errorf("Resolve in a layout of oras = %v, %v, want %s", got, err, desc.Digest)
	}
	if _, err := oras.Copy(t.Context(), layout, "v2", mine, "v3", oras.DefaultCopyOptions); err != nil {
		t.Errorf("copy into the store: %v", err)
	}
}

func TestDamagedBlobIsReplaced(t *testing.T) {
	tests := map[string]func(name string) error{
		"shorter":        func(name string) error { return os.Truncate(name, 3) },
		"empty":          func(name string) error { return os.Truncate(name, 0) },
		"longer":         func(name string) error { return os.WriteFile(name, []byte("the blob and more"), 0o600) },
		"a directory":    func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
		"a link to it":   func(name string) error { return errors.Join(os.Rename(name, name+"x"), os.Symlink(name+"x", name)) },
		"a dead link":    func(name string) error { return errors.Join(os.Remove(name), os.Symlink("nowhere", name)) },
		"a link outside": func(name string) error { return errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name)) },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			b := []byte("the blob")
			desc := pushBlob(t, s, b)
			if err := os.Chmod(blobPath(s, desc.Digest), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := damage(blobPath(s, desc.Digest)); err != nil {
				t.Fatal(err)
			}
			if ok, err := s.Exists(t.Context(), desc); ok || err != nil {
				t.Errorf("Exists = %v, %v, want false", ok, err)
			}
			pushBlob(t, s, b)
			if got, err := content.FetchAll(t.Context(), s, desc); err != nil || !bytes.Equal(got, b) {
				t.Errorf("FetchAll after a new Push = %q, %v, want %q", got, err, b)
			}
			if u, err := s.Usage(t.Context()); err != nil || u.Damaged != 1 {
				t.Errorf("Usage = %+v, %v, want one damaged", u, err)
			}
		})
	}
}

func TestFetchOfDamagedBlob(t *testing.T) {
	s := openStore(t, t.TempDir())
	desc := pushBlob(t, s, []byte("the blob"))
	if err := errors.Join(os.Chmod(blobPath(s, desc.Digest), 0o600), os.Truncate(blobPath(s, desc.Digest), 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), desc); !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Fetch error = %v, want ErrCorrupt and errdef.ErrNotFound", err)
	}
	if _, err := s.Fetch(t.Context(), desc); errors.Is(err, store.ErrCorrupt) || !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("second Fetch error = %v, want only errdef.ErrNotFound", err)
	}
}

// TestLyingSizeIsNoDamage has a manifest claim another size of a good blob.
func TestLyingSizeIsNoDamage(t *testing.T) {
	s := openStore(t, t.TempDir())
	desc := pushBlob(t, s, []byte("the blob"))
	lie := desc
	lie.Size = 3
	if ok, err := s.Exists(t.Context(), lie); ok || err != nil {
		t.Errorf("Exists of the lie = %v, %v, want false", ok, err)
	}
	if _, err := s.Fetch(t.Context(), lie); !errors.Is(err, errdef.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Fetch of the lie error = %v, want errdef.ErrNotFound", err)
	}
	if err := s.Push(t.Context(), lie, strings.NewReader("the")); err == nil {
		t.Error("Push of the lie error = nil, want one")
	}
	if ok, err := s.Exists(t.Context(), desc); !ok || err != nil {
		t.Errorf("Exists = %v, %v, want true", ok, err)
	}
}

func TestFailedPushLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, text := range []string{"", "short", "other bytes!!", "longer than it should be"} {
		if err := s.Push(t.Context(), storetest.Blob([]byte("right bytes..")), strings.NewReader(text)); err == nil {
			t.Errorf("Push(%q) error = nil, want one", text)
		}
	}
	if u, err := s.Usage(t.Context()); err != nil || u != (store.Usage{}) {
		t.Errorf("Usage = %+v, %v, want nothing", u, err)
	}
}

func ExampleStore() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	blob := []byte("hello")
	desc := content.NewDescriptorFromBytes("text/plain", blob)
	ctx := context.Background()
	if err := s.Push(ctx, desc, bytes.NewReader(blob)); err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Tag(ctx, desc, "greeting"); err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range s.References(ctx) {
		fmt.Println(e.Reference, e.Descriptor.Size, err)
	}
	// Output: greeting 5 <nil>
}
