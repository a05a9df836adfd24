package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// touchAfter is how old a blob's time of last use may get before a use renews
// it. It is less than [minGrace], so that Prune never takes what is in use.
const touchAfter = 10 * time.Minute

// Exists tells whether the blob is there with its right size. One of a wrong
// size is checked, and put aside if it is damaged. A blob that exists is safe
// from [Store.Prune] for a time.
func (s *Store) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	name, err := blobName(desc)
	if err != nil {
		return false, err
	}
	fi, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up blob: %w", err)
	}
	if !fi.Mode().IsRegular() || fi.Size() != desc.Size {
		err := s.suspect(ctx, desc.Digest)
		if errors.Is(err, ErrCorrupt) {
			return false, nil
		}
		return false, err
	}
	return s.touch(name, fi), nil
}

// touch notes that a blob is in use. It reports false if Prune was faster: the
// two agree by a lock on the blob itself.
func (s *Store) touch(name string, fi fs.FileInfo) bool {
	_ = s.session.begin(s) // fails where nothing can be pruned either
	if time.Since(fi.ModTime()) < touchAfter {
		return true
	}
	f, err := s.root.Open(name)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	for range lockTries {
		if ok, err := tryLock(f); ok || err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// A store that is read-only for us is still good to read.
	return !errors.Is(s.root.Chtimes(name, time.Time{}, time.Now()), fs.ErrNotExist)
}

// Fetch opens a blob. The reader is also an io.ReaderAt and io.Seeker, and the
// caller closes it. Only the size has been checked: whoever needs certainty
// reads through [content.NewVerifyReader], as content.FetchAll does.
//
// The error wraps [errdef.ErrNotFound] for a blob that is not there, and also
// [ErrCorrupt] if it was there but damaged.
func (s *Store) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	f, err := s.openBlob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// FetchRange opens length bytes of a blob from offset; a negative length means
// to its end. A range that is not within the blob is an error.
func (s *Store) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || offset > desc.Size || length > desc.Size-offset {
		return nil, fmt.Errorf("fetch blob %s: range %d+%d is outside its size %d", desc.Digest, offset, length, desc.Size)
	}
	if length < 0 {
		length = desc.Size - offset
	}
	f, err := s.openBlob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &section{io.NewSectionReader(f, offset, length), f}, nil
}

type section struct {
	*io.SectionReader
	io.Closer
}

func (s *Store) openBlob(ctx context.Context, desc ocispec.Descriptor) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, err := blobName(desc)
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fetch blob %s: %w", desc.Digest, errdef.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch blob: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("fetch blob: %w", err)
	}
	if fi.Mode().IsRegular() && fi.Size() == desc.Size {
		s.touch(name, fi)
		return f, nil
	}
	f.Close()
	if err := s.suspect(ctx, desc.Digest); err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w: %w", desc.Digest, errdef.ErrNotFound, err)
	}
	return nil, fmt.Errorf("fetch blob %s: it does not have %d bytes: %w", desc.Digest, desc.Size, errdef.ErrNotFound)
}

// Push writes a blob of exactly the size and digest of desc, or nothing. If it
// is there the error wraps [errdef.ErrAlreadyExists] and r is not read. Wrong
// bytes are an error that wraps [content.ErrMismatchedDigest],
// [content.ErrTrailingData] or io.ErrUnexpectedEOF.
func (s *Store) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	exists, err := s.Exists(ctx, desc)
	if err != nil {
		return err
	}
	if exists {
		return fmt.Errorf("push blob %s: %w", desc.Digest, errdef.ErrAlreadyExists)
	}
	p, err := s.newPartial(desc)
	if err != nil {
		return fmt.Errorf("push blob %s: %w", desc.Digest, err)
	}
	defer p.Close()
	if err := p.fill(ctx, r); err != nil {
		return fmt.Errorf("push blob %s: %w", desc.Digest, err)
	}
	return p.Commit()
}

// Delete removes a blob, whether or not tags need it.
func (s *Store) Delete(ctx context.Context, desc ocispec.Descriptor) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := digestName(desc.Digest)
	if err != nil {
		return err
	}
	err = s.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", desc.Digest, errdef.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

var (
	_ content.Storage     = (*Store)(nil)
	_ content.Deleter     = (*Store)(nil)
	_ content.TagResolver = (*Store)(nil)
	_ content.Untagger    = (*Store)(nil)
)
