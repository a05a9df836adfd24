// Package chunk says where a file is cut into chunks and what the hash of each
// is, and plans which bytes of one file can be taken from others. It also lets
// any part of the file be verified on its own.
//
// A model's next version mostly holds the bytes of the last one, at other
// offsets or in other files. The index of a file, a ten-thousandth of its size,
// tells a reader that has the old files which parts of the new one it lacks.
//
// Two rules cut a file. Where it is known what is in it, its tensors say: chunks
// of [Grid] bytes, counted anew from the beginning of each tensor, so that a
// tensor has the same chunks in whatever file and at whatever offset it lies.
// Any other file is cut where its own bytes say so (a gear hash over the last
// 64 of them), which makes the chunks survive insertions. Both depend on the
// bytes of the file alone: the same file has the same index on every machine.
//
// Chunks are told apart by XXH3, which costs next to nothing and withstands no
// attack: two chunks with the same hash are the same unless somebody wished
// otherwise. So whoever copies by a [Plan] compares the digest of the file in
// the end, and fetches what was copied if it is another.
//
// Parts of a file that are fetched alone are verified by SHA-256, which need not
// be computed for it: the index holds the state of the file's own SHA-256 after
// every [PieceBytes], in passing. Bytes that take the hash from one state to the
// next are those of the file; to find others is to find a second preimage.
//
// A [Builder] makes the index as the bytes pass, and the file's digest with it;
// [Parse] and [ReadTable] read one and trust nothing in it: memory is bounded by the bytes
// present, and an index whose chunks are not the whole file, in order and
// without overlap, is refused. What an index says can still be a lie of whoever
// made it, about a file that is what they say otherwise too.
//
// # Encoding
//
// Numbers are unsigned varints as in encoding/binary, of the shortest form.
//
//	"MRCX" 2          magic and version
//	1 or 2            how it is cut: 1 by a grid, 2 by length
//	size              of the file, in bytes
//	count             of chunks
//	if 1: grid, n, then n offsets, each as the distance from the one before:
//	                  where the grid starts again, besides 0
//	if 2: count lengths
//	count × 16 bytes  XXH3-128 of the chunks, in the order of the file, each
//	                  as its canonical form: the high half first, big-endian
//	n × 32 bytes      for each piece but the last, the state of SHA-256 at its
//	                  end, H0 to H7 of FIPS 180-4 section 6.2; for the last one
//	                  the digest of the file. A file of no bytes has none
package chunk

import (
	"crypto/sha256"
	"errors"
	"hash"
	"iter"

	"github.com/zeebo/xxh3"
)

// Sizes of chunks, in bytes.
const (
	// Grid is the size of chunks in files whose tensors are known.
	Grid = 256 << 10

	// MinLength and MaxLength bound the chunks of other files, but for the
	// last. Their average is near Grid.
	MinLength = 64 << 10
	MaxLength = 512 << 10
)

// Limits of what [Parse] and [ReadTable] accept.
const (
	// MaxFileSize is the size of the largest file, in bytes.
	MaxFileSize = 1 << 44

	// MaxChunk is the length of the longest chunk, in bytes.
	MaxChunk = 4 << 20

	minGrid = 4 << 10
)

// ErrMalformed is wrapped by the errors of [Parse] and [ReadTable].
var ErrMalformed = errors.New("malformed chunk index")

// hashBytes is the length of a chunk's hash.
const hashBytes = 16

// NewHash returns what computes the hash of a chunk.
func NewHash() hash.Hash { return xxh3.New128() }

// A Chunk is a run of a file's bytes.
type Chunk struct {
	Offset, Length int64  // bytes
	Hash           []byte // XXH3-128 in its canonical form; not to be changed
}

// A Table is where a file is cut, and the hash of each chunk: what a [Plan] is
// made of. It takes some 20 bytes of memory for a chunk, does not change, and may
// be used from several goroutines.
type Table struct {
	size   int64
	starts offsets
	hashes []byte            // all of them, one after the other
	sum    [sha256.Size]byte // of the file
}

// An Index is a [Table], and what verifies pieces of the file.
type Index struct {
	Table
	states []byte // one after the other
}

// Size returns the size of the file in bytes.
func (x *Table) Size() int64 { return x.size }

// Sum256 returns what the index says is the SHA-256 of the file. One that says
// otherwise than the file's digest is of another file.
func (x *Table) Sum256() [sha256.Size]byte { return x.sum }

// Len returns the number of chunks.
func (x *Table) Len() int { return x.starts.len() }

// At returns chunk i, counted from 0.
func (x *Table) At(i int) Chunk {
	start, end := x.starts.at(i), x.size
	if i+1 < x.Len() {
		end = x.starts.at(i + 1)
	}
	return Chunk{Offset: start, Length: end - start, Hash: x.hash(i)}
}

// hash returns the hash of chunk i.
func (x *Table) hash(i int) []byte { return x.hashes[i*hashBytes : (i+1)*hashBytes] }

// All lists the chunks in the order of the file. They are all of it and do not
// overlap.
func (x *Table) All() iter.Seq2[int, Chunk] {
	return func(yield func(int, Chunk) bool) {
		for i := range x.Len() {
			if !yield(i, x.At(i)) {
				return
			}
		}
	}
}

// offsets are numbers that grow by no more than [MaxChunk], each in little more
// than four bytes.
type offsets struct {
	bases []int64 // of each offsetsBlock of them, the first
	rest  []uint32
}

// offsetsBlock times MaxChunk is less than four bytes can say.
const offsetsBlock = 256

// makeOffsets returns room for n.
func makeOffsets(n int) offsets {
	return offsets{bases: make([]int64, 0, n/offsetsBlock+1), rest: make([]uint32, 0, n)}
}

func (o *offsets) add(v int64) {
	if len(o.rest)%offsetsBlock == 0 {
		o.bases = append(o.bases, v)
	}
	o.rest = append(o.rest, uint32(v-o.bases[len(o.bases)-1]))
}

func (o *offsets) at(i int) int64 { return o.bases[i/offsetsBlock] + int64(o.rest[i]) }

func (o *offsets) len() int { return len(o.rest) }
