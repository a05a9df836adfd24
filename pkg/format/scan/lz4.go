package scan

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// An lz4Reader unpacks frames of LZ4 (format 1.6.4) that follow each other, and
// passes over those that readers pass over. It holds them to all that they say of
// themselves. Blocks are unpacked here and not by a package, as those do it in
// assembler, in which a bound that is forgotten is not a panic.
type lz4Reader struct {
	in *bufio.Reader

	inFrame bool
	flags   byte
	block   int    // bytes of the largest block
	left    uint64 // bytes that are to come, if the frame says so
	sum     xxh32  // of what was unpacked

	packed []byte // the block that is being unpacked
	window []byte // what blocks may look back to, and the last block
	out    []byte // of that, what was not read
}

// What the first byte of a frame's header says.
const (
	lz4Independent = 1 << 5 // blocks do not look back to others
	lz4BlockSum    = 1 << 4
	lz4Size        = 1 << 3
	lz4Sum         = 1 << 2
	lz4Reserved    = 1 << 1
	lz4Dictionary  = 1 << 0
)

const (
	lz4Magic = 0x184d2204
	lz4Skip  = 0x184d2a50 // and the 15 behind it
	lz4Back  = 64 << 10   // bytes that a block may look back
)

// errLZ4 is a block that cannot be unpacked.
var errLZ4 = errors.New("a block cannot be unpacked")

// openLZ4 opens LZ4 frames.
func openLZ4(_ *session, in *bufio.Reader) (io.Reader, error) {
	r := &lz4Reader{in: in}
	return r, noEOF(r.begin())
}

func (r *lz4Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		next := r.begin
		if r.inFrame {
			next = r.next
		}
		if err := next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *lz4Reader) uint32() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(r.in, b[:])
	return le32(b[:]), noEOF(err)
}

// begin reads the header of the next frame. It is io.EOF where there is none.
func (r *lz4Reader) begin() error {
	b, err := r.in.Peek(4)
	if len(b) < 4 {
		return err
	}
	magic := le32(b)
	if magic != lz4Magic && magic&^0xf != lz4Skip {
		return io.EOF // and is reported to have bytes behind its end
	}
	_, _ = r.in.Discard(4)
	if magic == lz4Magic {
		return r.header()
	}
	n, err := r.uint32()
	if err == nil {
		_, err = io.CopyN(io.Discard, r.in, int64(n))
	}
	return noEOF(err)
}

// header reads what a frame says of itself.
func (r *lz4Reader) header() error {
	b := make([]byte, 2, 2+8+1)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return noEOF(err)
	}
	r.flags = b[0]
	size := int(b[1] >> 4)
	switch {
	case r.flags>>6 != 1 || r.flags&lz4Reserved != 0 || b[1]&0x8f != 0 || size < 4:
		return closedError("of a version that is not known")
	case r.flags&lz4Dictionary != 0:
		return closedError("with a dictionary that is not in it")
	case r.flags&lz4Size != 0:
		b = b[:2+8]
	}
	b = b[:len(b)+1]
	if _, err := io.ReadFull(r.in, b[2:]); err != nil {
		return noEOF(err)
	}
	body := b[:len(b)-1]
	var sum xxh32
	sum.write(body)
	if byte(sum.sum()>>8) != b[len(body)] {
		return errors.New("the header of a frame has another checksum")
	}
	if r.flags&lz4Size != 0 {
		r.left = binary.LittleEndian.Uint64(b[2:])
	}
	r.inFrame, r.sum, r.block = true, xxh32{}, 1<<(8+2*size)
	if cap(r.window) < lz4Back+r.block {
		r.window = make([]byte, 0, lz4Back+r.block)
	}
	r.window = r.window[:0]
	return nil
}

// next unpacks a block, or reads the end of the frame.
func (r *lz4Reader) next() error {
	head, err := r.uint32()
	if err != nil {
		return err
	}
	if head == 0 {
		return r.end()
	}
	n := int(head &^ (1 << 31))
	if n > r.block {
		return errors.New("a block is larger than the frame says")
	}
	if cap(r.packed) < n {
		r.packed = make([]byte, n)
	}
	r.packed = r.packed[:n]
	if _, err := io.ReadFull(r.in, r.packed); err != nil {
		return noEOF(err)
	}
	if r.flags&lz4BlockSum != 0 {
		if err := r.check(r.packed); err != nil {
			return err
		}
	}
	back := 0
	if r.flags&lz4Independent == 0 {
		back = copy(r.window, r.window[max(0, len(r.window)-lz4Back):])
	}
	r.window = r.window[:back]
	if head>>31 == 1 {
		r.window = append(r.window, r.packed...)
	} else if r.window, err = lz4Block(r.window, r.packed, back+r.block); err != nil {
		return err
	}
	r.out = r.window[back:]
	r.sum.write(r.out)
	if r.flags&lz4Size == 0 {
		return nil
	}
	if uint64(len(r.out)) > r.left {
		return errors.New("a frame is longer than it says")
	}
	r.left -= uint64(len(r.out))
	return nil
}

// check compares a checksum that follows with that of bytes.
func (r *lz4Reader) check(b []byte) error {
	var sum xxh32
	sum.write(b)
	return r.compare(sum.sum())
}

func (r *lz4Reader) compare(sum uint32) error {
	want, err := r.uint32()
	if err == nil && want != sum {
		err = fmt.Errorf("has another checksum (%08x) than it says", sum)
	}
	return err
}

// end reads the end of a frame.
func (r *lz4Reader) end() error {
	r.inFrame = false
	if r.flags&lz4Size != 0 && r.left != 0 {
		return errors.New("a frame is shorter than it says")
	}
	if r.flags&lz4Sum != 0 {
		return r.compare(r.sum.sum())
	}
	return nil
}

// lz4Block appends what a block unpacks to what it may look back to, up to a
// length that dst has room for.
func lz4Block(dst, src []byte, limit int) ([]byte, error) {
	for len(src) > 0 {
		token := src[0]
		n, rest := lz4Length(int(token>>4), src[1:])
		if n > len(rest) || n > limit-len(dst) {
			return dst, errLZ4
		}
		dst = append(dst, rest[:n]...)
		if src = rest[n:]; len(src) == 0 {
			return dst, nil
		}
		if len(src) < 2 {
			return dst, errLZ4
		}
		start := len(dst) - int(binary.LittleEndian.Uint16(src))
		n, src = lz4Length(int(token&15), src[2:])
		n += 4
		if start < 0 || start == len(dst) || n > limit-len(dst) {
			return dst, errLZ4
		}
		for n > 0 {
			k := min(n, len(dst)-start)
			dst = append(dst, dst[start:start+k]...)
			n -= k
		}
	}
	return dst, errLZ4 // the last is bytes as they are
}

// lz4Length reads a length of which four bits are there, and returns what
// follows it.
func lz4Length(n int, b []byte) (int, []byte) {
	if n < 15 {
		return n, b
	}
	for i, c := range b {
		if n += int(c); c < 255 {
			return n, b[i+1:]
		}
	}
	return 1 << 30, nil // longer than a block
}

// An xxh32 makes the checksums of LZ4, XXH32 with the seed 0.
type xxh32 struct {
	n    uint64
	acc  [4]uint32
	rest []byte // fewer than 16
}

const (
	xxh1 uint32 = 2654435761
	xxh2 uint32 = 2246822519
	xxh3 uint32 = 3266489917
	xxh4 uint32 = 668265263
	xxh5 uint32 = 374761393
)

func (x *xxh32) write(b []byte) {
	if x.n == 0 {
		one := xxh1 // sums of constants would not fit
		x.acc = [4]uint32{one + xxh2, xxh2, 0, -one}
	}
	x.n += uint64(len(b))
	if len(x.rest) > 0 {
		k := min(16-len(x.rest), len(b))
		x.rest, b = append(x.rest, b[:k]...), b[k:]
		if len(x.rest) < 16 {
			return
		}
		x.stripe(x.rest)
		x.rest = x.rest[:0]
	}
	for ; len(b) >= 16; b = b[16:] {
		x.stripe(b)
	}
	x.rest = append(x.rest, b...)
}

func (x *xxh32) stripe(b []byte) {
	for i := range x.acc {
		x.acc[i] = bits.RotateLeft32(x.acc[i]+le32(b[4*i:])*xxh2, 13) * xxh1
	}
}

func (x *xxh32) sum() uint32 {
	h := xxh5
	if x.n >= 16 {
		h = bits.RotateLeft32(x.acc[0], 1) + bits.RotateLeft32(x.acc[1], 7) + bits.RotateLeft32(x.acc[2], 12) + bits.RotateLeft32(x.acc[3], 18)
	}
	h += uint32(x.n)
	b := x.rest
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+le32(b)*xxh3, 17) * xxh4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*xxh5, 11) * xxh1
	}
	h = (h ^ h>>15) * xxh2
	h = (h ^ h>>13) * xxh3
	return h ^ h>>16
}
