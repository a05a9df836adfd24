package coding

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame is one on its way through a worker.
type frame struct {
	kind    Type
	hasBase bool
	base    int64  // offset in the base file
	plain   []byte // at most frameBytes
	coded   []byte // with the head when it is written, without when it is read
	err     error
	done    chan struct{} // holds one value once a worker is done with it
}

// worse is the share of its size above which the coding of differences is
// compared with that of the numbers themselves.
const worse = 0.5

// encode fills coded.
func (c *coder) encodeFrame(f *frame, base io.ReaderAt) error {
	if f.hasBase {
		if err := c.readBase(f, base); err != nil {
			return err
		}
		c.diff = grow(c.diff, len(f.plain))
		subtract(c.diff, f.plain, c.base, f.kind.width())
		if err := c.appendFrame(f, c.diff, byte(f.kind)|difference, false); err != nil {
			return err
		}
		if float64(len(f.coded)) < worse*float64(len(f.plain)) {
			return nil
		}
		other := frame{kind: f.kind, plain: f.plain}
		if err := c.encodeFrame(&other, nil); err != nil {
			return err
		}
		if len(other.coded) < len(f.coded) {
			f.coded = other.coded
		}
		return nil
	}
	return c.appendFrame(f, f.plain, byte(f.kind), f.kind.turned())
}

// appendFrame writes head and planes of numbers.
func (c *coder) appendFrame(f *frame, numbers []byte, kind byte, turn bool) error {
	width := f.kind.width()
	c.plane = grow(c.plane, len(numbers))
	split(c.plane, numbers, width, turn)
	out := append(f.coded[:0], make([]byte, frameHead)...)
	n := len(numbers) / width
	for i := range width {
		var err error
		if out, err = c.appendPlane(out, c.plane[i*n:(i+1)*n]); err != nil {
			return err
		}
	}
	out[0] = kind
	binary.LittleEndian.PutUint32(out[4:], uint32(len(numbers)))
	binary.LittleEndian.PutUint32(out[8:], uint32(len(out)-frameHead))
	if kind&difference != 0 {
		binary.LittleEndian.PutUint64(out[12:], uint64(f.base))
	}
	f.coded = out
	return nil
}

// decodeFrame fills plain, whose length is known, from coded.
func (c *coder) decodeFrame(f *frame, base io.ReaderAt) error {
	width := f.kind.width()
	c.plane = grow(c.plane, len(f.plain))
	src, n := f.coded, len(f.plain)/width
	for i := range width {
		var err error
		if src, err = c.readPlane(c.plane[i*n:(i+1)*n], src); err != nil {
			return err
		}
	}
	if len(src) > 0 {
		return malformed("%d bytes at the end of a frame", len(src))
	}
	merge(f.plain, c.plane, width, f.kind.turned() && !f.hasBase)
	if f.hasBase {
		if err := c.readBase(f, base); err != nil {
			return err
		}
		add(f.plain, c.base, width)
	}
	return nil
}

// readBase reads the part of the base file that a frame belongs to.
func (c *coder) readBase(f *frame, base io.ReaderAt) error {
	if base == nil {
		return malformed("differences, and no base")
	}
	c.base = grow(c.base, len(f.plain))
	if n, err := base.ReadAt(c.base, f.base); n < len(c.base) {
		if err == nil || errors.Is(err, io.EOF) {
			return malformed("the base ends before byte %d", f.base+int64(len(c.base)))
		}
		return fmt.Errorf("read base: %w", err)
	}
	return nil
}

// grow returns n bytes, those of b if there are as many.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, frameBytes)
	}
	return b[:n]
}
