package remote_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orascontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

var _ orascontent.Storage = (*remote.Repository)(nil)

func TestBlobRoundTrip(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	for name, size := range map[string]int{"empty": 0, "small": 10, "large": 5<<20 + 7} {
		t.Run(name, func(t *testing.T) {
			desc, data := content(1, size)
			if ok, err := r.Exists(t.Context(), desc); ok || err != nil {
				t.Fatalf("Exists before = %v, %v; want false", ok, err)
			}
			if err := r.Push(t.Context(), desc, io.MultiReader(bytes.NewReader(data))); err != nil {
				t.Fatal(err)
			}
			if ok, err := r.Exists(t.Context(), desc); !ok || err != nil {
				t.Fatalf("Exists after = %v, %v; want true", ok, err)
			}
			got, err := readAll(r.Fetch(t.Context(), desc))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("Fetch = %d bytes, %v; want the %d pushed", len(got), err, size)
			}
		})
	}
}

func TestBlobSHA512(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	data := []byte("weights")
	desc := ocispec.Descriptor{Digest: digest.SHA512.FromBytes(data), Size: int64(len(data))}
	err := r.Push(t.Context(), desc, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r.Fetch(t.Context(), desc))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("Fetch = %q, %v; want %q", got, err, data)
	}
}

func TestFetchRange(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	_, data := content(2, 100_000)
	desc := put(t, r, data)
	tests := map[string]struct{ offset, length, from, to int64 }{
		"all":          {0, -1, 0, 100_000},
		"start":        {0, 10, 0, 10},
		"middle":       {500, 1000, 500, 1500},
		"tail":         {99_990, -1, 99_990, 100_000},
		"past the end": {99_990, 1000, 99_990, 100_000},
		"nothing":      {500, 0, 500, 500},
		"at the end":   {100_000, -1, 100_000, 100_000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readAll(r.FetchRange(t.Context(), desc, tt.offset, tt.length))
			if err != nil || !bytes.Equal(got, data[tt.from:tt.to]) {
				t.Errorf("FetchRange = %d bytes, %v; want data[%d:%d]", len(got), err, tt.from, tt.to)
			}
		})
	}
	for name, offset := range map[string]int64{"before": -1, "behind": 100_001} {
		if _, err := r.FetchRange(t.Context(), desc, offset, -1); err == nil {
			t.Errorf("FetchRange %s the blob: no error", name)
		}
	}
}

// A registry may not know, or not say, how long a blob is that it gives a part
// of. Where the part begins it must say.
func TestFetchRangeOfUnknownTotal(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	_, data := content(2, 100_000)
	desc := put(t, r, data)
	for said, right := range map[string]bool{
		"bytes 500-1499/*":      true,
		"bytes 500-1499/100000": true,
		"bytes 500-1499/100001": false,
		"bytes 501-1500/*":      false,
		"bytes 500-1500/*":      false,
		"":                      false,
	} {
		s.Reset()
		s.Add(testreg.Rule{Method: "GET", Do: testreg.SetHeader(map[string]string{"Content-Range": said})})
		got, err := readAll(r.FetchRange(t.Context(), desc, 500, 1000))
		if right && (err != nil || !bytes.Equal(got, data[500:1500])) {
			t.Errorf("Content-Range %q: %d bytes, %v", said, len(got), err)
		}
		if !right && !errors.Is(err, errdef.ErrUnsupported) {
			t.Errorf("Content-Range %q: %v, want ErrUnsupported", said, err)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, raw := manifestOf(t, r, nil, "x")
	if err := r.PushManifest(t.Context(), desc, raw, "v1", "v2"); err != nil {
		t.Fatal(err)
	}
	if err := r.Tag(t.Context(), desc, "v3"); err != nil {
		t.Fatal(err)
	}
	for _, reference := range []string{"v1", "v2", "v3", desc.Digest.String()} {
		got, err := r.Resolve(t.Context(), reference)
		if err != nil || !cmp.Equal(got, desc) {
			t.Errorf("Resolve(%s) = %v, %v; want %v", reference, got, err, desc)
		}
		got, bytesGot, err := r.Manifest(t.Context(), reference)
		if err != nil || !cmp.Equal(got, desc) || !bytes.Equal(bytesGot, raw) {
			t.Errorf("Manifest(%s) = %v, %q, %v; want what was pushed", reference, got, bytesGot, err)
		}
	}
	var tags []string
	for tag, err := range r.Tags(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
	if want := []string{"v1", "v2", "v3"}; !slices.Equal(tags, want) {
		t.Errorf("Tags = %v, want %v", tags, want)
	}
	if err := r.Delete(t.Context(), desc); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(t.Context(), "v1"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("Resolve after Delete: %v, want ErrNotFound", err)
	}
}

func TestPushManifestChecksItsBytes(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, raw := manifestOf(t, r, nil, "x")
	err := r.PushManifest(t.Context(), desc, append(raw, '\n'), "v1")
	if !errors.Is(err, orascontent.ErrMismatchedDigest) {
		t.Errorf("PushManifest of other bytes: %v, want ErrMismatchedDigest", err)
	}
}

func TestMountFrom(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	c := newClient(t, remote.Options{})
	from, to := repoOf(t, c, s.Host+"/a/base"), repoOf(t, c, s.Host+"/b/tuned")
	_, data := content(3, 1000)
	desc := put(t, from, data)
	for name, source := range map[string]string{"bare": "a/base", "with host": s.Host + "/a/base"} {
		if ok, err := to.MountFrom(t.Context(), desc, source); !ok || err != nil {
			t.Errorf("MountFrom %s = %v, %v; want true", name, ok, err)
		}
	}
	other, bytesOf := content(4, 1000)
	if ok, err := to.MountFrom(t.Context(), other, "a/base"); ok || err != nil {
		t.Errorf("MountFrom of what is not there = %v, %v; want false, nil", ok, err)
	}
	// The upload that was begun instead must not be lost.
	if err := to.PushFrom(t.Context(), other, opener(bytesOf), nil); err != nil {
		t.Fatal(err)
	}
	posts := 0
	for _, q := range s.Requests() {
		if q.Method == "POST" && q.Path == "/v2/b/tuned/blobs/uploads/" {
			posts++
		}
	}
	if posts != 3 {
		t.Errorf("%d uploads begun, want 3, one for each mount", posts)
	}
}

func TestNotFound(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, _ := content(5, 10)
	ctx := t.Context()
	_, fetchErr := r.Fetch(ctx, desc)
	_, resolveErr := r.Resolve(ctx, "none")
	_, _, manifestErr := r.Manifest(ctx, desc.Digest.String())
	for name, err := range map[string]error{"Fetch": fetchErr, "Resolve": resolveErr, "Manifest": manifestErr} {
		if !errors.Is(err, errdef.ErrNotFound) {
			t.Errorf("%s = %v, want ErrNotFound", name, err)
		}
	}
}

func TestBadDescriptorsAskNothing(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	for name, dgst := range map[string]digest.Digest{
		"empty": "", "path": "sha256:../../etc", "short": "sha256:abc", "unknown": "md5:d41d8cd98f00b204e9800998ecf8427e",
		"query": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a?x=1",
	} {
		desc := ocispec.Descriptor{Digest: dgst, Size: 1}
		if _, err := r.Fetch(t.Context(), desc); !errors.Is(err, errdef.ErrInvalidDigest) {
			t.Errorf("Fetch %s digest: %v, want ErrInvalidDigest", name, err)
		}
		if err := r.PushFrom(t.Context(), desc, opener([]byte("x")), nil); !errors.Is(err, errdef.ErrInvalidDigest) {
			t.Errorf("PushFrom %s digest: %v, want ErrInvalidDigest", name, err)
		}
	}
	for _, reference := range []string{"", "a b", "../x", "x?y", "sha256:abc", "-x"} {
		if _, err := r.Resolve(t.Context(), reference); !errors.Is(err, errdef.ErrInvalidReference) {
			t.Errorf("Resolve(%q): %v, want ErrInvalidReference", reference, err)
		}
	}
	if got := s.Requests(); len(got) != 0 {
		t.Errorf("%d requests for things that cannot exist: %v", len(got), got)
	}
}

func TestRepositoryNames(t *testing.T) {
	c := newClient(t, remote.Options{})
	for _, name := range []string{"", "host", "host/UPPER", "host/a:tag", "host/a@sha256:x", "host/../a", "ho st/a", "user@host/a"} {
		if r, err := c.Repository(name); err == nil {
			t.Errorf("Repository(%q) = %s, want an error", name, r.Name())
		}
	}
}
