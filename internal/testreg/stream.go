package testreg

import (
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Positions in the body of an answer, for actions that take one. A position
// is a number of bytes from the start; a negative one is counted from the end,
// so that -1 is before the last byte.
const Middle = math.MinInt64

func position(at, total int64) int64 {
	switch {
	case at == Middle:
		return total / 2
	case at < 0:
		return max(total+at, 0)
	}
	return at
}

// A stream lets an action change an answer while it is written, so that big
// blobs need not be held.
type stream struct {
	http.ResponseWriter

	// head may change the status and the header before they go out.
	head func(status int, h http.Header) int

	// body writes p, which comes at offset off, as it sees fit.
	body func(off int64, p []byte) error

	off     int64
	started bool
}

// WriteHeader runs head once.
func (s *stream) WriteHeader(status int) {
	if !s.started && status >= 200 && s.head != nil {
		status = s.head(status, s.Header())
	}
	s.started = s.started || status >= 200
	s.ResponseWriter.WriteHeader(status)
}

// Write hands p to body.
func (s *stream) Write(p []byte) (int, error) {
	if !s.started {
		s.WriteHeader(http.StatusOK)
	}
	off := s.off
	s.off += int64(len(p))
	if s.body == nil {
		return s.ResponseWriter.Write(p)
	}
	if err := s.body(off, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// at calls fn once the first n bytes of the body have gone out.
func (x Exchange) at(n int64, fn func()) {
	limit := n
	s := &stream{ResponseWriter: x.W}
	s.head = func(status int, h http.Header) int {
		total, _ := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
		limit = position(n, total)
		return status
	}
	reached := false
	s.body = func(off int64, p []byte) error {
		keep := max(limit-off, 0)
		if reached || int64(len(p)) < keep {
			return s.write(p)
		}
		if err := s.write(p[:keep]); err != nil {
			return err
		}
		reached = true
		flush(x.W)
		fn()
		return s.write(p[keep:])
	}
	x.Pass(s)
}

func (s *stream) write(p []byte) error {
	_, err := s.ResponseWriter.Write(p)
	return err
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// drop ends the connection, with a reset or in order, and the handler.
func drop(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		if t, ok := tcp(conn); ok && reset {
			_ = t.SetLinger(0)
			_ = t.Close() // not through TLS, which would say goodbye first
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

func tcp(conn net.Conn) (*net.TCPConn, bool) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	t, ok := conn.(*net.TCPConn)
	return t, ok
}

// hang waits until the client gives up or the test ends.
func (x Exchange) hang() {
	flush(x.W)
	select {
	case <-x.R.Context().Done():
	case <-x.Server.done:
	}
	panic(http.ErrAbortHandler)
}

// pause waits for d, or until nobody is left to wait for.
func (x Exchange) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.R.Context().Done():
	case <-x.Server.done:
	}
}
