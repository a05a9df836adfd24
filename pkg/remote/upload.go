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

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

const (
	// smallBlob is up to how many bytes of a stream are kept in memory, so
	// that they can be sent again.
	smallBlob = 4 << 20

	// notedBlob is from how many bytes on it is worth noting where an upload
	// goes on.
	notedBlob = 8 << 20
)

// errOnce says that a stream cannot be sent a second time.
var errOnce = errors.New("content can be read only once")

// reader opens the bytes of a blob from an offset.
type reader = func(ctx context.Context, offset int64) (io.ReadCloser, error)

// An upload is one call of PushFrom or PushStream.
//
// Every registry takes a blob whose digest is known in one PUT, so that is
// tried first; some take no PATCH, or none of more than 4 MiB. What a registry refuses leads to the next way, and is remembered.
// When a request breaks, what the registry kept is asked for and the rest sent
// in another. distribution keeps the bytes of a broken PUT as well as of a
// broken PATCH; a registry that keeps none gets them again.
type upload struct {
	repo *Repository
	size int64
	dgst digest.Digest // "" as long as it is not known
	sum  func(ctx context.Context) (digest.Digest, error)
	open reader
	tell func(n int64, err error)

	mode  mode
	piece int64 // of a chunked upload
	fell  bool  // mode is not the one that was tried first
	key   string
	note  Note // may be nil

	to     *url.URL     // the session; nil before one is begun
	unsure bool         // offset must be asked for
	older  bool         // the session is of an earlier call
	offset int64        // where the next request starts
	end    int64        // and where it ends
	least  int64        // bytes that the registry wants in a piece
	handed atomic.Int64 // bytes reported as sent, by and large
	body   *uploadBody  // of the last request
	afresh bool         // was begun again because of a wrong digest
	early  bool         // a PATCH was answered as if it were the end
	doubts int          // answers at the start that may mean that this way is not taken
}

// PushFrom uploads the blob that open reads. After a broken connection it asks
// the registry how much arrived and goes on from there, or begins again when
// that was nothing; it gives up after six tries that brought no progress. The
// registry compares the digest. open may return an *os.File, or something
// with a method File that returns the one it reads: on connections without TLS
// the kernel then moves the bytes. tell, if not nil, is called with
// the number of bytes handed to the network, with a negative number for bytes
// that must go again, and with the error of each try that is followed by
// another.
//
// A later call for the same blob goes on where a call that failed stopped, and
// with a [Memory] also one in another process.
func (r *Repository) PushFrom(ctx context.Context, desc ocispec.Descriptor, open func(ctx context.Context, offset int64) (io.ReadCloser, error), tell func(n int64, err error)) error {
	if err := checkDesc(desc); err != nil {
		return err
	}
	h := r.habit()
	u := &upload{
		repo: r, size: desc.Size, dgst: desc.Digest, key: desc.Digest.String(), open: open, tell: tell,
		mode: h.mode, piece: max(h.piece, 0),
	}
	return u.do(ctx)
}

// Streams reports whether [Repository.PushStream] is worth a try: it is not when
// the registry has refused such uploads before.
func (r *Repository) Streams() bool { return !r.habit().noStream }

// Begun reports whether an earlier [Repository.PushStream] of as many bytes with this
// key has stopped on its way, so that another goes on there. With a [Memory] that may
// have been in another process; one that is at it now does not count.
func (r *Repository) Begun(key string, size int64) bool {
	if key == "" {
		return false
	}
	r.mu.Lock()
	_, begun := r.sessions[key]
	r.mu.Unlock()
	if begun || r.memory == nil || size < notedBlob {
		return begun
	}
	note := r.memory.Upload(r.Name(), key)
	if note == nil {
		return false
	}
	defer note.Close()
	return note.Location() != ""
}

// PushStream uploads a blob whose digest is known only after its last byte was
// read: s.Digest is called when all bytes have been sent, and may wait. It goes
// on after failures as [Repository.PushFrom] does; s.Key names the bytes for a
// later call, "" if nothing can. It returns an error that wraps
// errdef.ErrUnsupported when the registry takes no such uploads, or does not know
// any more of one that an earlier call has begun. That may have come to its end: who
// finds out the digest first need perhaps send nothing.
func (r *Repository) PushStream(ctx context.Context, s interface {
	Key() string
	Size() int64
	Open(ctx context.Context, offset int64) (io.ReadCloser, error)
	Digest(ctx context.Context) (digest.Digest, error)
}, tell func(n int64, err error),
) (digest.Digest, error) {
	u := &upload{
		repo: r, size: s.Size(), sum: s.Digest, key: s.Key(), open: s.Open, tell: tell,
		mode: streamed, piece: r.habit().piece,
	}
	if u.piece > 0 {
		u.mode = chunked
	}
	err := u.do(ctx)
	return u.dgst, err
}

// do runs the upload with what is known of an earlier one.
func (u *upload) do(ctx context.Context) error {
	if u.tell == nil {
		u.tell = func(int64, error) {}
	}
	u.recall()
	err := u.run(ctx)
	u.leave(err)
	return err
}

// run sends until the blob is there.
func (u *upload) run(ctx context.Context) error {
	var last error
	var best, worth int64 // bytes that were kept, and at the last progress worth the name
	waits := allowance{most: u.repo.client.opts.MaxWait}
	for tries := 0; ; tries++ {
		err := u.step(ctx)
		if errors.Is(err, errOnce) && last != nil {
			return last
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("push blob%s: %w", u.named(), context.Cause(ctx))
		}
		if u.offset > best {
			best, tries = u.offset, 0
		}
		if best-worth >= worthBytes {
			worth, waits.waited = best, 0
		}
		next := u.judge(err)
		if !next.again || tries+1 >= maxTries {
			return u.final(err)
		}
		last = err
		u.tell(0, err)
		if next.other {
			best, worth, tries = 0, 0, 0
			continue
		}
		wait := backoff(tries, next.wait)
		if !waits.spend(wait) {
			return waits.over(u.final(err))
		}
		if err := Pause(ctx, wait); err != nil {
			return err
		}
	}
}

// named is the digest, as a part of an error's text.
func (u *upload) named() string {
	if u.dgst == "" {
		return ""
	}
	return " " + u.dgst.String()
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
	for u.mode != whole && u.offset < u.size {
		if err := u.patch(ctx); err != nil {
			return err
		}
	}
	return u.put(ctx)
}

// put sends the bytes from u.offset on, or none if PATCHes have, with the
// digest.
func (u *upload) put(ctx context.Context) error {
	if err := u.sumUp(ctx); err != nil {
		return err
	}
	u.end = u.size
	to := *u.to
	// The rest of the query is the registry's own and must stay as it is.
	to.RawQuery = strings.TrimPrefix(to.RawQuery+"&digest="+url.QueryEscape(u.dgst.String()), "&")
	k := call{method: http.MethodPut, url: &to, want: []int{http.StatusCreated, http.StatusOK, http.StatusNoContent}}
	if u.offset > 0 && u.offset < u.size {
		k.header = map[string]string{"Content-Range": fmt.Sprintf("%d-%d", u.offset, u.size-1)}
	}
	resp, err := u.send(ctx, k)
	if err != nil {
		return err
	}
	return checkDigest(opOf(resp.Request), resp, u.dgst)
}

// sumUp asks for the digest, if it is not known yet.
func (u *upload) sumUp(ctx context.Context) (err error) {
	if u.dgst != "" {
		return nil
	}
	if u.dgst, err = u.sum(ctx); err != nil {
		return fmt.Errorf("digest of blob: %w", err)
	}
	return checkDesc(ocispec.Descriptor{Digest: u.dgst, Size: u.size})
}

// patch sends a piece, or all that is left.
func (u *upload) patch(ctx context.Context) error {
	u.end = u.size
	k := call{method: http.MethodPatch, url: u.to, want: []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated}}
	if u.mode == chunked {
		u.end = min(u.size, u.offset+u.pieceSize())
	}
	if u.offset > 0 || u.mode == chunked {
		k.header = map[string]string{"Content-Range": fmt.Sprintf("%d-%d", u.offset, u.end-1)}
	}
	resp, err := u.send(ctx, k)
	if err != nil {
		return err
	}
	op := opOf(resp.Request)
	u.early = resp.StatusCode == http.StatusCreated
	if u.early && u.end < u.size {
		return &Error{Op: op, Status: resp.StatusCode, Text: "took a piece for the whole", Class: ErrProtocol}
	}
	if resp.Header.Get("Location") != "" {
		if u.to, err = u.repo.location(resp); err != nil {
			return err
		}
		u.keep()
	}
	return u.advance(op, resp.Header.Get("Range"))
}

// advance goes to where the registry says that it has come.
func (u *upload) advance(op, said string) error {
	kept, ok := parseKept(said)
	switch {
	case said == "" || !ok || kept == u.end:
		u.offset = u.end
	case kept > u.end:
		u.unsure = true
		return &Error{Op: op, Text: "has more than was sent", Class: ErrProtocol, again: true}
	case kept <= u.offset:
		u.unsure = true
		return &Error{Op: op, Text: "has kept nothing of a piece", Class: ErrProtocol, again: true}
	default:
		u.rewind(kept)
	}
	return nil
}

func (u *upload) pieceSize() int64 {
	n := u.piece
	if n == 0 {
		n = defaultPiece
	}
	return max(n, u.least)
}

// send makes a request with the bytes from u.offset to u.end.
func (u *upload) send(ctx context.Context, k call) (*http.Response, error) {
	if k.header == nil {
		k.header = make(map[string]string)
	}
	k.header["Content-Type"] = "application/octet-stream"
	k.upload, k.pace, k.scopes = u, long, pushScopes()
	resp, err := u.repo.do(ctx, k)
	if u.body != nil {
		if bad := u.body.stop(); bad != nil && ctx.Err() == nil {
			if err == nil {
				drain(resp.Body)
			}
			return nil, fmt.Errorf("read blob%s: %w", u.named(), bad)
		}
	}
	if err != nil {
		return nil, err
	}
	drain(resp.Body)
	return resp, nil
}

// attach gives the request its body.
func (u *upload) attach(ctx context.Context, req *http.Request) error {
	req.ContentLength = u.end - u.offset
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
		return nil, fmt.Errorf("open blob%s: %w", u.named(), err)
	}
	u.body = &uploadBody{src: rc, left: u.end - u.offset, report: func(n int64) {
		u.handed.Add(n)
		u.tell(n, nil)
	}}
	return u.body, nil
}

// rewind sets where the next request starts, and corrects what was reported.
func (u *upload) rewind(offset int64) {
	if u.body != nil {
		_ = u.body.stop()
		u.body = nil
	}
	u.offset = offset
	if d := offset - u.handed.Swap(offset); d != 0 {
		u.tell(d, nil)
	}
}

// final gives the last error its class.
func (u *upload) final(err error) error {
	e, ok := errors.AsType[*Error](err)
	if ok && u.sum != nil && u.mode == whole {
		return fmt.Errorf("%w: %w", errdef.ErrUnsupported, err)
	}
	if ok && e.Code == codeDigest {
		return &Error{Op: e.Op, Status: e.Status, Code: e.Code, Text: e.Text, Class: content.ErrMismatchedDigest, cause: err}
	}
	return err
}

// reopen returns a way to read from several times, as far as there is one.
func reopen(from io.Reader, size int64) (reader, error) {
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
