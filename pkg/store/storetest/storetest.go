// Package storetest is the conformance suite of content stores: one list of
// promises for the store on disk, the one in memory and a registry.
//
// What every store must do is in [Run]. What only some can (ranges, deletion,
// tags) is tested when the store has the methods for it.
package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// Options adjusts [Run] to what a store leaves out. The zero value asks for all.
type Options struct {
	// NoSHA512 is for stores that refuse digests other than SHA-256.
	NoSHA512 bool

	// NoContext is for stores that never wait and do not look at the context.
	NoContext bool
}

// A rangeFetcher can read parts of blobs.
type rangeFetcher interface {
	FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error)
}

// Run tests the stores that open returns: a new and empty one for each call.
func Run(t *testing.T, open func(t *testing.T) content.Storage, opts Options) {
	t.Helper()
	tests := map[string]func(*testing.T, content.Storage){
		"round trip":         roundTrip,
		"absent":             absent,
		"push twice":         pushTwice,
		"wrong bytes":        wrongBytes,
		"concurrent pushes":  concurrentPushes,
		"invalid descriptor": invalidDescriptor,
		"ranges":             ranges,
		"delete":             deletion,
		"tags":               tags,
	}
	if !opts.NoSHA512 {
		tests["sha512"] = sha512
	}
	if !opts.NoContext {
		tests["cancelled"] = cancelled
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Blob describes bytes as a blob that is no manifest.
func Blob(b []byte) ocispec.Descriptor {
	return content.NewDescriptorFromBytes("application/octet-stream", b)
}

// PushManifest pushes layers of these texts, and an image manifest with them.
func PushManifest(t *testing.T, s content.Storage, texts ...string) ocispec.Descriptor {
	t.Helper()
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.DescriptorEmptyJSON,
	}
	push(t, s, ocispec.DescriptorEmptyJSON, ocispec.DescriptorEmptyJSON.Data)
	m.Config.Data = nil
	for _, text := range texts {
		push(t, s, Blob([]byte(text)), []byte(text))
		m.Layers = append(m.Layers, Blob([]byte(text)))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	push(t, s, desc, raw)
	return desc
}

// push pushes what may be there already.
func push(t *testing.T, s content.Storage, desc ocispec.Descriptor, b []byte) {
	t.Helper()
	if err := s.Push(t.Context(), desc, bytes.NewReader(b)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		t.Fatalf("Push(%s) error = %v", desc.Digest, err)
	}
}

// want checks that a blob is there with its bytes.
func want(t *testing.T, s content.Storage, desc ocispec.Descriptor, b []byte) {
	t.Helper()
	if ok, err := s.Exists(t.Context(), desc); !ok || err != nil {
		t.Errorf("Exists(%s) = %v, %v, want true", desc.Digest, ok, err)
	}
	rc, err := s.Fetch(t.Context(), desc)
	if err != nil {
		t.Fatalf("Fetch(%s) error = %v", desc.Digest, err)
	}
	defer rc.Close()
	got, err := io.ReadAll(rc)
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("Fetch(%s) = %d bytes, %v, want the %d that were pushed", desc.Digest, len(got), err, len(b))
	}
}

// wantAbsent checks that there is no blob, and none in the making.
func wantAbsent(t *testing.T, s content.Storage, desc ocispec.Descriptor) {
	t.Helper()
	if ok, err := s.Exists(t.Context(), desc); ok || err != nil {
		t.Errorf("Exists(%s) = %v, %v, want false", desc.Digest, ok, err)
	}
	rc, err := s.Fetch(t.Context(), desc)
	if err == nil {
		rc.Close()
	}
	if !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Fetch(%s) error = %v, want errdef.ErrNotFound", desc.Digest, err)
	}
}

func roundTrip(t *testing.T, s content.Storage) {
	for _, size := range []int{0, 1, 4096, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20} {
		b := bytes.Repeat([]byte("model"), size/5+1)[:size]
		push(t, s, Blob(b), b)
		want(t, s, Blob(b), b)
	}
}

func absent(t *testing.T, s content.Storage) {
	wantAbsent(t, s, Blob([]byte("never pushed")))
}

func pushTwice(t *testing.T, s content.Storage) {
	b := []byte("twice")
	push(t, s, Blob(b), b)
	push(t, s, Blob(b), b)
	want(t, s, Blob(b), b)
}

func wrongBytes(t *testing.T, s content.Storage) {
	good := []byte("the right bytes")
	tests := []struct {
		name  string
		reads io.Reader
	}{
		{"none", strings.NewReader("")},
		{"other", strings.NewReader("the wrong bytes")},
		{"fewer", strings.NewReader("the right byte")},
		{"more", strings.NewReader("the right bytes.")},
		{"broken", io.MultiReader(strings.NewReader("the right"), iotest.ErrReader(errors.New("connection lost")))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := s.Push(t.Context(), Blob(good), test.reads); err == nil {
				t.Error("Push error = nil, want one")
			}
			wantAbsent(t, s, Blob(good))
		})
	}
	push(t, s, Blob(good), good)
	want(t, s, Blob(good), good)
}

func concurrentPushes(t *testing.T, s content.Storage) {
	b := bytes.Repeat([]byte("all at once "), 10_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := s.Push(t.Context(), Blob(b), bytes.NewReader(b))
			if err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
				t.Errorf("Push error = %v", err)
			}
			want := true
			if ok, err := s.Exists(t.Context(), Blob(b)); ok != want || err != nil {
				t.Errorf("Exists after Push = %v, %v, want %v", ok, err, want)
			}
		})
	}
	wg.Wait()
	want(t, s, Blob(b), b)
}

func invalidDescriptor(t *testing.T, s content.Storage) {
	b := []byte("x")
	for _, dgst := range []digest.Digest{
		"", "sha256", "sha256:", "sha256:00", "sha256:../../../../../../etc/passwd", "../x:00",
		digest.Digest("sha256:" + strings.Repeat("A", 64)), digest.Digest("md5:" + strings.Repeat("0", 32)),
	} {
		desc := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: dgst, Size: 1}
		if err := s.Push(t.Context(), desc, bytes.NewReader(b)); err == nil {
			t.Errorf("Push(%q) error = nil, want one", dgst)
		}
		if rc, err := s.Fetch(t.Context(), desc); err == nil {
			rc.Close()
			t.Errorf("Fetch(%q) error = nil, want one", dgst)
		}
	}
	desc := Blob(b)
	desc.Size = -1
	if err := s.Push(t.Context(), desc, bytes.NewReader(b)); err == nil {
		t.Error("Push of size -1 error = nil, want one")
	}
}

func sha512(t *testing.T, s content.Storage) {
	b := []byte("sixty-four bytes of digest")
	desc := Blob(b)
	desc.Digest = digest.SHA512.FromBytes(b)
	if err := s.Push(t.Context(), desc, strings.NewReader("sixty-four bytes of another")); err == nil {
		t.Error("Push of wrong bytes error = nil, want one")
	}
	push(t, s, desc, b)
	want(t, s, desc, b)
}

func cancelled(t *testing.T, s content.Storage) {
	b := []byte("too late")
	push(t, s, Blob(b), b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := []byte("much too late")
	if err := s.Push(ctx, Blob(other), bytes.NewReader(other)); !errors.Is(err, context.Canceled) {
		t.Errorf("Push error = %v, want context.Canceled", err)
	}
	if rc, err := s.Fetch(ctx, Blob(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch = %v, %v, want context.Canceled", rc, err)
	}
}

func ranges(t *testing.T, s content.Storage) {
	f, ok := s.(rangeFetcher)
	if !ok {
		t.Skip("the store has no FetchRange")
	}
	b := []byte("0123456789")
	push(t, s, Blob(b), b)
	tests := []struct {
		name           string
		offset, length int64
		want           string
	}{
		{"all", 0, 10, "0123456789"},
		{"to the end", 3, -1, "3456789"},
		{"middle", 3, 4, "3456"},
		{"last", 9, 1, "9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rc, err := f.FetchRange(t.Context(), Blob(b), test.offset, test.length)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			got, err := io.ReadAll(rc)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("FetchRange (-want +got):\n%s", diff)
			}
		})
	}
	for _, r := range [][2]int64{{-1, 2}, {11, 1}, {5, 6}, {0, 11}, {1, 1<<63 - 1}} {
		if rc, err := f.FetchRange(t.Context(), Blob(b), r[0], r[1]); err == nil {
			rc.Close()
			t.Errorf("FetchRange(%d, %d) error = nil, want one", r[0], r[1])
		}
	}
}

func deletion(t *testing.T, s content.Storage) {
	d, ok := s.(content.Deleter)
	if !ok {
		t.Skip("the store has no Delete")
	}
	b, other := []byte("to go"), []byte("to stay")
	push(t, s, Blob(b), b)
	push(t, s, Blob(other), other)
	if err := d.Delete(t.Context(), Blob(b)); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, s, Blob(b))
	want(t, s, Blob(other), other)
	if err := d.Delete(t.Context(), Blob(b)); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("second Delete error = %v, want errdef.ErrNotFound", err)
	}
	push(t, s, Blob(b), b)
	want(t, s, Blob(b), b)
}

func tags(t *testing.T, s content.Storage) {
	r, ok := s.(content.TagResolver)
	if !ok {
		t.Skip("the store has no tags")
	}
	resolve := func(tag string, want ocispec.Descriptor) {
		t.Helper()
		got, err := r.Resolve(t.Context(), tag)
		if err != nil || got.Digest != want.Digest || got.Size != want.Size || got.MediaType != want.MediaType {
			t.Errorf("Resolve(%s) = %v, %v, want %v", tag, got, err, want)
		}
	}
	one, two := PushManifest(t, s, "a"), PushManifest(t, s, "a", "b")
	if _, err := r.Resolve(t.Context(), "main"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Resolve of no tag error = %v, want errdef.ErrNotFound", err)
	}
	for _, step := range []struct {
		tag  string
		desc ocispec.Descriptor
	}{{"main", one}, {"v1", one}, {"main", two}} {
		if err := r.Tag(t.Context(), step.desc, step.tag); err != nil {
			t.Fatal(err)
		}
		resolve(step.tag, step.desc)
	}
	resolve("v1", one)
	gone := Blob([]byte("never pushed"))
	gone.MediaType = ocispec.MediaTypeImageManifest
	if err := r.Tag(t.Context(), gone, "main"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Tag of nothing error = %v, want errdef.ErrNotFound", err)
	}
	resolve("main", two)
}
