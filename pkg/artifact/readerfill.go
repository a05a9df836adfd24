package artifact

import (
	"fmt"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// Piece returns the length, in bytes, of the pieces that the file is fetched and
// verified in, all but the last of it: the file's own if it is one piece.
func (r *Reader) Piece() int64 {
	if r.pieces.size == 0 {
		return 1
	}
	return r.pieces.at(0).length
}

// Fill reads whole pieces straight into p, with one request, and keeps nothing: it
// is for those who keep what they read themselves. It begins at off, a multiple of
// [Reader.Piece], and p is as long as some pieces, or ends with the file.
//
// Where the reader is [Reader.Verified], p holds the right bytes if there is no
// error; with one it holds anything. Unlike [Reader.ReadAt] it never reads a blob
// from its beginning: where parts are not to be had, the error wraps
// errdef.ErrUnsupported.
func (r *Reader) Fill(p []byte, off int64) error {
	n, piece, size := int64(len(p)), r.Piece(), r.pieces.size
	if off < 0 || n > size-off || off%piece != 0 || n%piece != 0 && off+n != size {
		return fmt.Errorf("read %s: bytes %d-%d are not whole pieces", printable(r.name), off, off+n-1)
	}
	var bufs [][]byte
	for rest := p; len(rest) > 0; {
		k := min(piece, int64(len(rest)))
		bufs = append(bufs, rest[:k:k])
		rest = rest[k:]
	}
	from, err := r.blob.readParts(bufs, off)
	if err != nil {
		return fmt.Errorf("read %s: %w", printable(r.name), err)
	}
	first := int(off / piece)
	for k := range bufs {
		if err := r.check(first+k, bufs[k], from, r.blob.readParts); err != nil {
			return err
		}
	}
	return nil
}

// readParts is read without a second way: a range is answered as one, or not at
// all.
func (b *blobReader) readParts(bufs [][]byte, off int64) (transfer.Placed, error) {
	off += b.base
	if b.file != nil {
		return nil, b.readFile(bufs, off)
	}
	var n int64
	for _, p := range bufs {
		n += int64(len(p))
	}
	if off == 0 && n == b.desc.Size {
		return b.readWhole(bufs)
	}
	src, ok := b.src.(transfer.RangeFetcher)
	if !ok {
		return nil, fmt.Errorf("read blob %s from byte %d: %w", shortDigest(b.desc.Digest), off, errdef.ErrUnsupported)
	}
	return b.readRange(src, bufs, off)
}

// readWhole fills the buffers with all of the blob, which every source has.
func (b *blobReader) readWhole(bufs [][]byte) (transfer.Placed, error) {
	rc, err := b.src.Fetch(b.ctx, b.desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	from, _ := rc.(transfer.Placed)
	return from, fill(rc, bufs)
}

func (b *blobReader) readFile(bufs [][]byte, off int64) error {
	for _, p := range bufs {
		if _, err := b.file.ReadAt(p, off); err != nil {
			return unexpected(err)
		}
		off += int64(len(p))
	}
	return nil
}
