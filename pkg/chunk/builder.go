package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// A Builder makes the index of one file from its bytes, and computes the SHA-256
// of the file on the way. It holds hashes and no bytes.
type Builder struct {
	size    int64
	written int64
	start   int64   // of the chunk that is being written
	cuts    []int64 // nil: cut by content
	ahead   []int64 // those of cuts that are still to come
	gear    cutter

	hash    hash.Hash // of the chunk that is being written
	hashes  []byte
	lengths []byte // varints; only if cut by content
	pieces  pieceHash
}

// NewBuilder returns a builder for a file of size bytes. The cuts are the
// offsets at which the grid starts again, such as those of the file's tensors,
// ascending; those that are not inside the file, or do not ascend, are left
// out. With cuts nil the file is cut by its content; with none, but not nil, by
// a grid from its beginning.
func NewBuilder(size int64, cuts []int64) *Builder {
	b := &Builder{size: size, hash: NewHash(), pieces: newPieceHash()}
	if cuts == nil {
		b.gear.table = gearTable()
		return b
	}
	b.cuts = make([]int64, 0, len(cuts))
	last := int64(0)
	for _, c := range cuts {
		if c > last && c < size {
			b.cuts = append(b.cuts, c)
			last = c
		}
	}
	b.ahead = b.cuts
	return b
}

// Write takes the next bytes of the file. More than its size is an error.
func (b *Builder) Write(p []byte) (int, error) {
	if int64(len(p)) > b.size-b.written {
		return 0, fmt.Errorf("index chunks: more than %d bytes", b.size)
	}
	n := len(p)
	b.pieces.write(p)
	for len(p) > 0 {
		k, end := b.next(p)
		_, _ = b.hash.Write(p[:k])
		b.written += int64(k)
		p = p[k:]
		if end || b.written == b.size {
			b.cut()
		}
	}
	return n, nil
}

// next returns how many of the bytes p are of the current chunk, and whether
// the last of them is its last.
func (b *Builder) next(p []byte) (n int, end bool) {
	if b.cuts == nil {
		return b.gear.next(p)
	}
	left := b.start + Grid - b.written
	if len(b.ahead) > 0 {
		left = min(left, b.ahead[0]-b.written)
	}
	if int64(len(p)) < left {
		return len(p), false
	}
	return int(left), true
}

// cut ends the current chunk.
func (b *Builder) cut() {
	b.hashes = b.hash.Sum(b.hashes)
	b.hash.Reset()
	if b.cuts == nil {
		b.lengths = binary.AppendUvarint(b.lengths, uint64(b.written-b.start))
		b.gear.reset()
	}
	b.start = b.written
	if len(b.ahead) > 0 && b.ahead[0] == b.written {
		b.ahead = b.ahead[1:]
	}
}

// Sum256 returns the SHA-256 of the bytes written so far.
func (b *Builder) Sum256() [32]byte { return b.pieces.sum() }

// Finish returns the encoded index. It is an error if not all bytes of the file
// were written.
func (b *Builder) Finish() ([]byte, error) {
	if b.written != b.size {
		return nil, fmt.Errorf("index chunks: %d of %d bytes: %w", b.written, b.size, io.ErrUnexpectedEOF)
	}
	if b.size > MaxFileSize {
		return nil, errors.New("index chunks: the file is too large")
	}
	states, err := b.pieces.finish(b.size)
	if err != nil {
		return nil, err
	}
	how := byte(byGrid)
	if b.cuts == nil {
		how = byLength
	}
	out := append([]byte(magic), how)
	out = binary.AppendUvarint(out, uint64(b.size))
	out = binary.AppendUvarint(out, uint64(len(b.hashes)/hashBytes))
	if how == byGrid {
		out = binary.AppendUvarint(out, Grid)
		out = binary.AppendUvarint(out, uint64(len(b.cuts)))
		last := int64(0)
		for _, c := range b.cuts {
			out = binary.AppendUvarint(out, uint64(c-last))
			last = c
		}
	}
	out = append(out, b.lengths...)
	out = append(out, b.hashes...)
	return append(out, states...), nil
}
