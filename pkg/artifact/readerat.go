package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// openReaderAt opens the bytes of a listed file for random access.
func openReaderAt(ctx context.Context, src content.Fetcher, f File) (format.ReaderAtCloser, error) {
	b := &blobReader{ctx: ctx, src: src, desc: f.Layer, base: f.Offset, size: f.Size}
	if r, ok := src.(transfer.RangeFetcher); ok {
		b.ranges = r
		return b, nil
	}
	rc, err := src.Fetch(ctx, f.Layer)
	if err != nil {
		return nil, err
	}
	// Blobs on a disk need no more than that.
	if at, ok := rc.(io.ReaderAt); ok {
		return sectionReader{io.NewSectionReader(at, f.Offset, f.Size), rc}, nil
	}
	b.stream = rc
	return b, nil
}

type sectionReader struct {
	*io.SectionReader
	io.Closer
}

// A blobReader reads parts of a blob by ranges, or, from a source without them,
// by reading from the beginning. It is given out for a series of reads that ctx
// bounds.
type blobReader struct {
	ctx        context.Context
	src        content.Fetcher
	desc       ocispec.Descriptor
	base, size int64 // of the file in the blob

	mu     sync.Mutex
	ranges transfer.RangeFetcher // nil where ranges do not work
	worked bool                  // ranges did once
	stream io.ReadCloser
	pos    int64 // of stream in the blob
}

// ReadAt implements io.ReaderAt.
func (b *blobReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read blob %s: negative offset", shortDigest(b.desc.Digest))
	}
	if off >= b.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > b.size-off
	if short {
		p = p[:b.size-off]
	}
	n, err := b.readAt(p, b.base+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

func (b *blobReader) readAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	ranges := b.ranges
	b.mu.Unlock()
	if ranges != nil {
		n, err := readRange(b.ctx, ranges, b.desc, p, off)
		if b.keepRanges(err) {
			return n, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.readOn(p, off)
}

func readRange(ctx context.Context, src transfer.RangeFetcher, desc ocispec.Descriptor, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	rc, err := src.FetchRange(ctx, desc, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer rc.Close()
	return io.ReadFull(rc, p)
}

// keepRanges tells whether err is the answer. If not, and ranges have never
// worked, the whole blob is tried.
func (b *blobReader) keepRanges(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.worked = true
	}
	if b.worked || b.ctx.Err() != nil || errors.Is(err, errdef.ErrNotFound) {
		return true
	}
	b.ranges = nil
	return false
}

// readOn reads from the stream, which is opened again for going back.
func (b *blobReader) readOn(p []byte, off int64) (int, error) {
	if b.stream != nil && off < b.pos {
		b.stream.Close()
		b.stream = nil
	}
	if b.stream == nil {
		rc, err := b.src.Fetch(b.ctx, b.desc)
		if err != nil {
			return 0, err
		}
		b.stream, b.pos = rc, 0
	}
	skipped, err := io.CopyN(io.Discard, b.stream, off-b.pos)
	b.pos += skipped
	if err != nil {
		return 0, unexpected(err)
	}
	n, err := io.ReadFull(b.stream, p)
	b.pos += int64(n)
	return n, unexpected(err)
}

// unexpected says of a blob that ends early that it does so early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close ends the stream that reads without ranges hold open.
func (b *blobReader) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream == nil {
		return nil
	}
	rc := b.stream
	b.stream = nil
	return rc.Close()
}
