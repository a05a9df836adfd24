package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	// smallBlob is up to how many bytes of a stream are kept in memory, so
	// that they can be sent again.
	smallBlob = 4 << 20

	settleWait  = 250 * time.Millisecond // between two looks at an upload's status
	settleLooks = 20
)

// errOnce says that a stream cannot be sent a second time.
var errOnce = errors.New("content can be read only once")

// A session is an upload that the registry has begun.
type session struct {
	at     *url.URL
	unsure bool // it may hold bytes already
}

// An upload is one call of PushFrom.
//
// All bytes go in one PUT, as every registry takes them; some take no PATCH
// (Google), or none of more than 4 MiB (GitHub). When it breaks, what the
// registry kept is asked for and the rest sent in another PUT. distribution
// keeps the bytes of a broken PUT as well as of a broken PATCH; a registry
// that keeps none gets them again.
type upload struct {
	repo *Repository
	desc ocispec.Descriptor
	open func(ctx context.Context, offset int64) (io.ReadCloser, error)
	sent func(n int64)

	to     *url.URL     // the session; nil before one is begun
	unsure bool         // offset must be asked for
	offset int64        // where the next request starts
	handed atomic.Int64 // bytes reported as sent, by and large
	body   *uploadBody  // of the last request
	afresh bool         // was begun again because of a wrong digest
}

// PushFrom uploads the blob that open reads. After a broken connection it asks
// the registry how much arrived and goes on from there, or begins again when
// that was nothing; it gives up after six tries that brought no progress. The
// registry compares the digest. open may return an *os.File: on connections
// without TLS the kernel then moves the bytes. sent, if not nil, is called with
// the number of bytes handed to the network, and with a negative number for
// bytes that must go again.
//
// A later call for the same blob goes on where a call that failed stopped.
func (r *Repository) PushFrom(ctx context.Context, desc ocispec.Descriptor, open func(ctx context.Context, offset int64) (io.ReadCloser, error), sent func(n int64)) error {
	if err := checkDesc(desc); err != nil {
		return err
	}
	if sent == nil {
		sent = func(int64) {}
	}
	u := &upload{repo: r, desc: desc, open: open, sent: sent}
	if s, ok := r.takeSession(desc); ok {
		u.to, u.unsure = s.at, s.unsure
	}
	err := u.run(ctx)
	if err != nil && u.to != nil {
		r.keepSession(desc, session{at: u.to, unsure: true})
	}
	return err
}

func (r *Repository) takeSession(desc ocispec.Descriptor) (session, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[desc.Digest.String()]
	delete(r.sessions, desc.Digest.String())
	return s, ok
}

func (r *Repository) keepSession(desc ocispec.Descriptor, s session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[desc.Digest.String()] = s
}

// run sends until the blob is there.
func (u *upload) run(ctx context.Context) error {
	var last error
	var best int64
	for tries := 0; ; tries++ {
		err := u.step(ctx)
		if errors.Is(err, errOnce) && last != nil {
			return last
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("push blob %s: %w", u.desc.Digest, context.Cause(ctx))
		}
		if u.offset > best {
			best, tries = u.offset, 0
		}
		wait, again := u.judge(err)
		if !again || tries+1 >= maxTries {
			return u.final(err)
		}
		last = err
		if err := pause(ctx, backoff(tries, wait)); err != nil {
			return err
		}
	}
}

// step makes one try.
func (u *upload) step(ctx context.Context) error {
	if u.unsure {
		if done, err := u.resync(ctx); done || err != nil {
			return err
		}
	}
	if u.to == nil {
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	return u.put(ctx)
}

// judge decides whether and from where to try again.
func (u *upload) judge(err error) (wait time.Duration, again bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	inSession := u.to != nil
	switch {
	case inSession && (e.Status == http.StatusNotFound || e.Status == http.StatusGone):
		u.forget()
		return 0, true
	case inSession && e.Status == http.StatusRequestedRangeNotSatisfiable:
		u.unsure = true
		return 0, true
	case inSession && !u.afresh && (e.Code == "DIGEST_INVALID" || u.offset > 0 && e.Status == http.StatusBadRequest):
		u.afresh = true
		u.forget()
		return 0, true
	case e.again:
		u.unsure = inSession
		return e.Wait, true
	}
	return 0, false
}

// final gives the last error its class.
func (u *upload) final(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == "DIGEST_INVALID" {
		return &Error{Op: e.Op, Status: e.Status, Code: e.Code, Text: e.Text, Class: content.ErrMismatchedDigest, cause: err}
	}
	return err
}

// forget gives up the session and all that was sent in it.
func (u *upload) forget() {
	u.to, u.unsure = nil, false
	u.rewind(0)
}

// rewind sets where the next request starts, and corrects what was reported.
func (u *upload) rewind(offset int64) {
	if u.body != nil {
		_ = u.body.stop()
		u.body = nil
	}
	u.offset = offset
	if d := offset - u.handed.Swap(offset); d != 0 {
		u.sent(d)
	}
}

// begin opens a session.
func (u *upload) begin(ctx context.Context) error {
	resp, err := u.repo.do(ctx, call{
		method: http.MethodPost, path: "/blobs/uploads/",
		scopes: []string{auth.ActionPull, auth.ActionPush},
		want:   []int{http.StatusAccepted},
	})
	if err != nil {
		return err
	}
	drain(resp.Body)
	u.rewind(0)
	u.to, err = u.repo.location(resp)
	return err
}

// location returns where the registry wants the next request of an upload.
// It must be on the registry itself, for our credentials go there.
func (r *Repository) location(resp *http.Response) (*url.URL, error) {
	op := opOf(resp.Request)
	base := resp.Request.URL
	said := resp.Header.Get("Location")
	u, err := base.Parse(said)
	if err != nil || said == "" {
		return nil, protocolError(op, "no location for the upload: %q", said)
	}
	port := u.Port()
	ours := base.Port()
	same := strings.EqualFold(u.Hostname(), base.Hostname()) &&
		(port == ours || port == "" || ours == "" && (port == "80" || port == "443"))
	if !same || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, protocolError(op, "upload sent elsewhere: %s", u.Redacted())
	}
	// Behind a proxy that ends TLS many registries say http, or leave out
	// the port.
	u.Scheme, u.Host = base.Scheme, base.Host
	return u, nil
}

// put sends the bytes from u.offset on.
func (u *upload) put(ctx context.Context) error {
	to := *u.to
	// The rest of the query is the registry's own and must stay as it is.
	to.RawQuery = strings.TrimPrefix(to.RawQuery+"&digest="+url.QueryEscape(u.desc.Digest.String()), "&")
	k := call{
		method: http.MethodPut, url: &to, upload: u, pace: long,
		header: map[string]string{"Content-Type": "application/octet-stream"},
		scopes: []string{auth.ActionPull, auth.ActionPush},
		want:   []int{http.StatusCreated, http.StatusOK, http.StatusNoContent},
	}
	if u.offset > 0 && u.offset < u.desc.Size {
		k.header["Content-Range"] = fmt.Sprintf("%d-%d", u.offset, u.desc.Size-1)
	}
	resp, err := u.repo.do(ctx, k)
	if u.body != nil {
		if bad := u.body.stop(); bad != nil && ctx.Err() == nil {
			if err == nil {
				drain(resp.Body)
			}
			return fmt.Errorf("read blob %s: %w", u.desc.Digest, bad)
		}
	}
	if err != nil {
		return err
	}
	drain(resp.Body)
	return checkDigest(opOf(resp.Request), resp, u.desc.Digest)
}

// attach gives the request its body.
func (u *upload) attach(ctx context.Context, req *http.Request) error {
	req.ContentLength = u.desc.Size - u.offset
	if req.ContentLength == 0 {
		req.Body = http.NoBody
		return nil
	}
	req.GetBody = func() (io.ReadCloser, error) { return u.openBody(ctx) }
	var err error
	req.Body, err = req.GetBody()
	return err
}

// openBody opens the bytes from u.offset on. It is called again when the
// request must be repeated with credentials.
func (u *upload) openBody(ctx context.Context) (io.ReadCloser, error) {
	u.rewind(u.offset)
	rc, err := u.open(ctx, u.offset)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", u.desc.Digest, err)
	}
	u.body = &uploadBody{src: rc, left: u.desc.Size - u.offset, report: func(n int64) {
		u.handed.Add(n)
		u.sent(n)
	}}
	return u.body, nil
}

// resync finds out how far the upload has come. done means that the blob is
// there: an answer can get lost after the registry has finished.
func (u *upload) resync(ctx context.Context) (done bool, err error) {
	if u.handed.Load() >= u.desc.Size {
		if done, err = u.repo.Exists(ctx, u.desc); done || err != nil {
			return done, err
		}
	}
	kept, err := u.settle(ctx)
	if e, ok := errors.AsType[*Error](err); ok && !e.again {
		kept, err = 0, nil // the registry does not know it, or does not tell
	}
	if err != nil {
		return false, err
	}
	if kept == 0 || kept > u.desc.Size {
		u.forget()
		return false, nil
	}
	u.unsure = false
	u.rewind(kept)
	return false, nil
}

// settle asks how many bytes the registry has until it says the same number
// twice: it may still be busy with those that came before the connection
// broke, and two requests writing to one upload spoil it.
func (u *upload) settle(ctx context.Context) (int64, error) {
	last := int64(-1)
	for range settleLooks {
		kept, err := u.status(ctx)
		if err != nil || kept == last {
			return kept, err
		}
		last = kept
		if err := pause(ctx, settleWait); err != nil {
			return 0, err
		}
	}
	return 0, protocolError(u.repo.op("resume upload to"), "its status does not come to rest")
}

func (u *upload) status(ctx context.Context) (int64, error) {
	resp, err := u.repo.do(ctx, call{
		method: http.MethodGet, url: u.to,
		scopes: []string{auth.ActionPull, auth.ActionPush},
		want:   []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK},
	})
	if err != nil {
		return 0, err
	}
	drain(resp.Body)
	kept, ok := parseKept(resp.Header.Get("Range"))
	if !ok {
		return 0, protocolError(opOf(resp.Request), "status with Range %q", resp.Header.Get("Range"))
	}
	if resp.Header.Get("Location") != "" {
		if u.to, err = u.repo.location(resp); err != nil {
			return 0, err
		}
	}
	return kept, nil
}

// MountFrom asks for the blob from another repository of the same registry. It
// reports false when the registry declines, which also happens when the user
// may not read there; a following [Repository.PushFrom] then uses the upload
// that the registry has begun instead.
func (r *Repository) MountFrom(ctx context.Context, desc ocispec.Descriptor, from string) (bool, error) {
	if err := checkDesc(desc); err != nil {
		return false, err
	}
	from = strings.TrimPrefix(from, r.ref.Registry+"/")
	resp, err := r.do(ctx, call{
		method: http.MethodPost, path: "/blobs/uploads/", from: from,
		query:  url.Values{"mount": {desc.Digest.String()}, "from": {from}},
		scopes: []string{auth.ActionPull, auth.ActionPush},
		want:   []int{http.StatusCreated, http.StatusAccepted},
	})
	if e, ok := errors.AsType[*Error](err); ok && e.Status/100 == 4 && !e.again {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	drain(resp.Body)
	if resp.StatusCode == http.StatusCreated {
		return true, checkDigest(opOf(resp.Request), resp, desc.Digest)
	}
	at, err := r.location(resp)
	if err != nil {
		return false, err
	}
	r.keepSession(desc, session{at: at})
	return false, nil
}

// reopen returns a way to read from several times, as far as there is one.
func reopen(from io.Reader, size int64) (func(context.Context, int64) (io.ReadCloser, error), error) {
	if size <= smallBlob {
		raw, err := io.ReadAll(io.LimitReader(from, size+1))
		if err == nil && int64(len(raw)) != size {
			err = content.ErrMismatchedDigest
		}
		return func(_ context.Context, offset int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(raw[offset:])), nil
		}, err
	}
	s, ok := from.(io.Seeker)
	if !ok {
		used := false
		return func(context.Context, int64) (io.ReadCloser, error) {
			if used {
				return nil, errOnce
			}
			used = true
			return io.NopCloser(from), nil
		}, nil
	}
	start, err := s.Seek(0, io.SeekCurrent)
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		_, err := s.Seek(start+offset, io.SeekStart)
		return io.NopCloser(from), err
	}, err
}
