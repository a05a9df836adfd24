package hub

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/store"
)

const (
	// copyBuffer is large because small reads cost a third of the time in calls.
	copyBuffer = 1 << 20

	// wholeBytes is the size up to which a file is fetched whole so that a
	// part of it is verified; larger files of weights have a chunk index.
	wholeBytes = 8 << 20
)

// A Range is a part of a file as an HTTP request has it: from the byte First
// to the byte Last, both included.
type Range struct {
	First int64 // counted from the end when negative: the last -First bytes
	Last  int64 // negative means to the end
}

// Cat writes one file of the version that r resolves to. What was written is
// only right when no error is returned: the digest is known at the end.
func (h *Hub) Cat(ctx context.Context, r ref.Reference, path string, w io.Writer) error {
	t, a, err := h.openModel(ctx, r)
	if err != nil {
		return err
	}
	f, _, err := a.OpenFile(ctx, t.repo, path)
	if err != nil {
		return missing(MissingFile, t.ref, fmt.Errorf("read %s of %s: %w", path, t.ref, err))
	}
	defer f.Close()
	if err := copyTo(w, f); err != nil {
		return fmt.Errorf("read %s of %s: %w", path, t.ref, err)
	}
	return nil
}

// CatRange is Cat for a part of the file: no more than that is fetched, as far
// as the registry gives parts of blobs. A range that ends beyond the file ends
// with it; one that begins there wraps ErrUsage.
//
// What is written is right, chunk by chunk, for files with a chunk index and for
// those of at most 8 MiB. Of others a part cannot be verified: a warning says so.
func (h *Hub) CatRange(ctx context.Context, r ref.Reference, path string, part Range, w io.Writer) error {
	t, a, err := h.openModel(ctx, r)
	if err != nil {
		return err
	}
	f, err := h.readerAt(ctx, t, a, path)
	if errors.Is(err, errors.ErrUnsupported) {
		err = catMember(ctx, t, a, path, part, w)
	}
	if err == nil && f != nil {
		defer f.Close() //nolint:errcheck // only read
		err = h.catPart(t, f, path, part, w)
	}
	if err != nil {
		return missing(MissingFile, t.ref, fmt.Errorf("read %s of %s: %w", path, t.ref, err))
	}
	return nil
}

// readerAt opens a file for reading a part. No mirror is asked for what nobody
// can check.
func (h *Hub) readerAt(ctx context.Context, t *target, a *artifact.Artifact, path string) (*artifact.Reader, error) {
	opts := artifact.ReaderOptions{Whole: wholeBytes, Indexes: h.chunkIndexes()}
	f, err := a.ReaderAt(ctx, t.repo, path, opts)
	if err != nil || f.Verified() {
		return f, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return a.ReaderAt(ctx, t.repo.Origin(), path, opts)
}

func (h *Hub) catPart(t *target, f *artifact.Reader, path string, part Range, w io.Writer) error {
	first, n, err := part.of(f.Size())
	if err != nil {
		return err
	}
	if !f.Verified() {
		h.warn("%s of %s has no chunk index: the bytes are not verified, only the whole file can be", path, t.ref)
	}
	return copyTo(w, io.NewSectionReader(f, first, n))
}

// catMember reads a part of a file in an archive, which is read to its end: only
// the archive has a digest.
func catMember(ctx context.Context, t *target, a *artifact.Artifact, path string, part Range, w io.Writer) error {
	f, info, err := a.OpenFile(ctx, t.repo, path)
	if err != nil {
		return err
	}
	defer f.Close()
	first, n, err := part.of(info.Size)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, f, first); err != nil {
		return err
	}
	if err := copyTo(w, io.LimitReader(f, n)); err != nil {
		return err
	}
	return copyTo(io.Discard, f)
}

// of returns what the range is of a file of size bytes.
func (r Range) of(size int64) (first, n int64, err error) {
	first, last := r.First, r.Last
	if first < 0 {
		first, last = max(size+first, 0), -1
	}
	if last < 0 || last >= size {
		last = size - 1
	}
	switch {
	case first >= size:
		return 0, 0, fmt.Errorf("%w: the range begins at byte %d of a file of %d bytes", ErrUsage, first, size)
	case last < first:
		return 0, 0, fmt.Errorf("%w: the range ends before it begins", ErrUsage)
	}
	return first, last - first + 1, nil
}

// openModel opens the version that r resolves to, if it may be used.
func (h *Hub) openModel(ctx context.Context, r ref.Reference) (*target, *artifact.Artifact, error) {
	t, a, _, err := h.openAdmitted(ctx, r, admitOptions{}, nil)
	return t, a, err
}

// openAdmitted is openModel for those who ask for more, or want to know why it may
// be used. It must be what is locked, if that is not nil: r is then not looked at.
func (h *Hub) openAdmitted(ctx context.Context, r ref.Reference, opts admitOptions, locked *Locked) (*target, *artifact.Artifact, *Verified, error) {
	choose := h.model
	if locked != nil {
		r = locked.Pinned()
		choose = func(ctx context.Context, _ ref.Reference) (*target, error) { return h.locked(ctx, locked) }
	}
	t, err := choose(ctx, r)
	if err != nil {
		return nil, nil, nil, err
	}
	open := func(ctx context.Context) (*artifact.Artifact, error) {
		a, err := artifact.Open(ctx, manifestAtHand{t.repo, t}, t.desc)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.ref, err)
		}
		return a, nil
	}
	a, err := h.heedAndOpen(ctx, r, t, opts.trust, open)
	if err != nil {
		return nil, nil, nil, err
	}
	verified, err := h.admit(ctx, r, t, opts)
	if err != nil {
		return nil, nil, nil, err
	}
	if a == nil {
		if a, err = open(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	if locked != nil {
		if err := h.asLocked(ctx, *locked, used{t, verified, a}); err != nil {
			return nil, nil, nil, err
		}
	}
	return t, a, verified, nil
}

func copyTo(w io.Writer, r io.Reader) error {
	// The structs hide ReaderFrom and WriterTo, which would not use the buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, copyBuffer))
	return err
}

// chunkIndexes are those in the store, nil if there is none, or others could
// have written to them.
func (h *Hub) chunkIndexes() *store.ChunkIndexes {
	if h.opts.Store == nil {
		return nil
	}
	indexes, err := h.opts.Store.ChunkIndexes()
	if err != nil {
		return nil
	}
	return indexes
}
