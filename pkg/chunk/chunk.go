// Package chunk says where a file is cut into chunks and what the SHA-256 of
// each is, and plans which bytes of one file can be taken from others.
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
// A [Builder] makes the index as the bytes pass; [Parse] reads one and trusts
// nothing in it: memory is bounded by the bytes present, and an index whose
// chunks are not the whole file, in order and without overlap, is refused. What
// an index says of digests can be a lie. So whoever copies by a [Plan] compares
// the digest of each chunk, and of the file in the end.
//
// # Encoding
//
// Numbers are unsigned varints as in encoding/binary, of the shortest form.
//
//	"MRCX" 1          magic and version
//	1                 algorithm of digests: SHA-256
//	1 or 2            how it is cut: 1 by a grid, 2 by length
//	size              of the file, in bytes
//	count             of chunks
//	if 1: grid, n, then n offsets, each as the distance from the one before:
//	                  where the grid starts again, besides 0
//	if 2: count lengths
//	count × 32 bytes  digests, in the order of the file
package chunk

import (
	"crypto/sha256"
	"errors"
	"iter"
	"sort"
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

	// MaxChunk is the length of the longest chunk, in bytes: whoever checks
	// one may hold it in memory.
	MaxChunk = 4 << 20

	minGrid = 4 << 10
)

// ErrMalformed is wrapped by the errors of [Parse].
var ErrMalformed = errors.New("malformed chunk index")

// A Digest is the SHA-256 of a chunk.
type Digest [sha256.Size]byte

// A Chunk is a run of a file's bytes.
type Chunk struct {
	Offset, Length int64 // bytes
	Digest         Digest
}

// An Index is where a file is cut, and the digests of the pieces. It does not
// change, and may be used from several goroutines.
type Index struct {
	size    int64
	starts  []int64
	digests []byte // all of them, one after the other
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
	return Chunk{Offset: x.starts[i], Length: end - x.starts[i], Digest: Digest(x.digests[i*sha256.Size:])}
}

// Find returns the number of the chunk that holds the byte at offset, which must
// be in the file.
func (x *Index) Find(offset int64) int {
	return sort.Search(len(x.starts), func(i int) bool { return x.starts[i] > offset }) - 1
}

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
