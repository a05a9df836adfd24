package layout_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/store"
)

func TestTar(t *testing.T) {
	model := newDoc(t, strings.Repeat("weights ", 1000), nil)
	file := archive(t, model, newDoc(t, "other", nil))
	l, err := layout.OpenTar(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := l.Repository("")
	if err != nil {
		t.Fatal(err)
	}
	desc, raw, err := r.Manifest(t.Context(), "v1")
	if err != nil || desc.Digest != model.desc.Digest || !bytes.Equal(raw, model.raw) {
		t.Fatalf("Manifest = %v, %v", desc, err)
	}
	for dgst, want := range model.blobs {
		desc := ocispec.Descriptor{Digest: dgst, Size: int64(len(want))}
		got, err := content.FetchAll(t.Context(), r, desc)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob %s: %d bytes, %v", dgst, len(got), err)
		}
		rc, err := r.FetchRange(t.Context(), desc, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if part, err := io.ReadAll(rc); err != nil || !bytes.Equal(part, want[1:2]) {
			t.Errorf("FetchRange = %q, %v", part, err)
		}
		rc.Close()
	}
	if err := r.Push(t.Context(), ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1}, strings.NewReader("x")); !errors.Is(err, layout.ErrReadOnly) {
		t.Errorf("Push = %v, want ErrReadOnly", err)
	}
	if err := r.Tag(t.Context(), desc, "v2"); !errors.Is(err, layout.ErrReadOnly) {
		t.Errorf("Tag = %v, want ErrReadOnly", err)
	}
	s, err := oci.NewFromTar(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := s.Resolve(t.Context(), "v1"); err != nil || other.Digest != desc.Digest {
		t.Errorf("oras-go resolves it to %v, %v", other, err)
	}
}

// TestTarIsDeterministic compares two archives of the same contents in another
// order, and the bytes with what they were when this was written.
func TestTarIsDeterministic(t *testing.T) {
	a, b := newDoc(t, "one", nil), newDoc(t, "two", nil)
	one, err := os.ReadFile(archive(t, a, b))
	if err != nil {
		t.Fatal(err)
	}
	c, all := contents(a, b)
	for i, j := 0, len(c.Blobs)-1; i < j; i, j = i+1, j-1 {
		c.Blobs[i], c.Blobs[j] = c.Blobs[j], c.Blobs[i]
	}
	file := filepath.Join(t.TempDir(), "y.tar")
	w, err := layout.CreateTar(file, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, desc := range c.Blobs {
		if err := w.Push(t.Context(), desc, bytes.NewReader(all[desc.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Commit(), w.Close()); err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the archives differ: %v", err)
	}
	const want = "c61d80f70cc9c0dd93ab7c11abfb8d441dd91c3efee6ac67c69241b0d3c14b51"
	if got := fmt.Sprintf("%x", sha256.Sum256(one)); got != want {
		t.Errorf("the archive has the digest %s, want %s", got, want)
	}
}

// TestTarGoesOn stops in the middle of a blob, and goes on there.
func TestTarGoesOn(t *testing.T) {
	large := newDoc(t, strings.Repeat("0123456789abcdef", 1<<18), nil) // 4 MiB
	c, all := contents(large)
	file := filepath.Join(t.TempDir(), "x.tar")
	var blob ocispec.Descriptor
	for _, b := range c.Blobs {
		if b.Size > blob.Size {
			blob = b
		}
	}
	const half = 2 << 20
	first, err := layout.CreateTar(file, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.CreateTar(file, c); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second writer: %v, want ErrLocked", err)
	}
	p, err := first.Partial(blob)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt(all[blob.Digest][:half], 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoint(half, nil); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Commit of half an archive: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("there is an archive: %v", err)
	}

	second, err := layout.CreateTar(file, c)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = second.Partial(blob); err != nil {
		t.Fatal(err)
	}
	n, h, err := p.Resume()
	if err != nil || n != half {
		t.Fatalf("Resume = %d, %v; want %d", n, err, half)
	}
	h.Write(all[blob.Digest][half:])
	if got := digest.NewDigest(digest.SHA256, h); got != blob.Digest {
		t.Errorf("the hash of what was there is wrong: %s", got)
	}
	for _, b := range c.Blobs {
		if err := second.Push(t.Context(), b, bytes.NewReader(all[b.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(second.Commit(), second.Close()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Other contents take nothing over.
	third, err := layout.CreateTar(file, layout.Contents{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(third.Commit(), third.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestReadTarRefuses reads archives that somebody has made for us.
func TestReadTarRefuses(t *testing.T) {
	good := handmade(t, whole()...)
	link := func(kind byte) file {
		return file{Header: tar.Header{Typeflag: kind, Name: "blobs/sha256/x", Linkname: "/etc/passwd", Mode: 0o644}}
	}
	dgst := digest.FromString("x").String()
	entry := func(dgst, size, name string) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%s,"annotations":{"org.opencontainers.image.ref.name":%q}}`, dgst, size, name)
	}
	index := func(entries ...string) []byte {
		return handmade(t, regular("oci-layout", goodMarker), regular("index.json", `{"schemaVersion":2,"manifests":[`+strings.Join(entries, ",")+`]}`))
	}
	sparse := file{tar.Header{
		Typeflag: tar.TypeReg, Name: "blobs/sha256/sparse", Mode: 0o644, Size: 0, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"VENDOR.x": "GNU.sparse.major=1"},
	}, ""}
	tests := map[string][]byte{
		"empty":                nil,
		"not an archive":       bytes.Repeat([]byte("modelreg"), 200),
		"no oci-layout":        handmade(t, regular("index.json", emptyIndex)),
		"no index.json":        handmade(t, regular("oci-layout", goodMarker)),
		"another version":      handmade(t, regular("oci-layout", `{"imageLayoutVersion":"2.0.0"}`), regular("index.json", emptyIndex)),
		"marker too large":     handmade(t, regular("oci-layout", goodMarker+strings.Repeat(" ", 5000)), regular("index.json", emptyIndex)),
		"index is no JSON":     handmade(t, regular("oci-layout", goodMarker), regular("index.json", `{`)),
		"index of a version":   handmade(t, regular("oci-layout", goodMarker), regular("index.json", `{"schemaVersion":1,"manifests":[]}`)),
		"name twice in JSON":   handmade(t, regular("oci-layout", goodMarker), regular("index.json", `{"schemaVersion":2,"manifests":[],"manifests":[]}`)),
		"out by dots":          handmade(t, whole(regular("../x", ""))...),
		"out by dots inside":   handmade(t, whole(regular("blobs/../../x", ""))...),
		"absolute":             handmade(t, whole(regular("/etc/x", ""))...),
		"backslash":            handmade(t, whole(regular(`blobs\x`, ""))...),
		"twice":                handmade(t, whole(regular("index.json", emptyIndex))...),
		"twice by another way": handmade(t, whole(regular("./index.json", emptyIndex))...),
		"symbolic link":        handmade(t, whole(link(tar.TypeSymlink))...),
		"hard link":            handmade(t, whole(link(tar.TypeLink))...),
		"device":               handmade(t, whole(link(tar.TypeChar))...),
		"pipe":                 handmade(t, whole(link(tar.TypeFifo))...),
		"cut off":              handmade(t, whole(regular("blobs/sha256/x", strings.Repeat("x", 4000)))...)[:5000],
		"something behind":     append(bytes.Clone(good), handmade(t, regular("index.json", emptyIndex))...),
		"much behind":          append(bytes.Clone(good), make([]byte, 2<<20)...),
		"digest of nothing":    index(entry("sha256:00", "1", "v1")),
		"digest as a path":     index(entry("sha256:../../../../etc/passwd", "1", "v1")),
		"unknown algorithm":    index(entry("md5:d41d8cd98f00b204e9800998ecf8427e", "1", "v1")),
		"negative size":        index(entry(dgst, "-1", "v1")),
		"size beyond numbers":  index(entry(dgst, "9007199254740993", "v1")),
		"one name for two":     index(entry(dgst, "1", "v1"), entry(digest.FromString("y").String(), "1", "v1")),
		"one name, qualified":  index(entry(dgst, "1", "a/b:v1"), entry(digest.FromString("y").String(), "1", "a/b:v1")),
		"name too long":        index(entry(dgst, "1", strings.Repeat("x", 600))),
		"compressed":           compressed(t, good),
		"zstd":                 append([]byte("\x28\xb5\x2f\xfd"), good...),
		"sparse":               sparsePAX(handmade(t, whole(sparse)...)),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := layout.ReadTar(bytes.NewReader(raw), int64(len(raw))); !errors.Is(err, layout.ErrMalformed) {
				t.Errorf("ReadTar = %v, want ErrMalformed", err)
			}
		})
	}
	if _, err := layout.ReadTar(bytes.NewReader(good), int64(len(good))); err != nil {
		t.Errorf("the control: %v", err)
	}
	gnu := handmade(t, file{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}}, regular("./oci-layout", goodMarker), regular("./index.json", emptyIndex), regular("./manifest.json", "[]"))
	if _, err := layout.ReadTar(bytes.NewReader(gnu), int64(len(gnu))); err != nil {
		t.Errorf("what GNU tar and docker make: %v", err)
	}
}

// sparsePAX turns the record that the writer of tar lets through into one that
// says that a file is sparse.
func sparsePAX(raw []byte) []byte {
	return bytes.Replace(raw, []byte("VENDOR.x=GNU.sparse.major=1"), []byte("GNU.sparse.nam=GNU.sparse.1"), 1)
}

func compressed(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzReadTar opens whatever bytes as an archive. What opens can be asked for all
// that it lists, and gives no more bytes than the archive has.
func FuzzReadTar(f *testing.F) {
	f.Add(handmade(f, whole()...))
	f.Add(handmade(f, whole(regular("blobs/sha256/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "x"))...))
	f.Add(handmade(f, regular("oci-layout", goodMarker), regular("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := layout.ReadTar(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		entries, err := l.Entries()
		if err != nil {
			t.Fatalf("it opened, and then: %v", err)
		}
		names, err := l.Repositories()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(names, "") {
			r, err := l.Repository(name)
			if err != nil {
				continue
			}
			for _, e := range entries {
				_, _, _ = r.Manifest(t.Context(), e.Tag)
				_, _ = r.Referrers(t.Context(), e.Descriptor, "")
			}
		}
		err = l.Blobs(func(dgst digest.Digest, size int64) error {
			if size > int64(len(raw)) {
				t.Errorf("blob of %d bytes in %d", size, len(raw))
			}
			rc, err := l.Fetch(t.Context(), ocispec.Descriptor{Digest: dgst, Size: size})
			if err != nil {
				return err
			}
			defer rc.Close()
			_, err = io.Copy(io.Discard, rc)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestTarOverEightGiB(t *testing.T) {
	huge := ocispec.Descriptor{Digest: digest.FromString("huge"), Size: 9 << 30}
	file := filepath.Join(t.TempDir(), "x.tar")
	w, err := layout.CreateTar(file, layout.Contents{Blobs: []ocispec.Descriptor{huge}})
	if err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("no sparse files there")
		}
		t.Fatal(err)
	}
	p, err := w.Partial(huge)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("end"), huge.Size-3); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("end"), huge.Size-2); err == nil {
		t.Error("wrote past the end of the blob")
	}
	if err := errors.Join(p.Commit(), w.Commit(), w.Close()); err != nil {
		t.Fatal(err)
	}
	l, err := layout.OpenTar(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rc, err := l.FetchRange(t.Context(), huge, huge.Size-3, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if got, err := io.ReadAll(rc); string(got) != "end" || err != nil {
		t.Errorf("its end is %q, %v", got, err)
	}
	if diff := cmp.Diff([]string(nil), tagsOf(t, repositoryOf(t, l))); diff != "" {
		t.Error(diff)
	}
}

func repositoryOf(t *testing.T, l *layout.Layout) *layout.Repository {
	t.Helper()
	r, err := l.Repository("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// foreign makes the partial archive another user's.
func foreign(_, file string) error {
	return errors.Join(os.WriteFile(file+".partial", nil, 0o644), os.Chown(file+".partial", 12345, -1))
}

// TestTarFollowsNoLinks has somebody put links where an archive and what belongs to
// it are going to be written.
func TestTarFollowsNoLinks(t *testing.T) {
	link := func(name string) func(string, string) error {
		return func(victim, file string) error { return os.Symlink(victim, file+name) }
	}
	tests := map[string]struct {
		plant   func(victim, file string) error
		refused bool
	}{
		"archive":          {link(".partial"), true},
		"archive, dangles": {func(victim, file string) error { return os.Symlink(victim+".new", file+".partial") }, true},
		"archive, by name": {func(victim, file string) error { return os.Link(victim, file+".partial") }, true},
		"a directory":      {func(_, file string) error { return os.Mkdir(file+".partial", 0o755) }, true},
		"another user's":   {foreign, true},
		"journal":          {link(".partial.journal"), false},
		"next journal":     {link(".partial.journal.tmp"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("links are for administrators")
			}
			victim := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, []byte("theirs"), 0o644); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "x.tar")
			if err := tt.plant(victim, file); errors.Is(err, os.ErrPermission) && os.Getuid() != 0 {
				t.Skip("only root gives files away")
			} else if err != nil {
				t.Fatal(err)
			}
			w, err := layout.CreateTar(file, layout.Contents{})
			if err == nil {
				err = errors.Join(w.Commit(), w.Close())
			}
			if errors.Is(err, os.ErrPermission) != tt.refused || !tt.refused && err != nil {
				t.Errorf("error = %v; want a refusal: %t", err, tt.refused)
			}
			if raw, err := os.ReadFile(victim); err != nil || string(raw) != "theirs" {
				t.Errorf("the file behind the link holds %d bytes, %v", len(raw), err)
			}
			if left, err := os.ReadDir(filepath.Dir(victim)); err != nil || len(left) != 1 {
				t.Errorf("%v, %v were made behind the link", left, err)
			}
		})
	}
}
