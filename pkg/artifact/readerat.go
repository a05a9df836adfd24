package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
	index, indexDigest, err := fileIndex(ctx, src, f, opts.Indexes)
	if err != nil {
		return nil, err
	}
	p := pieces{size: f.Size, index: index, indexDigest: indexDigest}
	if index == nil && isWhole(f, opts) {
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

// isWhole tells whether a file without an index of its chunks is fetched as one
// piece.
func isWhole(f File, opts ReaderOptions) bool {
	return f.Size <= cmp.Or(opts.Whole, defaultWhole) && checkDigest(f.Digest) == nil
}

// proofOf is what the version names to verify parts of the file.
func proofOf(f File, opts ReaderOptions) digest.Digest {
	if desc, ok := namedIndex(f); ok {
		return desc.Digest
	}
	if isWhole(f, opts) {
		return f.Digest
	}
	return ""
}

// namedIndex is the index of a file's chunks that the version names.
func namedIndex(f File) (ocispec.Descriptor, bool) {
	if f.Offset != 0 || f.Size != f.Layer.Size || f.Encoding != mediatypes.Raw {
		return ocispec.Descriptor{}, false
	}
	desc, ok := indexRef(f.Layer)
	return desc, ok && desc.Size <= maxChunkIndex
}

// fileIndex returns the index of a file's chunks and its digest, or nil if there
// is none to be had.
func fileIndex(ctx context.Context, src content.Fetcher, f File, local *store.ChunkIndexes) (*chunk.Index, digest.Digest, error) {
	if f.Offset != 0 || f.Size != f.Layer.Size || f.Encoding != mediatypes.Raw {
		return nil, "", nil
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
				return x, digest.FromBytes(raw), nil
			}
		}
	}
	// One that is not of the file was made so by whoever made the version:
	// there is nobody else to ask.
	desc, ok := namedIndex(f)
	if !ok {
		return nil, "", nil
	}
	if local != nil {
		if raw, ok := local.Get(desc.Digest); ok {
			return parse(raw), desc.Digest, nil
		}
	}
	raw, err := content.FetchAll(ctx, src, desc)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, "", nil // the version was copied without it
	}
	if err != nil {
		return nil, "", fmt.Errorf("read chunk index: %w", err)
	}
	x := parse(raw)
	if x != nil && local != nil {
		local.Put(raw)
	}
	return x, desc.Digest, nil
}

// pieceBytes is the size of the pieces of a file without an index: small
// enough that a header costs little more than itself.
const pieceBytes = 64 << 10

// pieces is how a file is cut for reading.
type pieces struct {
	size  int64
	index *chunk.Index  // nil without one
	whole digest.Digest // of a file that is one piece, else ""

	indexDigest digest.Digest // of the index, if there is one
}

// A piece is a run of a file's bytes that is fetched, and kept, as one.
type piece struct{ offset, length int64 }

func (p *pieces) verified() bool { return p.index != nil || p.whole != "" || p.size == 0 }

// proof is the digest by which reads are verified.
func (p *pieces) proof() digest.Digest {
	if p.index != nil {
		return p.indexDigest
	}
	return p.whole
}

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
