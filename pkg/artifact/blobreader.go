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

	"github.com/modelreg/modelreg/pkg/transfer"
)

const (
	// brokenReads is how often a read is begun again whose connection broke.
	brokenReads = 2

	// maxSkip is how many bytes are thrown away for a header at the end of
	// a blob that comes whole only.
	maxSkip = 64 << 20
)

// openFileAt opens the bytes of a listed file for random access, as they are:
// nothing is kept and nothing verified.
func openFileAt(ctx context.Context, src content.Fetcher, f File) (*blobReader, error) {
	b := &blobReader{ctx: ctx, src: src, desc: f.Layer, base: f.Offset, size: f.Size}
	if r, ok := src.(transfer.RangeFetcher); ok {
		b.ranges = r
		return b, nil
	}
	rc, err := src.Fetch(ctx, f.Layer)
	if err != nil {
		return nil, err
	}
	b.stream = rc
	// Blobs on a disk need no more than that.
	b.file, _ = rc.(io.ReaderAt)
	return b, nil
}

// A blobReader reads parts of a blob by ranges, or, from a source without them,
// by reading from the beginning. It is given out for a series of reads that ctx
// bounds.
type blobReader struct {
	ctx        context.Context
	src        content.Fetcher
	desc       ocispec.Descriptor
	base, size int64       // of the file in the blob
	file       io.ReaderAt // the blob, if it is on a disk
	skip       int64       // bytes to skip at most where ranges do not work; 0 is any number

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
	if _, err := b.read([][]byte{p}, off); err != nil {
		return 0, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// read fills the buffers one after the other from offset off of the file. They
// must be inside it. It returns where the bytes are from; nil if that is not known.
func (b *blobReader) read(bufs [][]byte, off int64) (transfer.Placed, error) {
	off += b.base
	b.mu.Lock()
	ranges := b.ranges
	b.mu.Unlock()
	if ranges != nil {
		from, err := b.readRange(ranges, bufs, off)
		if b.keepRanges(err) {
			return from, err
		}
	}
	if b.file != nil {
		return nil, b.readFile(bufs, off)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return nil, b.readOn(bufs, off)
}

// readRange reads by one ranged request, which is made again if its answer
// breaks off.
func (b *blobReader) readRange(src transfer.RangeFetcher, bufs [][]byte, off int64) (transfer.Placed, error) {
	var length int64
	for _, p := range bufs {
		length += int64(len(p))
	}
	if length == 0 {
		return nil, nil
	}
	for try := 0; ; try++ {
		rc, err := src.FetchRange(b.ctx, b.desc, off, length)
		if err != nil {
			return nil, err
		}
		err = fill(rc, bufs)
		rc.Close()
		if err == nil || try == brokenReads || b.ctx.Err() != nil || errors.Is(err, content.ErrInvalidDescriptorSize) {
			from, _ := rc.(transfer.Placed)
			return from, err
		}
	}
}

func fill(r io.Reader, bufs [][]byte) error {
	for _, p := range bufs {
		if _, err := io.ReadFull(r, p); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// keepRanges tells whether err is the answer. If not, because ranges have never
// worked, or do not for what is far inside, the whole blob is tried.
func (b *blobReader) keepRanges(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.worked = true
	}
	refused := errors.Is(err, errdef.ErrUnsupported)
	if b.worked && !refused || b.ctx.Err() != nil || errors.Is(err, errdef.ErrNotFound) {
		return true
	}
	b.ranges = nil
	return false
}

// readOn reads from the stream, which is opened again for going back.
func (b *blobReader) readOn(bufs [][]byte, off int64) error {
	if b.stream != nil && off < b.pos {
		b.stream.Close()
		b.stream = nil
	}
	pos := b.pos
	if b.stream == nil {
		pos = 0
	}
	if b.skip > 0 && off-pos > b.skip {
		return fmt.Errorf("read blob %s from byte %d: only the whole of it is to be had: %w", shortDigest(b.desc.Digest), off, errors.ErrUnsupported)
	}
	if b.stream == nil {
		rc, err := b.src.Fetch(b.ctx, b.desc)
		if err != nil {
			return err
		}
		b.stream, b.pos = rc, 0
	}
	skipped, err := io.CopyN(io.Discard, b.stream, off-b.pos)
	b.pos += skipped
	if err != nil {
		return unexpected(err)
	}
	for _, p := range bufs {
		n, err := io.ReadFull(b.stream, p)
		b.pos += int64(n)
		if err != nil {
			return unexpected(err)
		}
	}
	return nil
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
