package chunk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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
	d := decoder{raw: raw}
	x := d.index()
	if d.err != nil {
		return nil, d.err
	}
	return x, nil
}

// A decoder reads an index from the front. After the first error it reads
// nothing.
type decoder struct {
	raw []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	d.raw = nil
}

// number reads a varint that is at most limit.
func (d *decoder) number(what string, limit uint64) int64 {
	v, n := binary.Uvarint(d.raw)
	switch {
	case n <= 0:
		d.fail("%s: no number", what)
	case n > 1 && d.raw[n-1] == 0:
		d.fail("%s: a number longer than it need be", what)
	case v > limit:
		d.fail("%s: %d is more than %d", what, v, limit)
	}
	if d.err != nil {
		return 0
	}
	d.raw = d.raw[n:]
	return int64(v)
}

func (d *decoder) index() *Index {
	if len(d.raw) < len(magic)+1 || string(d.raw[:len(magic)]) != magic {
		d.fail("not an index of this version")
		return nil
	}
	how := d.raw[len(magic)]
	d.raw = d.raw[len(magic)+1:]
	if how != byGrid && how != byLength {
		d.fail("cut by %d: not known", how)
		return nil
	}
	x := &Index{size: d.number("size", MaxFileSize)}
	count := int(d.number("chunks", uint64(len(d.raw)/hashBytes)))
	if how == byGrid {
		x.starts = d.grid(x.size, count)
	} else {
		x.starts = d.lengths(x.size, count)
	}
	if d.err == nil && int64(len(d.raw)) != int64(count*hashBytes)+int64(x.Pieces())*sha256.Size {
		d.fail("%d bytes of hashes for %d chunks and %d pieces", len(d.raw), count, x.Pieces())
	}
	if d.err != nil {
		return nil
	}
	x.hashes, x.states = d.raw[:count*hashBytes], d.raw[count*hashBytes:]
	return x
}

// grid reads where the grid starts again, and returns where chunks begin.
func (d *decoder) grid(size int64, count int) []int64 {
	grid := d.number("grid", MaxChunk)
	n := int(d.number("cuts", uint64(len(d.raw))))
	if d.err == nil && grid < minGrid {
		d.fail("a grid of %d bytes", grid)
	}
	if d.err != nil {
		return nil
	}
	starts := make([]int64, 0, count) // of which hashes are there
	begin := int64(0)
	region := func(end int64) {
		// Compared before any is added: a region may claim to be huge.
		if (end-begin+grid-1)/grid > int64(count-len(starts)) {
			d.fail("more chunks than hashes")
			return
		}
		for ; begin < end; begin += grid {
			starts = append(starts, begin)
		}
		begin = end
	}
	for range n {
		step := d.number("cut", uint64(size))
		if step == 0 || step >= size-begin {
			d.fail("a cut that is not inside the file")
		}
		if d.err != nil {
			return nil
		}
		region(begin + step)
	}
	if d.err == nil {
		region(size)
	}
	if d.err == nil && len(starts) != count {
		d.fail("%d chunks instead of %d", len(starts), count)
	}
	return starts
}

// lengths reads the lengths of chunks, and returns where they begin.
func (d *decoder) lengths(size int64, count int) []int64 {
	if d.err != nil {
		return nil
	}
	starts := make([]int64, 0, count) // of which hashes are there
	begin := int64(0)
	for range count {
		n := d.number("length", MaxChunk)
		if n == 0 || n > size-begin {
			d.fail("chunks that are not those of the file")
		}
		if d.err != nil {
			return nil
		}
		starts = append(starts, begin)
		begin += n
	}
	if begin != size {
		d.fail("chunks of %d bytes in a file of %d", begin, size)
	}
	return starts
}
