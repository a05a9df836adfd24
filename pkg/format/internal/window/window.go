// Package window reads the header of a file of unknown length in few reads.
//
// The first read is small, later ones grow, and what is skipped is not read,
// so that a header behind a network costs a few ranged requests and no more
// memory than the largest of them.
package window

import (
	"errors"
	"fmt"
	"io"

	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// MaxRead is the most that is read at once, and the most that [Reader.Next]
// returns.
const MaxRead = 4 << 20

// Options adjusts a [Reader].
type Options struct {
	// First is the size of the first read, and of the one after a skip far
	// past what has been read. Zero means 64 KiB.
	First int

	// Budget is how many bytes may be read in all before the file counts as
	// malformed. Zero means 256 MiB.
	Budget int64
}

// A Reader walks forward over a file. It is for one goroutine.
type Reader struct {
	r      io.ReaderAt
	size   int64
	format string
	first  int
	next   int // size of the next read
	budget int64
	end    int64  // of what is wanted, as far as known
	buf    []byte // the window: bytes of the file from pos
	pos    int64
}

// New returns a Reader at the start of the size bytes of r. The name of the
// format is for errors.
func New(r io.ReaderAt, size int64, format string, opts Options) *Reader {
	if opts.First == 0 {
		opts.First = 64 << 10
	}
	if opts.Budget == 0 {
		opts.Budget = 256 << 20
	}
	return &Reader{
		r: r, size: max(size, 0), end: max(size, 0), format: format,
		first: opts.First, next: opts.First, budget: opts.Budget,
	}
}

// Offset returns the offset in the file of the byte that comes next.
func (r *Reader) Offset() int64 { return r.pos }

// Left returns how many bytes there are to the end of the file.
func (r *Reader) Left() int64 { return r.size - r.pos }

// Until says that the header ends at offset end: nothing behind it is read
// ahead, and what is before it in as few reads as [MaxRead] allows.
func (r *Reader) Until(end int64) {
	r.end = min(end, r.size)
	r.next = MaxRead
}

// Malformed returns an error with the present offset.
func (r *Reader) Malformed(reason string, args ...any) error {
	return &malformed.Error{Format: r.format, Offset: r.pos, Reason: fmt.Sprintf(reason, args...)}
}

// Next returns the next n bytes, valid until the next call. It is an error if
// there are not so many, or n is over [MaxRead].
func (r *Reader) Next(n int) ([]byte, error) {
	if n < 0 || int64(n) > r.Left() {
		return nil, r.Malformed("the file ends after %d of %d bytes", r.Left(), n)
	}
	if n > MaxRead {
		return nil, r.Malformed("a piece of %d bytes is too large", n)
	}
	if n > len(r.buf) {
		if err := r.fill(n); err != nil {
			return nil, err
		}
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	r.pos += int64(n)
	return b, nil
}

// Skip goes n bytes forward without reading what has not been read.
func (r *Reader) Skip(n int64) error {
	if n < 0 || n > r.Left() {
		return r.Malformed("the file ends after %d of %d bytes", r.Left(), n)
	}
	past := n - int64(len(r.buf))
	r.buf = r.buf[min(n, int64(len(r.buf))):]
	r.pos += n
	// A long way past the window is another part of the file, of which one
	// does not know how much is wanted.
	if past > int64(r.first) {
		r.next = r.first
	}
	return nil
}

// Read implements [io.Reader] over the rest of the file.
func (r *Reader) Read(p []byte) (int, error) {
	if r.Left() == 0 {
		return 0, io.EOF
	}
	if len(r.buf) == 0 {
		if err := r.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	r.pos += int64(n)
	return n, nil
}

// fill makes the window at least n bytes, n being no more than what is left.
func (r *Reader) fill(n int) error {
	have := len(r.buf)
	want := int(min(int64(max(r.next, n)), max(r.end-r.pos, int64(n)), r.Left()))
	if r.budget -= int64(want - have); r.budget < 0 {
		return r.Malformed("the header is too large")
	}
	// A new array each time: what Next returned may still be in use by a
	// caller that asks for more before it is done.
	buf := make([]byte, want)
	copy(buf, r.buf)
	off := r.pos + int64(have)
	k, err := r.r.ReadAt(buf[have:], off)
	if k < want-have {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read header at byte %d: %w", off, err)
	}
	r.buf = buf
	r.next = min(r.next*4, MaxRead)
	return nil
}
