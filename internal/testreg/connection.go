package testreg

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Reset resets the connection before an answer. Go's own client repeats a GET by
// itself, once, when that happens to a connection it had used before.
func Reset() Action {
	return func(x Exchange) { drop(x.W, true) }
}

// Hang never answers.
func Hang() Action {
	return func(x Exchange) { x.hang() }
}

// Cut resets the connection at a position in the body. A body shorter than
// that arrives whole.
func Cut(at int64) Action {
	return func(x Exchange) { x.at(at, func() { drop(x.W, true) }) }
}

// Fin closes the connection in order at a position in the body, before as much
// has come as Content-Length says.
func Fin(at int64) Action {
	return func(x Exchange) { x.at(at, func() { drop(x.W, false) }) }
}

// Stall sends nothing more from a position in the body on, until the client
// gives up or the test ends.
func Stall(at int64) Action {
	return func(x Exchange) { x.at(at, x.hang) }
}

// Delay answers after a while.
func Delay(d time.Duration) Action {
	return func(x Exchange) {
		x.pause(d)
		x.Pass(x.W)
	}
}

// Drip sends the body piece by piece, with a pause before each.
func Drip(piece int, pause time.Duration) Action {
	return func(x Exchange) {
		s := &stream{ResponseWriter: x.W}
		s.body = func(_ int64, p []byte) error {
			for len(p) > 0 {
				x.pause(pause)
				n := min(piece, len(p))
				if err := s.write(p[:n]); err != nil {
					return err
				}
				flush(x.W)
				p = p[n:]
			}
			return nil
		}
		x.Pass(s)
	}
}

// CommitThenDrop lets the registry do what is asked, and resets the connection
// before the answer.
func CommitThenDrop() Action {
	return func(x Exchange) {
		x.Pass(newMemory())
		drop(x.W, true)
	}
}

// TwoAnswers sends a second answer behind the right one, unasked, in the hope
// that the client takes it for the answer to its next request.
func TwoAnswers() Action {
	return func(x Exchange) {
		m := newMemory()
		x.Pass(m)
		var wire bytes.Buffer
		m.header.Set("Content-Length", fmt.Sprint(m.body.Len()))
		fmt.Fprintf(&wire, "HTTP/1.1 %d %s\r\n", m.status, http.StatusText(m.status))
		_ = m.header.Write(&wire)
		wire.WriteString("\r\n")
		wire.Write(m.body.Bytes())
		wire.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
		x.raw(wire.Bytes())
	}
}

// HugeHeader sends a header of about n bytes.
func HugeHeader(n int) Action {
	return func(x Exchange) {
		x.W.Header().Set("X-Padding", strings.Repeat("a", n))
		x.Pass(x.W)
	}
}

// Informational sends n answers of status 103 before the real one.
func Informational(n int) Action {
	return func(x Exchange) {
		for range n {
			x.W.WriteHeader(http.StatusEarlyHints)
		}
		x.Pass(x.W)
	}
}

// raw puts bytes on the wire in place of an answer and closes the connection.
func (x Exchange) raw(wire []byte) {
	conn, _, err := http.NewResponseController(x.W).Hijack()
	if err == nil {
		_, _ = conn.Write(wire)
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// A memory holds an answer.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newMemory() *memory { return &memory{header: make(http.Header)} }

// Header returns the header.
func (m *memory) Header() http.Header { return m.header }

// WriteHeader notes the status.
func (m *memory) WriteHeader(status int) {
	if m.status == 0 && status >= 200 {
		m.status = status
	}
}

// Write notes a part of the body.
func (m *memory) Write(p []byte) (int, error) {
	m.WriteHeader(http.StatusOK)
	return m.body.Write(p)
}

// sendTo sends the answer with another body, whose length it tells.
func (m *memory) sendTo(w http.ResponseWriter, body []byte) {
	maps.Copy(w.Header(), m.header)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(m.status)
	_, _ = w.Write(body)
}

// endless writes piece again and again until the client has gone.
func (x Exchange) endless(piece string) {
	for x.R.Context().Err() == nil {
		select {
		case <-x.Server.done:
			panic(http.ErrAbortHandler)
		default:
		}
		if _, err := io.WriteString(x.W, piece); err != nil {
			return
		}
	}
}
