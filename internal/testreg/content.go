package testreg

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Truncate sends only what comes before a position in the body, with a
// Content-Length to match.
func Truncate(at int64) Action {
	return func(x Exchange) {
		m := newMemory()
		x.Pass(m)
		body := m.body.Bytes()
		m.sendTo(x.W, body[:min(position(at, int64(len(body))), int64(len(body)))])
	}
}

// Long sends extra bytes behind the body, with a Content-Length to match.
func Long(extra int) Action {
	return func(x Exchange) {
		m := newMemory()
		x.Pass(m)
		m.sendTo(x.W, append(m.body.Bytes(), strings.Repeat("x", extra)...))
	}
}

// Chunked sends the right body without a Content-Length.
func Chunked() Action {
	return func(x Exchange) {
		s := &stream{ResponseWriter: x.W}
		s.head = func(status int, h http.Header) int {
			h.Del("Content-Length")
			return status
		}
		x.Pass(s)
		flush(x.W) // or the server counts a short body itself
	}
}

// FlipBit changes the lowest bit of the byte at a position in the body.
func FlipBit(at int64) Action {
	return func(x Exchange) {
		target := at
		s := &stream{ResponseWriter: x.W}
		s.head = func(status int, h http.Header) int {
			total, _ := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
			target = position(at, total)
			return status
		}
		s.body = func(off int64, p []byte) error {
			if off <= target && target < off+int64(len(p)) {
				p = append([]byte(nil), p...) // not the registry's buffer
				p[target-off] ^= 1
			}
			return s.write(p)
		}
		x.Pass(s)
	}
}

// Swap sends another blob of the same size, under the header of the right one.
func Swap() Action {
	return func(x Exchange) {
		s := &stream{ResponseWriter: x.W}
		s.body = func(_ int64, p []byte) error {
			other := make([]byte, len(p))
			for i, b := range p {
				other[i] = ^b
			}
			return s.write(other)
		}
		x.Pass(s)
	}
}

// IgnoreRange answers 200 with the whole body, whatever was asked for.
func IgnoreRange() Action {
	return func(x Exchange) {
		x.R.Header.Del("Range")
		x.Pass(x.W)
	}
}

// ShiftRange answers a range with the bytes that begin by places later, under
// the header of the right ones.
func ShiftRange(by int) Action {
	return func(x Exchange) {
		partial := newMemory()
		x.Pass(partial)
		full := newMemory()
		x.R.Header.Del("Range")
		x.Pass(full)
		start, ok := startOf(partial.header.Get("Content-Range"))
		body := full.body.Bytes()
		if !ok || len(body) == 0 {
			partial.sendTo(x.W, partial.body.Bytes())
			return
		}
		shifted := make([]byte, partial.body.Len())
		for i := range shifted {
			shifted[i] = body[(start+i+by)%len(body)]
		}
		partial.sendTo(x.W, shifted)
	}
}

// ContentRange answers a range with the right bytes, and a Content-Range whose
// start and total are off by so many.
func ContentRange(start, total int64) Action {
	return func(x Exchange) {
		s := &stream{ResponseWriter: x.W}
		s.head = func(status int, h http.Header) int {
			var from, to, size int64
			n, _ := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size)
			if n == 3 {
				h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+start, to+start, size+total))
			}
			return status
		}
		x.Pass(s)
	}
}

func startOf(contentRange string) (int, bool) {
	var from, to, size int
	n, _ := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &from, &to, &size)
	return from, n == 3
}
