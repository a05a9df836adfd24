package artifact

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// copyBytes is the size of reads from files: smaller ones cost more CPU.
const copyBytes = 1 << 20

// A segment is a run of a layer's bytes: some that are in memory, or a file.
type segment struct {
	data []byte  // tar headers and padding
	file *source // nil for data
	size int64
}

// A stream is the bytes of a layer, made of files as they lie on the disk, so
// that a layer is never written down before it is sent.
type stream struct {
	root *os.Root
	segs []segment
	size int64
	pace *pace // of hashing; nil for as fast as it goes
}

func (s *stream) add(seg segment) {
	s.segs = append(s.segs, seg)
	s.size += seg.size
}

// hash reads the whole stream once. It returns its digest and, in order, those
// of the files in it. The indexer, if not nil, is given the bytes of the file of
// a raw layer.
func (s *stream) hash(ctx context.Context, x *indexer) (digest.Digest, []digest.Digest, error) {
	whole := digest.Canonical.Hash()
	var files []digest.Digest
	buf := make([]byte, min(copyBytes, max(s.size, 512)))
	for _, seg := range s.segs {
		if seg.file == nil {
			whole.Write(seg.data)
			continue
		}
		// The file of a raw layer is the layer: hash it once.
		alone := whole
		if len(s.segs) > 1 {
			alone = digest.Canonical.Hash()
		}
		if x != nil { // it hashes the file itself
			if err := s.hashFile(ctx, seg.file, buf, x); err != nil {
				return "", nil, err
			}
			return x.digest(), []digest.Digest{x.digest()}, nil
		}
		to := io.Writer(whole)
		if alone != whole {
			to = io.MultiWriter(whole, alone)
		}
		if err := s.hashFile(ctx, seg.file, buf, to); err != nil {
			return "", nil, err
		}
		files = append(files, digest.NewDigest(digest.Canonical, alone))
	}
	return digest.NewDigest(digest.Canonical, whole), files, nil
}

// hashFile gives the bytes of a file to h, whose Write does not fail.
func (s *stream) hashFile(ctx context.Context, src *source, buf []byte, h io.Writer) error {
	f, err := src.open(ctx, s.root)
	if err != nil {
		return err
	}
	defer f.Close()
	var n int64
	for {
		if err := cmp.Or(ctx.Err(), s.pace.wait(ctx, n)); err != nil {
			return err
		}
		k, err := f.Read(buf)
		_, _ = h.Write(buf[:k])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n > src.info.Size() {
			break
		}
	}
	if n != src.info.Size() {
		return &os.PathError{Op: "read", Path: src.path, Err: ErrChanged}
	}
	return src.unchanged(f)
}

// open opens the stream from offset. Reading it fails when a file is no longer
// what it was.
func (s *stream) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	if offset < 0 || offset > s.size {
		return nil, fmt.Errorf("open layer: offset %d is outside its size %d", offset, s.size)
	}
	r := &streamReader{ctx: ctx, root: s.root, segs: s.segs, skip: offset}
	for len(r.segs) > 0 && r.skip >= r.segs[0].size {
		r.skip -= r.segs[0].size
		r.segs = r.segs[1:]
	}
	return r, nil
}

// A streamReader reads the segments one after the other. It lives for one
// upload, and keeps the context for that long.
type streamReader struct {
	ctx  context.Context
	root *os.Root
	segs []segment
	skip int64 // of the first segment

	file opened // of the first segment, once it is being read
	mem  *bytes.Reader
	left int64
}

func (r *streamReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	for len(r.segs) > 0 {
		if r.file == nil && r.mem == nil {
			if err := r.begin(); err != nil {
				return 0, err
			}
		}
		if r.left == 0 {
			if err := r.end(); err != nil {
				return 0, err
			}
			continue
		}
		return r.read(p[:min(int64(len(p)), r.left)])
	}
	return 0, io.EOF
}

// begin opens the first segment at the offset to start from.
func (r *streamReader) begin() error {
	seg := r.segs[0]
	if seg.file == nil {
		r.mem = bytes.NewReader(seg.data[r.skip:])
	} else {
		f, err := seg.file.open(r.ctx, r.root)
		if err != nil {
			return err
		}
		if _, err := f.Seek(r.skip, io.SeekStart); err != nil {
			f.Close()
			return err
		}
		r.file = f
	}
	r.skip, r.left = 0, seg.size-r.skip
	return nil
}

// File opens the file that all the bytes are of and returns it, or nil. Who
// reads it in the place of the stream must read no more than the stream has,
// and loses the look whether it has changed at its end.
func (r *streamReader) File() *os.File {
	if len(r.segs) != 1 || r.segs[0].file == nil || r.ctx.Err() != nil {
		return nil
	}
	if r.file == nil && r.begin() != nil {
		return nil // Read will tell
	}
	f, _ := r.file.(*os.File)
	return f
}

func (r *streamReader) read(p []byte) (int, error) {
	if r.mem != nil {
		n, err := r.mem.Read(p)
		r.left -= int64(n)
		return n, err
	}
	n, err := r.file.Read(p)
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = &os.PathError{Op: "read", Path: r.segs[0].file.path, Err: ErrChanged}
	}
	return n, err
}

// end leaves the first segment, which has been read to its end.
func (r *streamReader) end() error {
	seg := r.segs[0]
	r.segs, r.mem = r.segs[1:], nil
	if r.file == nil {
		return nil
	}
	err := errors.Join(seg.file.unchanged(r.file), r.file.Close())
	r.file = nil
	return err
}

func (r *streamReader) Close() error {
	r.segs = nil
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}
