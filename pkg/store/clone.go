package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNoClone is wrapped by errors of [Clone] where files cannot share bytes.
var ErrNoClone = errors.New("file system cannot clone files")

// CopyFile makes a file below root with the bytes of src, which must be those
// of desc: by sharing them with src where the file system can, else by copying.
// Either way every byte is hashed before the file gets its name, in place of
// what had it; on an error nothing changes. Missing directories are made. The
// file is durable when CopyFile returns.
//
// Bytes of another digest are an error that wraps [ErrCorrupt] and
// content.ErrMismatchedDigest.
func CopyFile(ctx context.Context, root *os.Root, name string, src *os.File, desc ocispec.Descriptor) error {
	if _, err := blobName(desc); err != nil {
		return err
	}
	if err := checkPath(name); err != nil {
		return err
	}
	if err := (copying{root, name, true}).run(ctx, src, desc); err != nil {
		return fmt.Errorf("copy to %s: %w", name, err)
	}
	return nil
}

// A copying makes a file.
type copying struct {
	root  *os.Root
	name  string
	share bool // the bytes, where the file system can
}

func (c copying) run(ctx context.Context, src *os.File, desc ocispec.Descriptor) error {
	root, name := c.root, c.name
	d := osDisk{}
	if err := makeDirs(d, root, path.Dir(name), 0o777); err != nil {
		return err
	}
	temp := name + "." + random() + ".partial"
	var f *os.File
	err := ErrNoClone
	if c.share {
		f, err = cloneNew(root, temp, src)
	}
	if err == nil {
		err = check(ctx, f, desc)
	} else if errors.Is(err, ErrNoClone) {
		if f, err = root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			err = copyChecked(ctx, f, src, desc)
		}
	}
	if f == nil {
		return err
	}
	if err == nil {
		err = d.Sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(root, temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return syncDir(d, root, path.Dir(name))
}

// check compares size and digest of a whole file.
func check(ctx context.Context, f *os.File, desc ocispec.Descriptor) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != desc.Size {
		return wrongSize(desc, fi.Size())
	}
	got, err := hashFile(ctx, f, desc.Digest.Algorithm())
	if err == nil && got != desc.Digest {
		err = corrupt(desc.Digest, "has digest "+got.String())
	}
	return err
}

func wrongSize(desc ocispec.Descriptor, size int64) error {
	return corrupt(desc.Digest, fmt.Sprintf("has %d bytes instead of %d", size, desc.Size))
}

// copyChecked copies src to dst and checks the bytes on the way.
func copyChecked(ctx context.Context, dst, src *os.File, desc ocispec.Descriptor) error {
	h := desc.Digest.Algorithm().Hash()
	// One byte more than there should be tells of a longer source.
	r := io.TeeReader(io.NewSectionReader(src, 0, desc.Size+1), h)
	n, err := io.CopyBuffer(&lazyWriter{ctx: ctx, f: dst}, r, make([]byte, min(desc.Size+1, copyBuffer)))
	if err != nil {
		return err
	}
	if n != desc.Size {
		return wrongSize(desc, n)
	}
	if got := digest.NewDigest(desc.Digest.Algorithm(), h); got != desc.Digest {
		return corrupt(desc.Digest, "has digest "+got.String())
	}
	return nil
}

// A lazyWriter writes to a file for as long as there is time, and has the
// kernel begin to write what it has.
type lazyWriter struct {
	ctx   context.Context // of the one copy it is made for
	f     *os.File
	dirty int
}

func (w *lazyWriter) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.f.Write(b)
	if w.dirty += n; w.dirty >= writebackStep {
		startWriteback(w.f)
		w.dirty = 0
	}
	return n, err
}

// Materialise makes a file below root with the bytes of a blob, as [CopyFile]
// does. A blob that turns out to be damaged is put aside, and the error wraps
// [ErrCorrupt]; one that is not there wraps errdef.ErrNotFound.
func (s *Store) Materialise(ctx context.Context, root *os.Root, name string, desc ocispec.Descriptor) error {
	src, err := s.openBlob(ctx, desc)
	if err != nil {
		return err
	}
	defer src.Close()
	err = CopyFile(ctx, root, name, src, desc)
	if errors.Is(err, ErrCorrupt) {
		return errors.Join(err, s.putAside(src, desc.Digest))
	}
	return err
}
