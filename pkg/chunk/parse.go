package chunk

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// The head of an encoded index.
const (
	magic    = "MRCX\x02"
	byGrid   = 1
	byLength = 2
)

// MaxBytes returns how many bytes the encoded index of a file of size bytes may
// have: whoever fetches one need not take more. It is many times what an index
// mostly has, for files of many small tensors.
func MaxBytes(size int64) int64 { return 4096 + size/256 }

// Parse reads an encoded index. The error wraps [ErrMalformed]. The index keeps
// raw, which must not change.
func Parse(raw []byte) (*Index, error) {
	d := decoder{r: bytes.NewReader(raw), left: int64(len(raw))}
	x := &Index{Table: d.head()}
	if d.err != nil {
		return nil, d.err
	}
	rest := raw[int64(len(raw))-d.left:]
	x.hashes, x.states = rest[:x.Len()*hashBytes], rest[x.Len()*hashBytes:]
	x.sum = sha256.Sum256(nil)
	if x.size > 0 {
		x.sum = x.State(x.Pieces() - 1)
	}
	return x, nil
}

// ReadTable reads an encoded index of n bytes, all of them, and keeps the table.
// An error that is not r's wraps [ErrMalformed].
func ReadTable(r io.Reader, n int64) (*Table, error) {
	buf := bufio.NewReaderSize(r, 64<<10)
	d := decoder{r: buf, left: n}
	x := d.head()
	if d.err != nil {
		return nil, d.err
	}
	x.hashes = make([]byte, x.Len()*hashBytes) // of which no more than n bytes were said to come
	if _, err := io.ReadFull(buf, x.hashes); err != nil {
		return nil, err
	}
	x.sum = sha256.Sum256(nil)
	if states := pieces(x.size) * sha256.Size; states > 0 {
		if _, err := io.CopyN(io.Discard, buf, states-sha256.Size); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(buf, x.sum[:]); err != nil {
			return nil, err
		}
	}
	return &x, nil
}

// A decoder reads an index from the front. After the first error it reads
// nothing.
type decoder struct {
	r    io.ByteReader
	left int64 // bytes of the index
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// next reads a byte.
func (d *decoder) next() (byte, bool) {
	if d.err != nil || d.left <= 0 {
		return 0, false
	}
	b, err := d.r.ReadByte()
	if err != nil {
		d.err = err
		return 0, false
	}
	d.left--
	return b, true
}

// number reads a varint that is at most limit.
func (d *decoder) number(what string, limit uint64) int64 {
	var v uint64
	for i := 0; ; i++ {
		b, ok := d.next()
		if !ok || i == binary.MaxVarintLen64-1 && b > 1 {
			d.fail("%s: no number", what)
			return 0
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b >= 0x80 {
			continue
		}
		if i > 0 && b == 0 {
			d.fail("%s: a number longer than it need be", what)
		}
		break
	}
	if v > limit {
		d.fail("%s: %d is more than %d", what, v, limit)
	}
	if d.err != nil {
		return 0
	}
	return int64(v)
}

// head reads all but the hashes and states, for which it makes sure that just
// enough bytes are left.
func (d *decoder) head() (x Table) {
	for i := range len(magic) {
		if b, ok := d.next(); !ok || b != magic[i] {
			d.fail("not an index of this version")
			return x
		}
	}
	how, _ := d.next()
	if how != byGrid && how != byLength {
		d.fail("cut by %d: not known", how)
		return x
	}
	x.size = d.number("size", MaxFileSize)
	count := int(d.number("chunks", uint64(d.left/hashBytes)))
	if how == byGrid {
		x.starts = d.grid(x.size, count)
	} else {
		x.starts = d.lengths(x.size, count)
	}
	if want := int64(count)*hashBytes + pieces(x.size)*sha256.Size; d.err == nil && d.left != want {
		d.fail("%d bytes of hashes for %d chunks and %d pieces", d.left, count, pieces(x.size))
	}
	return x
}

// grid reads where the grid starts again, and returns where chunks begin.
func (d *decoder) grid(size int64, count int) offsets {
	grid := d.number("grid", MaxChunk)
	n := int(d.number("cuts", uint64(d.left)))
	if d.err == nil && grid < minGrid {
		d.fail("a grid of %d bytes", grid)
	}
	if d.err != nil {
		return offsets{}
	}
	starts := makeOffsets(count) // of which hashes are there
	begin := int64(0)
	region := func(end int64) {
		// Compared before any is added: a region may claim to be huge.
		if (end-begin+grid-1)/grid > int64(count-starts.len()) {
			d.fail("more chunks than hashes")
			return
		}
		for ; begin < end; begin += grid {
			starts.add(begin)
		}
		begin = end
	}
	for range n {
		step := d.number("cut", uint64(size))
		if step == 0 || step >= size-begin {
			d.fail("a cut that is not inside the file")
		}
		if d.err != nil {
			return offsets{}
		}
		region(begin + step)
	}
	if d.err == nil {
		region(size)
	}
	if d.err == nil && starts.len() != count {
		d.fail("%d chunks instead of %d", starts.len(), count)
	}
	return starts
}

// lengths reads the lengths of chunks, and returns where they begin.
func (d *decoder) lengths(size int64, count int) offsets {
	if d.err != nil {
		return offsets{}
	}
	starts := makeOffsets(count) // of which hashes are there
	begin := int64(0)
	for range count {
		n := d.number("length", MaxChunk)
		if n == 0 || n > size-begin {
			d.fail("chunks that are not those of the file")
		}
		if d.err != nil {
			return offsets{}
		}
		starts.add(begin)
		begin += n
	}
	if begin != size {
		d.fail("chunks of %d bytes in a file of %d", begin, size)
	}
	return starts
}
