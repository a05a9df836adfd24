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
	return r.readBlob(ctx, desc.Digest, want, func(ctx context.Context, at *endpoint, dgst digest.Digest, part byteRange) (io.ReadCloser, error) {
		return r.openBlob(ctx, blobCall(at, dgst, quick), dgst, part)
	})
}

// Locate returns a function that reads parts of one blob, as FetchRange does.
// From a registry that gives whole blobs only it returns a reader of the whole
// blob, and 0 for where that begins; otherwise from is the offset asked for.
//
// Each call makes one try: whoever reads many parts at once is the one to know
// that a registry is busy, and to wait. An [Error] tells whether and how long.
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
			k := blobCall(at, dgst, long)
			if at.mirror != nil {
				return r.openBlob(ctx, k, dgst, part)
			}
			body, err := r.openPart(ctx, k, dgst, part)
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

// blobCall returns the request for a blob, to one place.
func blobCall(at *endpoint, dgst digest.Digest, p pace) call {
	return call{
		at: at, method: http.MethodGet, path: "/blobs/" + dgst.String(), pace: p,
		want: []int{http.StatusOK, http.StatusPartialContent, http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable},
	}
}

// openBlob asks one place for a part of a blob.
func (r *Repository) openBlob(ctx context.Context, k call, dgst digest.Digest, want byteRange) (io.ReadCloser, error) {
	body, err := r.openPart(ctx, k, dgst, want)
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
func (r *Repository) openPart(ctx context.Context, k call, dgst digest.Digest, want byteRange) (*exactReader, error) {
	if want.last-want.first+1 < want.total {
		k.header = map[string]string{"Range": want.request()}
	}
	if to := r.from.landing(k.at, dgst); to != nil {
		body, err := r.openAt(ctx, k, to.at, want)
		if !r.from.leave(k.at, dgst, to, err) && (k.pace == long || !busy(err)) {
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
		r.from.land(k.at, dgst, led)
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

// A landing is where a place has led to for a blob.
type landing struct {
	at   *url.URL
	busy bool // it said so last time
}

// landing returns where a place has led to for a blob, or nil.
func (s *sources) landing(at *endpoint, dgst digest.Digest) *landing {
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
		t.led = make(map[*endpoint]*landing)
	}
	t.led[at] = &landing{at: to}
}

// busy tells whether err says that a host works and has too much to do.
func busy(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Overloaded()
}

// leave forgets where a place has led to if the outcome of asking there is a
// reason for that: URLs that are signed expire, and hosts fail or go away. It
// reports whether the place is worth being asked again at once.
//
// A host that is busy may be so for a moment. When it says so twice in a row,
// the place may know a better one, but what it has asked to wait for comes
// first.
func (s *sources) leave(at *endpoint, dgst digest.Digest, to *landing, err error) bool {
	e, ok := errors.AsType[*Error](err)
	if err != nil && (!ok || e.Class == nil) {
		return false // nobody's fault: the request was given up
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := !to.busy; err == nil || busy(err) && first {
		to.busy = err != nil
		return false
	}
	if t := s.trail(dgst.String()); t.led[at] == to {
		delete(t.led, at)
	}
	return !busy(err)
}
