package scan

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// errShort is what a tape says at its end. It is about the bytes, not about
// reading them.
var errShort = errors.New("the data ends too early")

// A tape reads an input from its start to its end, by ranges where it can.
// What is skipped is not read.
type tape struct {
	ctx   context.Context //nolint:containedctx // lives for one check
	at    io.ReaderAt
	r     io.Reader // if at is nil
	size  int64     // -1 if r does not tell
	pos   int64     // of the next byte
	buf   []byte    // bytes from pos
	chunk int       // of the next read
	eof   bool      // of r
	part  bool      // more follows what a fork of a stream has
}

// The sizes of reads.
const (
	minChunk = 16 << 10
	maxChunk = 1 << 20
)

// tape returns one for the input. An input that is a stream has only one.
func (s *session) tape(in *input) *tape {
	t := &tape{ctx: s.ctx, at: in.at, r: in.r, size: in.size, buf: in.head, chunk: minChunk}
	if in.at != nil {
		t.r = nil
	}
	return t
}

// fork returns a second tape at the same place, which reads no further than
// what is in memory if the first is a stream.
func (t *tape) fork() (*tape, error) {
	f := *t
	if t.at == nil {
		if err := t.fill(minChunk); err != nil && !errors.Is(err, errShort) {
			return nil, err
		}
		f = *t
		f.r, f.eof, f.part = nil, true, !t.eof
	}
	return &f, nil
}

// fill makes at least n bytes lie in the buffer.
func (t *tape) fill(n int) error {
	if len(t.buf) >= n {
		return nil
	}
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if t.at == nil {
		return t.fillStream(n)
	}
	if int64(n) > t.size-t.pos {
		return errShort
	}
	have := len(t.buf)
	want := int(min(int64(max(n, t.chunk)), t.size-t.pos))
	b := make([]byte, want) // a new one: what next returned may be in use
	copy(b, t.buf)
	if err := readAt(t.at, b[have:], t.pos+int64(have)); err != nil {
		return err
	}
	t.buf = b
	t.chunk = min(t.chunk*4, maxChunk)
	return nil
}

func (t *tape) fillStream(n int) error {
	if t.part {
		return errStrict
	}
	if t.eof {
		return errShort
	}
	b := make([]byte, max(n, minChunk))
	have := copy(b, t.buf)
	k, err := io.ReadAtLeast(t.r, b[have:], n-have)
	t.buf = b[:have+k]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.eof = true
		return errShort
	}
	return err
}

// next returns the next n bytes, which nobody changes.
func (t *tape) next(n int) ([]byte, error) {
	if err := t.fill(n); err != nil {
		return nil, err
	}
	b := t.buf[:n:n]
	t.buf = t.buf[n:]
	t.pos += int64(n)
	return b, nil
}

// skip goes n bytes forward.
func (t *tape) skip(n int64) error {
	if n < 0 || t.size >= 0 && n > t.size-t.pos {
		return errShort
	}
	k := min(n, int64(len(t.buf)))
	t.buf, t.pos, n = t.buf[k:], t.pos+k, n-k
	if n == 0 {
		return nil
	}
	if t.at != nil {
		t.pos += n
		t.chunk = minChunk
		return nil
	}
	for n > 0 {
		b, err := t.next(int(min(n, maxChunk)))
		if err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// line returns what stands before the next end of line, and whether that is all
// of it: no more than limit bytes are returned.
func (t *tape) line(limit int) (string, bool, error) {
	for n := 0; ; n++ {
		if err := t.fill(n + 1); err != nil {
			return "", false, err
		}
		if t.buf[n] == '\n' {
			text := string(t.buf[:n])
			t.buf, t.pos = t.buf[n+1:], t.pos+int64(n)+1
			return text, true, nil
		}
		if n == limit {
			return "", false, t.skipLine()
		}
	}
}

// skipLine goes behind the next end of line.
func (t *tape) skipLine() error {
	for {
		if err := t.fill(1); err != nil {
			return err
		}
		if n := bytes.IndexByte(t.buf, '\n'); n >= 0 {
			return t.skip(int64(n) + 1)
		}
		if err := t.skip(int64(len(t.buf))); err != nil {
			return err
		}
	}
}

// ended tells whether all has been read.
func (t *tape) ended() (bool, error) {
	err := t.fill(1)
	if errors.Is(err, errShort) {
		return true, nil
	}
	return false, err
}

// fits tells whether n bytes may follow, as far as that is known.
func (t *tape) fits(n uint64) bool {
	if t.size < 0 {
		return n < 1<<40
	}
	return n <= uint64(t.size-t.pos)
}
