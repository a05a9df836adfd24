package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/remote"
)

// An Opener opens length bytes of a file from offset, all to its end when
// length is negative.
type Opener = func(ctx context.Context, offset, length int64) (io.ReadCloser, error)

// Steady returns an opener of a file of size bytes whose readers go on, by
// opening it again, where one of open's broke off. It gives up after six
// failures without a byte between them.
func Steady(size int64, open Opener) Opener {
	return func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		if offset < 0 || offset > size {
			return nil, fmt.Errorf("read from %d: outside of %d bytes", offset, size)
		}
		end := size
		if length >= 0 {
			end = min(end, offset+length)
		}
		s := &stream{ctx: ctx, open: open, pos: offset, end: end}
		if offset == end && size > 0 {
			return s, nil
		}
		return s, s.connect()
	}
}

// A stream is a part of a file being read. It lives for one reading, and keeps
// the context for that long.
type stream struct {
	ctx      context.Context
	open     Opener
	pos, end int64
	body     io.ReadCloser // from pos on; nil when it must be asked for
	tries    int
}

func (s *stream) connect() (err error) {
	s.body, err = s.open(s.ctx, s.pos, s.end-s.pos)
	return err
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.pos == s.end {
			return 0, io.EOF
		}
		if s.body == nil {
			if err := s.connect(); err != nil {
				return 0, err
			}
		}
		n, err := s.body.Read(p[:min(int64(len(p)), s.end-s.pos)])
		s.pos += int64(n)
		if n > 0 {
			s.tries = 0
		}
		if err != nil && s.pos < s.end {
			if err := s.broke(err); err != nil {
				return n, err
			}
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

// broke ends a request that did not give all it should, and waits for the next
// one. It returns an error when there is to be none.
func (s *stream) broke(err error) error {
	if cerr := s.Close(); cerr != nil && errors.Is(err, io.EOF) {
		err = cerr
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if s.tries++; s.tries >= maxTries || errors.Is(err, content.ErrMismatchedDigest) {
		err, _ = requestError("read", err)
		return err
	}
	return remote.Pause(s.ctx, jitter(s.tries))
}

// Close gives up the request.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	body := s.body
	s.body = nil
	return body.Close()
}

// A download is a file at a URL of a hub.
type download struct {
	client *client
	req    request
	size   int64
	ranged bool // only an answer with the part asked for will do
}

// opener returns how the file is read: by several connections, as far as there
// is room in w.
func (d download) opener(w window) Opener {
	d.req.led = new(landing)
	part := d
	part.ranged = true
	return w.opener(d.size, Steady(d.size, d.open), Steady(d.size, part.open))
}

// open makes one request for a part of the file.
func (d download) open(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	r := d.req
	r.want = []int{http.StatusOK, http.StatusPartialContent}
	if length < d.size {
		r.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)}}
	}
	resp, err := d.client.get(ctx, r)
	if err != nil {
		return nil, err
	}
	op := "get " + hostPath(d.req.url)
	if err := d.accept(op, resp, offset, length); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return body{resp.Body, op}, nil
}

// A body gives the errors of reading an answer a class.
type body struct {
	io.ReadCloser
	op string
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err, _ = requestError(b.op, err)
	}
	return n, err
}

// accept makes sure that an answer has the bytes asked for.
func (d download) accept(op string, resp *http.Response, offset, length int64) error {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return broken(op, "sent with Content-Encoding %s", enc)
	}
	if resp.StatusCode == http.StatusOK {
		if d.ranged {
			return errNoRanges
		}
		if n := resp.ContentLength; n >= 0 && n != d.size {
			return wrongSize(op, n, d.size)
		}
		// The whole file, from a server that knows no ranges.
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			err, _ = requestError(op, err)
			return err
		}
		return nil
	}
	want := fmt.Sprintf("bytes %d-%d/", offset, offset+length-1)
	got := strings.TrimSpace(resp.Header.Get("Content-Range"))
	total, ok := strings.CutPrefix(got, want)
	if !ok {
		return broken(op, "asked for %s, answered %q", want, got)
	}
	if n, err := strconv.ParseInt(total, 10, 64); total != "*" && (err != nil || n != d.size) {
		return wrongSize(op, n, d.size)
	}
	if n := resp.ContentLength; n >= 0 && n != length {
		return wrongSize(op, n, length)
	}
	return nil
}

func wrongSize(op string, got, want int64) error {
	return &Error{Op: op, Text: fmt.Sprintf("%d bytes announced, want %d", got, want), Class: content.ErrMismatchedDigest}
}

// hostPath is what may be shown of a URL.
func hostPath(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	return u.Host + u.EscapedPath()
}
