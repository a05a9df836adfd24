package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FetchRange reads length bytes of a blob from offset, to its end when length
// is negative. The reader fails when it cannot give exactly those. A registry
// that does not give parts of blobs, or gives the wrong ones, is an error that
// wraps errdef.ErrUnsupported: the blob can still be read from its start. The
// caller closes the reader.
//
// Where a registry redirects to is remembered for the blob: what is read of it
// later is asked for there, until it is refused.
func (r *Repository) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	want, err := partOf(desc, offset, length)
	if err != nil {
		return nil, err
	}
	if want.empty() {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return r.readBlob(ctx, desc.Digest, want, r.openBlob)
}

// Locate returns a function that reads parts of one blob, as FetchRange does.
// From a registry that gives whole blobs only it returns a reader of the whole
// blob, and 0 for where that begins; otherwise from is the offset asked for.
func (r *Repository) Locate(desc ocispec.Descriptor) func(ctx context.Context, offset, length int64) (rc io.ReadCloser, from int64, err error) {
	return func(ctx context.Context, offset, length int64) (rc io.ReadCloser, from int64, err error) {
		want, err := partOf(desc, offset, length)
		if err != nil {
			return nil, 0, err
		}
		if want.empty() {
			return io.NopCloser(bytes.NewReader(nil)), offset, nil
		}
		from = offset
		rc, err = r.readBlob(ctx, desc.Digest, want, func(ctx context.Context, at *endpoint, dgst digest.Digest, part byteRange) (io.ReadCloser, error) {
			if at.mirror != nil {
				return r.openBlob(ctx, at, dgst, part)
			}
			body, err := r.openPart(ctx, at, dgst, part)
			if err != nil {
				return nil, err
			}
			if body.whole {
				from = 0
			}
			return body, nil
		})
		return rc, from, err
	}
}

// partOf returns the part of a blob that is meant.
func partOf(desc ocispec.Descriptor, offset, length int64) (byteRange, error) {
	if err := checkDesc(desc); err != nil {
		return byteRange{}, err
	}
	if offset < 0 || offset > desc.Size {
		return byteRange{}, fmt.Errorf("read %s from %d: outside of its %d bytes", desc.Digest, offset, desc.Size)
	}
	if rest := desc.Size - offset; length < 0 || length > rest {
		length = rest
	}
	return byteRange{first: offset, last: offset + length - 1, total: desc.Size}, nil
}

// openBlob asks one place for a part of a blob.
func (r *Repository) openBlob(ctx context.Context, at *endpoint, dgst digest.Digest, want byteRange) (io.ReadCloser, error) {
	body, err := r.openPart(ctx, at, dgst, want)
	if err != nil {
		return nil, err
	}
	if err := body.skipTo(want); err != nil {
		body.Close()
		return nil, err
	}
	return body, nil
}

// openPart asks one place for a part of a blob, or the host that it has led to
// before. The answer may be the whole blob.
func (r *Repository) openPart(ctx context.Context, at *endpoint, dgst digest.Digest, want byteRange) (*exactReader, error) {
	k := call{
		at: at, method: http.MethodGet, path: "/blobs/" + dgst.String(),
		want: []int{http.StatusOK, http.StatusPartialContent, http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable},
	}
	if want.last-want.first+1 < want.total {
		k.header = map[string]string{"Range": want.request()}
	}
	if to := r.from.landing(at, dgst); to != nil {
		body, err := r.openAt(ctx, k, to, want)
		if err == nil || !r.from.leave(at, dgst, to, err) {
			return body, err
		}
	}
	var led *url.URL
	k.landed = func(last *http.Request) { led = last.URL }
	resp, err := r.do(ctx, k)
	if err != nil {
		return nil, err
	}
	body, err := openAnswer(resp, dgst, want)
	if err == nil && led != nil && !sameOrigin(led, resp.Request.URL) {
		r.from.land(at, dgst, led)
	}
	return body, err
}

// openAt makes the request where the registry has led to before, without the
// registry and its credentials.
func (r *Repository) openAt(ctx context.Context, k call, to *url.URL, want byteRange) (*exactReader, error) {
	home, err := r.request(ctx, k)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(home.Context(), home.Method, to.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, home.Header)
	req.Response = &http.Response{Request: home} // as in a redirect, for the guard
	op := opOf(home)
	client := &http.Client{Transport: r.client.guard, CheckRedirect: readsOnly}
	resp, err := client.Do(req)
	if err != nil {
		return nil, requestError(op, err)
	}
	resp.Request = home // where a redirect led is not for errors to show
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return nil, answerError(op, resp)
	}
	return openAnswer(resp, "", want)
}

// openAnswer turns an answer into a reader, or closes it. The digest is empty
// where nobody's word on it counts.
func openAnswer(resp *http.Response, dgst digest.Digest, want byteRange) (*exactReader, error) {
	op := opOf(resp.Request)
	var body *exactReader
	var err error
	if dgst != "" {
		err = checkDigest(op, resp, dgst)
	}
	if err == nil {
		body, err = openRange(op, resp, want)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return body, nil
}

// landing returns where a place has led to for a blob, or nil.
func (s *sources) landing(at *endpoint, dgst digest.Digest) *url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.trails[dgst.String()]; ok {
		return t.led[at]
	}
	return nil
}

// land remembers where a place has led to for a blob.
func (s *sources) land(at *endpoint, dgst digest.Digest, to *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.trail(dgst.String())
	if t.led == nil {
		t.led = make(map[*endpoint]*url.URL)
	}
	t.led[at] = to
}

// leave forgets where a place has led to if the error is a reason for that: URLs
// that are signed expire, and hosts go away. It reports whether the place is
// worth being asked again at once.
func (s *sources) leave(at *endpoint, dgst digest.Digest, to *url.URL, err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Class == nil {
		return false // nobody's fault: the request was given up
	}
	if e.Status != 0 && e.again {
		return false // it is there, and busy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.trail(dgst.String()); t.led[at] == to {
		delete(t.led, at)
	}
	return true
}
