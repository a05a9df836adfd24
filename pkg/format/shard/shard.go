// Package shard cuts files of weights that are too large for a registry into
// shards that loaders read: safetensors as transformers writes them, with an
// index, GGUF as gguf-split does.
//
// [Plan] reads headers and decides; it writes nothing and copies no tensor. A
// shard is a header in memory and parts of the files it is made of, which are
// read when the shard is. So a model of any size is cut without room on a disk.
//
// Files are cut between tensors, never within one, and tensors keep their
// order. Where a shard that is at least half full would end within a
// transformer block, it ends before the block. The same files and the same
// limit give the same shards, byte for byte.
//
// Files are taken to be hostile: what the readers of safetensors and GGUF
// refuse is refused here, and memory is bounded by the size of headers.
package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// MinLimit is the smallest limit that [Plan] takes, in bytes. Below it, headers
// would outweigh tensors.
const MinLimit = 1 << 10

// ErrConflict is wrapped by errors of [Plan] for a model that cannot be cut
// without losing something: two tensors of one name, a shard that is not there,
// a name that is taken.
var ErrConflict = errors.New("cannot be cut into shards")

// A ReaderAtCloser reads the bytes of one file at any offset, from several
// goroutines.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}

// A File is one file of a model, before it is cut.
type File struct {
	// Path is relative to the root of the model, with slashes.
	Path string

	// Size is the length in bytes.
	Size int64

	// Open opens the bytes. Whoever calls it closes what it returns.
	Open func(ctx context.Context) (ReaderAtCloser, error)
}

// A Part is a run of bytes of an [Output].
type Part struct {
	// Data are the bytes, if they are not those of a file. They may be
	// shared with other parts, and must not be changed.
	Data []byte

	// File is where the bytes are if Data is nil, from Offset.
	File   *File
	Offset int64

	// Length is the number of bytes.
	Length int64
}

// An Output is a file that is made: a shard or an index.
type Output struct {
	Path  string
	Size  int64 // the sum of its parts
	Parts []Part
}

// A Set is one set of weights that is cut: the files that go and those that
// come in their place.
type Set struct {
	Replaced []string // sorted paths
	Outputs  []Output // the shards in order, then the index if there is one

	// Tensors and Shards are how many there are, and Larger how many shards
	// are over the limit because one tensor is.
	Tensors, Shards, Larger int
}

// Plan decides how the safetensors and GGUF files among files are cut so that
// none is over limit bytes. Sets of which no file is over the limit stay as
// they are, and have no entry in the result; so do projectors of GGUF models,
// of which no loader reads shards. A set that was cut before is cut anew as a
// whole. One tensor that is larger than limit makes a shard alone.
//
// The error wraps malformed.ErrMalformed for a file that does not parse and
// [ErrConflict] for a set that cannot be cut; it is that of opening or reading
// otherwise.
func Plan(ctx context.Context, files []File, limit int64) ([]Set, error) {
	if limit < MinLimit {
		return nil, fmt.Errorf("shards of %d bytes are too small: at least %d", limit, MinLimit)
	}
	sets, err := group(ctx, files)
	if err != nil {
		return nil, err
	}
	var plan []Set
	for _, s := range sets {
		if !s.over(limit) {
			continue
		}
		done, err := s.cut(ctx, limit)
		if err != nil {
			return nil, err
		}
		plan = append(plan, *done)
	}
	if err := checkNames(files, plan); err != nil {
		return nil, err
	}
	return plan, nil
}

// checkNames refuses a plan that would put a file in the place of another that
// stays.
func checkNames(files []File, plan []Set) error {
	taken := make(map[string]bool, len(files))
	for _, f := range files {
		taken[f.Path] = true
	}
	for _, s := range plan {
		for _, p := range s.Replaced {
			delete(taken, p)
		}
	}
	for _, s := range plan {
		for _, o := range s.Outputs {
			if taken[o.Path] {
				return fmt.Errorf("%s: %w: %s is there already", s.Replaced[0], ErrConflict, o.Path)
			}
			taken[o.Path] = true
		}
	}
	return nil
}

// newOutput joins parts. Neighbours in one file become one part.
func newOutput(path string, parts []Part) Output {
	o := Output{Path: path}
	for _, p := range parts {
		if p.Length == 0 {
			continue
		}
		o.Size += p.Length
		if n := len(o.Parts); n > 0 && p.Data == nil {
			last := &o.Parts[n-1]
			if last.Data == nil && last.File == p.File && last.Offset+last.Length == p.Offset {
				last.Length += p.Length
				continue
			}
		}
		o.Parts = append(o.Parts, p)
	}
	return o
}

func inMemory(data []byte) Part { return Part{Data: data, Length: int64(len(data))} }

// byPath sorts files by their paths.
func byPath(files []*File) {
	slices.SortFunc(files, func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
}
