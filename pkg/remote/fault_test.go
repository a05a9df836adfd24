package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	orascontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// TestFetchFaults reads a part of a blob once. Going on after a broken
// connection is the reader's part.
func TestFetchFaults(t *testing.T) {
	tests := map[string]error{ // nil: the right bytes
		"429x3":             nil,
		"503x3":             nil,
		"retry-after-neg":   nil,
		"retry-after-past":  nil,
		"retry-after-junk":  nil,
		"reset":             nil,
		"delay":             nil,
		"1xx-1000":          nil,
		"header-1m":         remote.ErrProtocol,
		"cut@0":             remote.ErrUnreachable,
		"cut@1":             remote.ErrUnreachable,
		"cut@mid":           remote.ErrUnreachable,
		"cut@end-1":         remote.ErrUnreachable,
		"fin":               remote.ErrUnreachable,
		"500-forever":       remote.ErrUnreachable,
		"ignore_range":      nil,
		"range_wrong-start": errdef.ErrUnsupported,
		"range_wrong-total": errdef.ErrUnsupported,
		"416":               errdef.ErrUnsupported,
		"range-400":         errdef.ErrUnsupported,
		"gzip-lie":          remote.ErrProtocol,
		"truncate":          errdef.ErrUnsupported,
		"long":              errdef.ErrUnsupported,
		"chunked":           nil,
		"redirect-sink":     nil,
		"redirect-loop":     remote.ErrProtocol,
		"redirect-userinfo": remote.ErrProtocol,
		"redirect-file":     remote.ErrProtocol,
		"html-error":        remote.ErrForbidden,
		"ansi-error":        remote.ErrForbidden,
		"realm-http":        nil, // from a loopback registry without TLS
		"realm-ip-mapped":   remote.ErrUnreachable,
		"401-forever":       remote.ErrUnauthorized,
		"token-3":           nil,
		"endless-token":     remote.ErrProtocol,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			_, data := content(1, 1<<20)
			desc := put(t, r, data)
			s.Add(testreg.Fault(name))
			got, err := readAll(r.FetchRange(t.Context(), desc, 1000, 1<<19))
			switch {
			case want == nil && (err != nil || !bytes.Equal(got, data[1000:1000+1<<19])):
				t.Errorf("FetchRange = %d bytes, %v; want the right ones", len(got), err)
			case want != nil && !errors.Is(err, want):
				t.Errorf("FetchRange = %d bytes, %v; want %v", len(got), err, want)
			}
			checkWords(t, err)
			if leaked := s.Sink.Credentials(); leaked != nil {
				t.Errorf("credentials given away: %v", leaked)
			}
		})
	}
}

// checkWords looks at the text of an error: nothing in it may move the cursor,
// and it must be short.
func checkWords(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(text) > 1024 {
		t.Errorf("error text is not fit to show: %q", text)
	}
}

func TestManifestFaults(t *testing.T) {
	tests := map[string]error{
		"no-digest":        nil,
		"head-405":         nil,
		"no-etag":          nil,
		"chunked-header":   nil,
		"media-type":       nil, // the document says it
		"digest-header":    orascontent.ErrMismatchedDigest,
		"swap-manifest":    orascontent.ErrMismatchedDigest,
		"endless-manifest": remote.ErrProtocol,
		"503x3":            nil,
	}
	for name, want := range tests {
		for _, reference := range []string{"tag", "digest"} {
			t.Run(name+"/"+reference, func(t *testing.T) {
				t.Parallel()
				s := testreg.New(t, testreg.Options{})
				r := newRepo(t, s)
				desc, raw := manifestOf(t, r, nil, "x")
				if err := r.PushManifest(t.Context(), desc, raw, "v1"); err != nil {
					t.Fatal(err)
				}
				s.Add(testreg.Fault(name))
				ref := "v1"
				if reference == "digest" {
					ref = desc.Digest.String()
				}
				got, bytesGot, err := r.Manifest(t.Context(), ref)
				switch {
				case want == nil && (err != nil || !cmp.Equal(got, desc) || !bytes.Equal(bytesGot, raw)):
					t.Errorf("Manifest = %v, %v; want %v", got, err, desc)
				case want != nil && !errors.Is(err, want):
					t.Errorf("Manifest: %v, want %v", err, want)
				}
				if want == nil {
					if got, err := r.Resolve(t.Context(), ref); err != nil || !cmp.Equal(got, desc) {
						t.Errorf("Resolve = %v, %v; want %v", got, err, desc)
					}
				}
			})
		}
	}
}

// An answer that is lost after the registry has done its work does no harm.
func TestPushManifestFaults(t *testing.T) {
	for name, tags := range map[string][]string{
		"commit-drop-manifest": nil, "commit-drop-tag": {"v1"}, "503x3": {"v1"}, "no-digest": {"v1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			desc, raw := manifestOf(t, r, nil, "x")
			s.Add(testreg.Fault(name))
			if err := r.PushManifest(t.Context(), desc, raw, tags...); err != nil {
				t.Fatal(err)
			}
			s.Reset()
			for _, reference := range append(tags, desc.Digest.String()) {
				if got, err := r.Resolve(t.Context(), reference); err != nil || got.Digest != desc.Digest {
					t.Errorf("Resolve(%s) = %v, %v; want what was pushed", reference, got.Digest, err)
				}
			}
		})
	}
}

func TestPushFaults(t *testing.T) {
	cut := func(n int64) testreg.Rule {
		return testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: testreg.TakeThenDrop(n)}
	}
	fault := func(name string) testreg.Rule { return testreg.Fault(name) }
	const size = 2 << 20
	tests := map[string]struct {
		rule testreg.Rule
		want error // nil: the blob is there
		most int64 // bytes that may reach the registry, 0 for any
	}{
		"cut at the start":   {cut(1), nil, 2 * size},
		"cut in the middle":  {cut(1 << 20), nil, size + size/2},
		"cut near the end":   {cut(size - 1), nil, size + size/2},
		"session forgotten":  {fault("forget-upload"), nil, 0},
		"commit, then drop":  {fault("commit-drop-blob"), nil, size},
		"401 after the body": {fault("401-after-body"), nil, 0},
		"short-lived tokens": {fault("token-3"), nil, 0},
		"slow commit":        {fault("slow-commit"), nil, size},
		"503 three times":    {fault("503x3"), nil, 0},
		"429 three times":    {fault("429x3"), nil, 0},
		"416 once":           {refuseOnce(), nil, 0},
		"digest refused":     {fault("digest-refused"), orascontent.ErrMismatchedDigest, 0},
		"location elsewhere": {fault("location-sink"), remote.ErrProtocol, 0},
		"401 forever":        {fault("401-forever"), remote.ErrUnauthorized, 0},
		"500 forever":        {fault("500-forever"), remote.ErrUnreachable, 0},
		"forbidden":          {fault("html-error"), remote.ErrForbidden, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			desc, data := content(2, size)
			s.Add(tt.rule)
			var sent atomic.Int64
			err := r.PushFrom(t.Context(), desc, opener(data), func(n int64, _ error) { sent.Add(n) })
			checkWords(t, err)
			if leaked := s.Sink.Credentials(); leaked != nil {
				t.Errorf("credentials given away: %v", leaked)
			}
			if tt.want != nil {
				if !errors.Is(err, tt.want) {
					t.Errorf("PushFrom: %v, want %v", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if sent.Load() != size {
				t.Errorf("%d bytes reported as sent, want %d", sent.Load(), size)
			}
			if n := bytesIn(s); tt.most > 0 && n > tt.most {
				t.Errorf("%d bytes reached the registry, want at most %d", n, tt.most)
			}
			s.Reset()
			got, err := readAll(r.Fetch(t.Context(), desc))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("the registry has %d bytes, %v; want those pushed", len(got), err)
			}
		})
	}
}

func refuseOnce() testreg.Rule {
	return testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: testreg.ReadThen(testreg.RefuseChunk())}
}

func bytesIn(s *testreg.Server) int64 {
	var n int64
	for _, q := range s.Requests() {
		if q.Method == "PUT" || q.Method == "PATCH" {
			n += q.BytesIn
		}
	}
	return n
}

// A later call goes on where an earlier one was called off.
func TestPushFromGoesOnInLaterCall(t *testing.T) {
	const size = 2 << 20
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, data := content(3, size)
	s.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: testreg.TakeThenDrop(1 << 20)})
	ctx, cancel := context.WithCancel(t.Context())
	open := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if offset > 0 {
			cancel()
			return nil, ctx.Err()
		}
		return opener(data)(ctx, 0)
	}
	if err := r.PushFrom(ctx, desc, open, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("PushFrom called off: %v, want context.Canceled", err)
	}
	if err := r.PushFrom(t.Context(), desc, opener(data), nil); err != nil {
		t.Fatal(err)
	}
	if n := bytesIn(s); n > size+size/4 {
		t.Errorf("%d bytes reached the registry, want about %d", n, size)
	}
	got, err := readAll(r.Fetch(t.Context(), desc))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the registry has %d bytes, %v; want those pushed", len(got), err)
	}
}

func TestPushFromBadSource(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	r := newRepo(t, s)
	desc, data := content(4, 2<<20)
	broken := errors.New("disk on fire")
	tests := map[string]struct {
		open func(context.Context, int64) (io.ReadCloser, error)
		want error
	}{
		"does not open": {func(context.Context, int64) (io.ReadCloser, error) { return nil, broken }, broken},
		"fails": {func(context.Context, int64) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(data[:1<<20]), failing{broken})), nil
		}, broken},
		"short": {opener(data[:1<<20]), nil},
		"other": {opener(bytes.Repeat([]byte("x"), len(data))), orascontent.ErrMismatchedDigest},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := r.PushFrom(t.Context(), desc, tt.open, nil)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("PushFrom: %v, want %v", err, tt.want)
			}
		})
	}
	if ok, err := r.Exists(t.Context(), desc); ok || err != nil {
		t.Errorf("Exists = %v, %v; want false: nothing right was pushed", ok, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestTagsFaults(t *testing.T) {
	tests := map[string]error{
		"endless-tags": remote.ErrProtocol,
		"link-loop":    remote.ErrProtocol,
		"link-sink":    remote.ErrProtocol,
		"503x3":        nil,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			desc, raw := manifestOf(t, r, nil, "x")
			if err := r.PushManifest(t.Context(), desc, raw, "v1"); err != nil {
				t.Fatal(err)
			}
			s.Add(testreg.Fault(name))
			var last error
			n := 0
			for _, err := range r.Tags(t.Context()) {
				last = err
				n++
			}
			if want == nil && (last != nil || n != 1) || want != nil && !errors.Is(last, want) {
				t.Errorf("Tags ended after %d with %v, want %v", n, last, want)
			}
			if got := len(s.Sink.Requests()); got != 0 {
				t.Errorf("%d pages asked of a stranger", got)
			}
		})
	}
}

func TestTagsStopsWhenAsked(t *testing.T) {
	s := testreg.New(t, testreg.Options{Rules: []testreg.Rule{testreg.Fault("endless-tags")}})
	r := newRepo(t, s)
	for range r.Tags(t.Context()) {
		break
	}
	if n := len(s.Requests()); n != 1 {
		t.Errorf("%d requests for one tag", n)
	}
}

func TestErrorSaysWhatHappened(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://store.example/x?X-Amz-Signature=SECRET1")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"see https://u:SECRET2@host/x?sig=SECRET3, sent Bearer SECRET4SECRET4"}]}`)
	})
	s := testreg.New(t, testreg.Options{Handler: h})
	r := newRepo(t, s)
	_, err := r.Resolve(t.Context(), "v1")
	e, ok := errors.AsType[*remote.Error](err)
	if !ok {
		t.Fatalf("Resolve: %v, want a *remote.Error", err)
	}
	if e.Status != http.StatusForbidden || e.Class != remote.ErrForbidden {
		t.Errorf("error = %+v, want status 403 and ErrForbidden", e)
	}
	_, _, err = r.Manifest(t.Context(), "v1")
	if strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "see https://host/x") {
		t.Errorf("error text %q shows a secret, or nothing", err)
	}
}

// An answer that ends in order and has not all of the blob is wrong; asking
// again would not help. One that is cut is another matter.
func TestFetchEndsEarly(t *testing.T) {
	tests := map[string]struct {
		do   testreg.Action
		want error
	}{
		"in order": {sendChunks(500), orascontent.ErrMismatchedDigest},
		"empty":    {sendChunks(0), orascontent.ErrMismatchedDigest},
		"too long": {sendChunks(1001), orascontent.ErrMismatchedDigest},
		"cut":      {func(x testreg.Exchange) { sendChunks(500)(x); panic(http.ErrAbortHandler) }, remote.ErrUnreachable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{})
			r := newRepo(t, s)
			_, data := content(1, 1000)
			desc := put(t, r, data)
			s.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256", Do: tt.do})
			if got, err := readAll(r.Fetch(t.Context(), desc)); !errors.Is(err, tt.want) {
				t.Errorf("Fetch = %d bytes, %v; want %v", len(got), err, tt.want)
			}
		})
	}
}

// sendChunks sends n bytes of the blob of [content], without saying how many.
func sendChunks(n int) testreg.Action {
	return func(x testreg.Exchange) {
		_, data := content(1, 1000)
		_ = http.NewResponseController(x.W).Flush()
		_, _ = x.W.Write(append(data, 0)[:n])
	}
}
