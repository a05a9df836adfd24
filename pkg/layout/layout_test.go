package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/layout"
)

func create(t *testing.T, dir string) *layout.Repository {
	t.Helper()
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := l.Repository("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// push writes a document with its blobs.
func push(t *testing.T, r *layout.Repository, d doc, tags ...string) {
	t.Helper()
	for dgst, raw := range d.blobs {
		err := r.Push(t.Context(), ocispec.Descriptor{Digest: dgst, Size: int64(len(raw))}, bytes.NewReader(raw))
		if err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			t.Fatal(err)
		}
	}
	if err := r.PushManifest(t.Context(), d.desc, d.raw, tags...); err != nil {
		t.Fatal(err)
	}
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "layout")
	r := create(t, dir)
	model := newDoc(t, "weights", nil)
	push(t, r, model, "v1", "prod")
	signature := newDoc(t, "signature", &model.desc)
	push(t, r, signature)
	if err := r.PushReferrer(t.Context(), signature.raw, model.desc); err != nil {
		t.Fatal(err)
	}
	if err := r.PushReferrer(t.Context(), signature.raw, model.desc); err != nil {
		t.Fatalf("the second time: %v", err)
	}

	again := create(t, dir)
	desc, raw, err := again.Manifest(t.Context(), "v1")
	if err != nil || desc.Digest != model.desc.Digest || !bytes.Equal(raw, model.raw) || desc.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("Manifest = %+v, %q, %v", desc, raw, err)
	}
	if diff := cmp.Diff([]string{"v1", "prod", layout.FallbackTag(model.desc.Digest)}, tagsOf(t, again)); diff != "" {
		t.Error(diff)
	}
	for _, kind := range []string{"", "application/vnd.example.thing.v1"} {
		list, err := again.Referrers(t.Context(), model.desc, kind)
		if err != nil || len(list) != 1 || list[0].Digest != signature.desc.Digest {
			t.Errorf("Referrers(%q) = %+v, %v", kind, list, err)
		}
	}
	if list, err := again.Referrers(t.Context(), model.desc, "other"); err != nil || len(list) > 0 {
		t.Errorf("Referrers of another type = %+v, %v", list, err)
	}
	if _, err := again.Resolve(t.Context(), "v2"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Resolve of no tag: %v", err)
	}
}

// TestReadByOthers has oras-go, which lists referrers by index.json alone, read
// what was written.
func TestReadByOthers(t *testing.T) {
	model := newDoc(t, "weights", nil)
	signature := newDoc(t, "signature", &model.desc)
	dir := t.TempDir()
	r := create(t, dir)
	push(t, r, model, "v1")
	push(t, r, signature)
	if err := r.PushReferrer(t.Context(), signature.raw, model.desc); err != nil {
		t.Fatal(err)
	}
	s, err := oci.NewFromFS(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	desc, err := s.Resolve(t.Context(), "v1")
	if err != nil || desc.Digest != model.desc.Digest {
		t.Fatalf("Resolve = %v, %v", desc, err)
	}
	before, err := s.Predecessors(t.Context(), desc)
	if err != nil || !contains(before, signature.desc.Digest) {
		t.Errorf("Predecessors = %v, %v; want the signature among them", before, err)
	}
}

// TestReadsOthers reads what oras-go writes.
func TestReadsOthers(t *testing.T) {
	dir := t.TempDir()
	s, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	model := newDoc(t, "weights", nil)
	signature := newDoc(t, "signature", &model.desc)
	for _, d := range []doc{model, signature} {
		for dgst, raw := range d.blobs {
			err := s.Push(t.Context(), ocispec.Descriptor{Digest: dgst, Size: int64(len(raw))}, bytes.NewReader(raw))
			if err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
				t.Fatal(err)
			}
		}
		if err := s.Push(t.Context(), d.desc, bytes.NewReader(d.raw)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Tag(t.Context(), model.desc, "v1"); err != nil {
		t.Fatal(err)
	}
	r := create(t, dir)
	if desc, err := r.Resolve(t.Context(), "v1"); err != nil || desc.Digest != model.desc.Digest {
		t.Errorf("Resolve = %v, %v", desc, err)
	}
	if list, err := r.Referrers(t.Context(), model.desc, ""); err != nil || !contains(list, signature.desc.Digest) {
		t.Errorf("Referrers = %v, %v", list, err)
	}
}

func contains(list []ocispec.Descriptor, dgst digest.Digest) bool {
	for _, d := range list {
		if d.Digest == dgst {
			return true
		}
	}
	return false
}

// TestWritersAtOnce has several writers, each with the directory open by itself,
// list what they write. None may be lost.
func TestWritersAtOnce(t *testing.T) {
	dir := t.TempDir()
	model := newDoc(t, "weights", nil)
	push(t, create(t, dir), model, "v1")
	const writers, each = 4, 5
	var all sync.WaitGroup
	for w := range writers {
		r := create(t, dir)
		all.Go(func() {
			for i := range each {
				d := newDoc(t, fmt.Sprint(w, i), &model.desc)
				if err := r.PushReferrer(t.Context(), d.raw, model.desc); err != nil {
					t.Error(err)
				}
				if err := r.Tag(t.Context(), d.desc, fmt.Sprintf("t%d-%d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	r := create(t, dir)
	list, err := r.Referrers(t.Context(), model.desc, "")
	if err != nil || len(list) != writers*each {
		t.Errorf("%d referrers, %v; want %d", len(list), err, writers*each)
	}
	if tags := tagsOf(t, r); len(tags) != writers*each+2 {
		t.Errorf("%d tags, want %d: %v", len(tags), writers*each+2, tags)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if hidden, _ := filepath.Glob(filepath.Join(dir, ".*.tmp")); err != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left behind: %v %v, %v", left, hidden, err)
	}
}

// TestReadWhileReplaced reads a file that another writer puts in its place
// again and again: that is the same file to a reader.
func TestReadWhileReplaced(t *testing.T) {
	dir := t.TempDir()
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	name := filepath.Join(dir, ocispec.ImageLayoutFile)
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			next := fmt.Sprintf("%s.%d", name, i)
			if err := errors.Join(os.WriteFile(next, raw, 0o644), os.Rename(next, name)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2000 {
		again, err := layout.Open(dir)
		if err != nil {
			t.Error(err)
			break
		}
		again.Close()
	}
	close(done)
	writing.Wait()
}

func TestPushRefusesWrongBytes(t *testing.T) {
	r := create(t, t.TempDir())
	desc := ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromString("right"), Size: 5}
	tests := map[string]struct {
		text string
		want error
	}{
		"other bytes": {"wrong", content.ErrMismatchedDigest},
		"too many":    {"right or not", content.ErrTrailingData},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := r.Push(t.Context(), desc, strings.NewReader(tt.text)); !errors.Is(err, tt.want) {
				t.Errorf("Push = %v, want %v", err, tt.want)
			}
			if there, err := r.Exists(t.Context(), desc); there || err != nil {
				t.Errorf("Exists = %v, %v", there, err)
			}
		})
	}
	if err := r.Push(t.Context(), desc, strings.NewReader("right")); err != nil {
		t.Errorf("the right bytes after that: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := layout.Create(dir); !errors.Is(err, layout.ErrTaken) {
		t.Errorf("Create = %v, want ErrTaken", err)
	}
	if _, err := layout.Open(dir); !errors.Is(err, layout.ErrMalformed) {
		t.Errorf("Open = %v, want ErrMalformed", err)
	}
}

// TestDirectoryFollowsNoLinks has blobs and index.json lead elsewhere.
func TestDirectoryFollowsNoLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("right"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := create(t, dir)
	desc := ocispec.Descriptor{Digest: digest.FromString("right"), Size: 5}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(blobs, desc.Digest.Encoded())); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("links need a privilege there")
		}
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), desc); !errors.Is(err, layout.ErrMalformed) {
		t.Errorf("Fetch through a link: %v", err)
	}
	index := filepath.Join(dir, "index.json")
	if err := errors.Join(os.Remove(index), os.Symlink(secret, index)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Entries(); !errors.Is(err, layout.ErrMalformed) {
		t.Errorf("Entries through a link: %v", err)
	}
}

func TestDocumentsAreChecked(t *testing.T) {
	dir := t.TempDir()
	r := create(t, dir)
	model := newDoc(t, "weights", nil)
	push(t, r, model, "v1")
	blob := filepath.Join(dir, "blobs", "sha256", model.desc.Digest.Encoded())
	damaged := bytes.Replace(model.raw, []byte("thing"), []byte("thang"), 1)
	if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, damaged, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Manifest(t.Context(), "v1"); !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("Manifest of damaged bytes: %v", err)
	}
}

func TestSeveralRepositories(t *testing.T) {
	one, two := newDoc(t, "one", nil), newDoc(t, "two", nil)
	c, all := contents(one, two)
	c.Index = []ocispec.Descriptor{
		layout.Name(one.desc, "a.example/x/m", "v1", true), layout.Name(two.desc, "b.example:5000/m", "v1", true),
	}
	file := filepath.Join(t.TempDir(), "x.tar")
	w, err := layout.CreateTar(file, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Blobs {
		if err := w.Push(t.Context(), b, bytes.NewReader(all[b.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Commit(), w.Close()); err != nil {
		t.Fatal(err)
	}
	l, err := layout.OpenTar(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	names, err := l.Repositories()
	if diff := cmp.Diff([]string{"a.example/x/m", "b.example:5000/m"}, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := l.Repository(""); !errors.Is(err, layout.ErrSeveral) {
		t.Errorf("Repository without a name: %v", err)
	}
	for name, want := range map[string]doc{"a.example/x/m": one, "b.example:5000/m": two} {
		r, err := l.Repository(name)
		if err != nil {
			t.Fatal(err)
		}
		if desc, err := r.Resolve(t.Context(), "v1"); err != nil || desc.Digest != want.desc.Digest {
			t.Errorf("%s: Resolve = %v, %v", name, desc, err)
		}
	}
}
