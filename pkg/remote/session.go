package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	settleWait  = 250 * time.Millisecond // between two looks at an upload's status
	settleLooks = 20

	// commitLooks is how often it is looked for a blob of which only the
	// answer to the closing PUT was lost: object stores copy it once more
	// before they answer.
	commitLooks = 4
)

const (
	codeDigest      = "DIGEST_INVALID"
	codeUnsupported = "UNSUPPORTED"

	headerMinLength = "OCI-Chunk-Min-Length"
)

func pushScopes() []string { return []string{auth.ActionPull, auth.ActionPush} }

// A session is an upload that the registry has begun.
type session struct {
	at     *url.URL
	unsure bool // it may hold bytes already
}

func (r *Repository) takeSession(key string) (session, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[key]
	delete(r.sessions, key)
	return s, ok
}

func (r *Repository) keepSession(key string, s session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[key] = s
}

// recall finds the session of an earlier call or process. One that is noted
// comes before one in memory, which may be what a declined mount has left:
// that holds nothing yet.
func (u *upload) recall() {
	if u.key == "" {
		return
	}
	if u.repo.memory != nil && u.size >= notedBlob {
		u.note = u.repo.memory.Upload(u.repo.Name(), u.key)
	}
	s, begun := u.repo.takeSession(u.key)
	if at := u.noted(); at != nil {
		u.to, u.unsure, u.older = at, true, true
		return
	}
	if begun {
		u.to, u.unsure, u.older = s.at, s.unsure, s.unsure
		u.keep()
	}
}

// noted returns where the note says that the upload goes on, or nil.
func (u *upload) noted() *url.URL {
	if u.note == nil || u.note.Location() == "" {
		return nil
	}
	at, err := u.repo.parseLocation(u.repo.at.url(u.repo.ref.Repository, "/blobs/uploads/", nil), u.note.Location())
	if err != nil {
		return nil
	}
	return at
}

// keep notes where the upload goes on.
func (u *upload) keep() {
	if u.note == nil {
		return
	}
	if u.to == nil {
		u.note.Keep("")
		return
	}
	u.note.Keep(u.to.String())
}

// leave notes what a later call can use.
func (u *upload) leave(err error) {
	if err == nil {
		u.to = nil
		u.keep()
		if u.fell {
			u.repo.learn(func(h *habit) { h.mode, h.piece = u.mode, u.piece })
		}
	} else if u.to != nil && u.key != "" {
		u.repo.keepSession(u.key, session{at: u.to, unsure: true})
	}
	if u.note != nil {
		u.note.Close()
	}
}

// begin opens a session.
func (u *upload) begin(ctx context.Context) error {
	resp, err := u.repo.do(ctx, call{
		method: http.MethodPost, path: "/blobs/uploads/",
		scopes: pushScopes(),
		want:   []int{http.StatusAccepted},
	})
	if err != nil {
		return err
	}
	drain(resp.Body)
	u.rewind(0)
	if u.to, err = u.repo.location(resp); err != nil {
		return err
	}
	u.least, _ = parseCount(resp.Header.Get(headerMinLength))
	u.keep()
	return nil
}

// location returns where the registry wants the next request of an upload.
func (r *Repository) location(resp *http.Response) (*url.URL, error) {
	at, err := r.parseLocation(resp.Request.URL, resp.Header.Get("Location"))
	if err != nil {
		return nil, protocolError(opOf(resp.Request), "%v", err)
	}
	return at, nil
}

// parseLocation reads an upload's address, as it was said by base. It must be
// on the registry itself, for our credentials go there.
func (r *Repository) parseLocation(base *url.URL, said string) (*url.URL, error) {
	u, err := base.Parse(said)
	if err != nil || said == "" {
		return nil, errors.New("no location for the upload, or none that can be read")
	}
	port := u.Port()
	ours := base.Port()
	same := strings.EqualFold(u.Hostname(), base.Hostname()) &&
		(port == ours || port == "" || ours == "" && (port == "80" || port == "443"))
	if !same || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("upload sent elsewhere: " + u.Scheme + "://" + u.Host)
	}
	// Behind a proxy that ends TLS many registries say http, or leave out
	// the port.
	u.Scheme, u.Host = base.Scheme, base.Host
	return u, nil
}

// forget gives up the session and all that was sent in it.
func (u *upload) forget() {
	u.to, u.unsure, u.early, u.older = nil, false, false, false
	u.keep()
	u.rewind(0)
}

// What to do after a failure.
type verdict struct {
	again bool
	other bool // in another way, without a wait
	wait  time.Duration
}

// judge decides whether, how and from where to try again.
func (u *upload) judge(err error) verdict {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return verdict{}
	}
	if u.to == nil {
		return verdict{again: e.again, wait: e.Wait}
	}
	if u.refused(e) {
		other := u.fallBack(e)
		return verdict{again: other, other: other}
	}
	gone := e.Status == http.StatusNotFound || e.Status == http.StatusGone
	switch {
	case gone && u.dgst != "" && u.size > 0 && u.offset == u.size:
		// All is there, and somebody has closed it: perhaps an earlier process
		// that was killed while it waited for the answer.
		u.unsure = true
		return verdict{again: true}
	case gone:
		u.forget()
		return verdict{again: true}
	case e.Status == http.StatusRequestedRangeNotSatisfiable:
		u.unsure = true
		return verdict{again: true}
	case !u.afresh && (e.Code == codeDigest || u.offset > 0 && e.Status == http.StatusBadRequest):
		u.afresh = true
		u.forget()
		return verdict{again: true}
	case e.again:
		u.unsure = true
		return verdict{again: true, wait: e.Wait}
	}
	return verdict{}
}

// refused tells whether e says that the registry does not take blobs in this
// way, and not that something went wrong on it.
func (u *upload) refused(e *Error) bool {
	switch e.Status {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusRequestEntityTooLarge, http.StatusCreated:
		return true
	case http.StatusNotFound, http.StatusGone, http.StatusRequestedRangeNotSatisfiable:
		// Before the first byte this is how some say that they know no
		// PATCH, or none of that size, but also how a session ends.
		if u.offset == 0 {
			u.doubts++
		}
		return u.doubts > 1 || u.early
	}
	if e.Code == codeUnsupported {
		return true
	}
	return u.sum != nil && u.afresh && e.Code == codeDigest
}

// fallBack goes over to the next way to upload. It reports false when there is
// none left.
func (u *upload) fallBack(e *Error) bool {
	tooLarge := e.Status == http.StatusRequestEntityTooLarge
	size := u.end - u.offset
	if tooLarge && u.mode != chunked {
		// A smaller piece of it may go through what does not let the whole.
		size = 4 * defaultPiece
	}
	u.forget()
	u.doubts, u.fell = 0, true
	switch {
	case tooLarge && size > max(leastPiece, u.least):
		u.mode, u.piece = chunked, max(size/4, leastPiece)
		return true
	case u.sum != nil:
		u.mode = whole // which needs the digest first
		u.repo.learn(func(h *habit) { h.noStream = true })
		return false
	case u.mode == whole:
		u.mode = streamed
		return true
	case u.mode == streamed:
		u.mode = chunked
		return true
	}
	return false
}

// resync finds out how far the upload has come. done means that the blob is
// there: an answer can get lost after the registry has finished.
func (u *upload) resync(ctx context.Context) (done bool, err error) {
	closing := u.handed.Load() >= u.size && u.dgst != ""
	var kept int64
	var gone bool
	for look := range commitLooks {
		if closing {
			if done, err = u.repo.Exists(ctx, ocispec.Descriptor{Digest: u.dgst, Size: u.size}); done || err != nil {
				return done, err
			}
		}
		kept, err = u.settle(ctx)
		if gone = over(err); gone {
			kept, err = 0, nil
		}
		if err != nil {
			return false, err
		}
		if !closing || kept > 0 && kept < u.size || look == commitLooks-1 {
			break
		}
		if err := Pause(ctx, backoff(look, 0)); err != nil {
			return false, err
		}
	}
	if gone && u.older && u.sum != nil {
		u.forget()
		return false, errEnded
	}
	if kept == 0 || kept > u.size {
		u.forget()
		return false, nil
	}
	u.unsure = false
	u.rewind(kept)
	return false, nil
}

// errEnded says that an upload of unknown digest, which an earlier call began, may
// have come to its end.
var errEnded = fmt.Errorf("the upload that was begun is not known any more: %w", errdef.ErrUnsupported)

// errNoStatus says that a registry cannot tell how far an upload has come.
var errNoStatus = errors.New("no status of the upload")

// over tells whether err, from asking for an upload's status, means that
// the upload cannot go on. A registry that is down, busy, or does not let us in
// just now has said nothing about it.
func over(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusGone, // it knows none
		http.StatusBadRequest,                                  // nor what its address says
		http.StatusMethodNotAllowed, http.StatusNotImplemented: // it does not tell
		return true
	}
	return e.Code == codeUnsupported || errors.Is(err, errNoStatus)
}

// noStatus returns err, with the mark that [over] looks for.
func noStatus(err *Error) error {
	err.cause = errNoStatus
	return err
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
		if err := Pause(ctx, settleWait); err != nil {
			return 0, err
		}
	}
	return 0, noStatus(protocolError(u.repo.op("resume upload to"), "its status does not come to rest"))
}

func (u *upload) status(ctx context.Context) (int64, error) {
	resp, err := u.repo.do(ctx, call{
		method: http.MethodGet, url: u.to,
		scopes: pushScopes(), pace: long,
		want: []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK},
	})
	if err != nil {
		return 0, err
	}
	drain(resp.Body)
	kept, ok := parseKept(resp.Header.Get("Range"))
	if !ok {
		return 0, noStatus(protocolError(opOf(resp.Request), "status with Range %q", resp.Header.Get("Range")))
	}
	if said := resp.Header.Get("Location"); said != "" {
		to, err := u.repo.parseLocation(resp.Request.URL, said)
		if err != nil {
			return 0, noStatus(protocolError(opOf(resp.Request), "%v", err))
		}
		u.to = to
		u.keep()
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
		scopes: pushScopes(),
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
	r.keepSession(desc.Digest.String(), session{at: at})
	return false, nil
}
