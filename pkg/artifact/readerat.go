package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
)

const (
	defaultCache = 16 << 20
	defaultWhole = 1 << 20

	// maxChunkIndex bounds the index that is held while a file is read: that
	// of a file of several hundred GB.
	maxChunkIndex = 64 << 20
)

// ReaderOptions adjusts [Artifact.ReaderAt]. The zero value verifies what can
// be verified, and keeps 16 MiB.
type ReaderOptions struct {
	// Cache bounds the bytes that are kept for the next read. Zero means
	// 16 MiB; no less than one piece is kept.
	Cache int64

	// Whole is the size, in bytes, up to which a file without an index of its
	// chunks is fetched as one piece, which its own digest verifies. Zero
	// means 1 MiB; negative means that no file is.
	Whole int64

	// Indexes, if not nil, are the chunk indexes that this machine has. They
	// are used in place of those in the registry, and get those from there.
	Indexes *store.ChunkIndexes
}

// ReaderAt opens one file for reading parts of it, such as headers, or what a
// loader maps. It uses ranges where src has them; ctx bounds all reads. Members
// of archives without an index and of compressed ones cannot be read so; the
// error then wraps errors.ErrUnsupported. The caller closes the reader.
//
// The parts are verified where the version names an index of the file's chunks,
// which is then fetched from src or taken from opts; [Reader.Verified] tells.
func (a *Artifact) ReaderAt(ctx context.Context, src content.Fetcher, path string, opts ReaderOptions) (*Reader, error) {
	f, ok := a.file(path)
	if !ok {
		err := fs.ErrNotExist
		if slices.ContainsFunc(a.Files, func(f File) bool { return f.Archive }) {
			err = fmt.Errorf("not listed, and files in archives cannot be read in parts: %w", errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("open %s: %w", printable(path), err)
	}
	r, err := newReader(ctx, src, f, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", printable(path), err)
	}
	return r, nil
}

// newReader opens a listed file.
func newReader(ctx context.Context, src content.Fetcher, f File, opts ReaderOptions) (*Reader, error) {
	if opts.Cache == 0 {
		opts.Cache = defaultCache
	}
	if opts.Whole == 0 {
		opts.Whole = defaultWhole
	}
	index, err := fileIndex(ctx, src, f, opts.Indexes)
	if err != nil {
		return nil, err
	}
	p := pieces{size: f.Size, index: index}
	if index == nil && f.Size <= opts.Whole && checkDigest(f.Digest) == nil {
		p.whole = f.Digest
	}
	blob, err := openFileAt(ctx, src, f)
	if err != nil {
		return nil, err
	}
	r := &Reader{name: f.Path, blob: blob, pieces: p, cache: newCache(opts.Cache), flights: make(map[int]*flight)}
	r.distrust = distruster(src, f.Layer)
	return r, nil
}

// fileIndex returns the index of a file's chunks, or nil if there is none to be
// had.
func fileIndex(ctx context.Context, src content.Fetcher, f File, local *store.ChunkIndexes) (*chunk.Index, error) {
	if f.Offset != 0 || f.Size != f.Layer.Size || f.Encoding != mediatypes.Raw {
		return nil, nil
	}
	parse := func(raw []byte) *chunk.Index {
		x, err := chunk.Parse(raw)
		if err != nil || !indexIsOf(&x.Table, f.Size, f.Digest) {
			return nil
		}
		return x
	}
	if local != nil {
		if raw, ok := local.Lookup(f.Digest); ok {
			if x := parse(raw); x != nil {
				return x, nil
			}
		}
	}
	// One that is not of the file was made so by whoever made the version:
	// there is nobody else to ask.
	desc, ok := indexRef(f.Layer)
	if !ok || desc.Size > maxChunkIndex {
		return nil, nil
	}
	if local != nil {
		if raw, ok := local.Get(desc.Digest); ok {
			return parse(raw), nil
		}
	}
	raw, err := content.FetchAll(ctx, src, desc)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil // the version was copied without it
	}
	if err != nil {
		return nil, fmt.Errorf("read chunk index: %w", err)
	}
	x := parse(raw)
	if x != nil && local != nil {
		local.Put(raw)
	}
	return x, nil
}

// pieceBytes is the size of the pieces of a file without an index: small
// enough that a header costs little more than itself.
const pieceBytes = 64 << 10

// pieces is how a file is cut for reading.
type pieces struct {
	size  int64
	index *chunk.Index  // nil without one
	whole digest.Digest // of a file that is one piece, else ""
}

// A piece is a run of a file's bytes that is fetched, and kept, as one.
type piece struct{ offset, length int64 }

func (p *pieces) verified() bool { return p.index != nil || p.whole != "" || p.size == 0 }

// count returns how many pieces there are.
func (p *pieces) count() int {
	switch {
	case p.index != nil:
		return p.index.Pieces()
	case p.whole != "":
		return 1
	}
	return int((p.size + pieceBytes - 1) / pieceBytes)
}

// find returns the number of the piece with the byte at off.
func (p *pieces) find(off int64) int {
	switch {
	case p.index != nil:
		return int(off / chunk.PieceBytes)
	case p.whole != "":
		return 0
	}
	return int(off / pieceBytes)
}

func (p *pieces) at(i int) piece {
	each := int64(pieceBytes)
	switch {
	case p.index != nil:
		each = chunk.PieceBytes
	case p.whole != "":
		return piece{0, p.size}
	}
	off := int64(i) * each
	return piece{off, min(each, p.size-off)}
}

// right tells whether data is piece i, as far as that is known.
func (p *pieces) right(i int, data []byte) bool {
	switch {
	case p.index != nil:
		return p.index.Verify(i, data)
	case p.whole != "":
		return p.whole.Algorithm().FromBytes(data) == p.whole
	}
	return true
}

// A ChunkError reports bytes of a blob that are not the ones its index names.
type ChunkError struct {
	Name           string        // of the file
	Blob           digest.Digest // that holds it
	Offset, Length int64         // of the wrong bytes in the file
}

func (e *ChunkError) Error() string {
	return fmt.Sprintf("read %s: bytes %d-%d of blob %s do not match their digest", printable(e.Name), e.Offset, e.Offset+e.Length-1, e.Blob)
}

// Unwrap returns content.ErrMismatchedDigest.
func (e *ChunkError) Unwrap() error { return content.ErrMismatchedDigest }
