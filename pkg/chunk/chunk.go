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
// [Parse] reads one and trusts nothing in it: memory is bounded by the bytes
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

// Limits of what [Parse] accepts.
const (
	// MaxFileSize is the size of the largest file, in bytes.
	MaxFileSize = 1 << 44

	// MaxChunk is the length of the longest chunk, in bytes.
	MaxChunk = 4 << 20

	minGrid = 4 << 10
)

// ErrMalformed is wrapped by the errors of [Parse].
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

// An Index is where a file is cut, and what the hashes of its parts are. It does
// not change, and may be used from several goroutines.
type Index struct {
	size   int64
	starts []int64
	hashes []byte // all of them, one after the other
	states []byte // likewise
}

// Size returns the size of the file in bytes.
func (x *Index) Size() int64 { return x.size }

// Len returns the number of chunks.
func (x *Index) Len() int { return len(x.starts) }

// At returns chunk i, counted from 0.
func (x *Index) At(i int) Chunk {
	end := x.size
	if i+1 < len(x.starts) {
		end = x.starts[i+1]
	}
	return Chunk{Offset: x.starts[i], Length: end - x.starts[i], Hash: x.hash(i)}
}

// hash returns the hash of chunk i.
func (x *Index) hash(i int) []byte { return x.hashes[i*hashBytes : (i+1)*hashBytes] }

// All lists the chunks in the order of the file. They are all of it and do not
// overlap.
func (x *Index) All() iter.Seq2[int, Chunk] {
	return func(yield func(int, Chunk) bool) {
		for i := range x.starts {
			if !yield(i, x.At(i)) {
				return
			}
		}
	}
}
