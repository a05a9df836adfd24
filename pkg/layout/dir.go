package layout

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
)

// lockPoll is how often a held lock is tried again.
const lockPoll = 5 * time.Millisecond

// copyBytes is the size of the pieces in which blobs are written.
const copyBytes = 1 << 20

// A directory is a layout on a disk.
type directory struct{ root *os.Root }

func (d *directory) Close() error { return d.root.Close() }

func (d *directory) index() ([]byte, error) {
	return readSmall(d.root, ocispec.ImageIndexFile, MaxIndexBytes)
}

// A diskFile is a blob of a directory.
type diskFile struct {
	*os.File
	size int64
}

// Size is how many bytes the file had when it was opened.
func (f diskFile) Size() int64 { return f.size }

func (d *directory) blob(dgst digest.Digest) (File, error) {
	if err := checkDigest(dgst); err != nil {
		return nil, err
	}
	f, size, err := openRegular(d.root, blobPath(dgst))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errdef.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return diskFile{f, size}, nil
}

// list passes over what is no blob, such as one that is on its way.
func (d *directory) list(f func(digest.Digest, int64) error) error {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		dir := ocispec.ImageBlobsDir + "/" + algorithm.String()
		entries, err := fs.ReadDir(d.root.FS(), dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, e := range entries {
			dgst := digest.NewDigestFromEncoded(algorithm, e.Name())
			info, err := e.Info()
			if dgst.Validate() != nil || err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := f(dgst, info.Size()); err != nil {
				return err
			}
		}
	}
	return nil
}

// openRegular opens a file that is no link to another. Another writer may put the
// same file in its place at any time, and does so in one step.
func openRegular(root *os.Root, name string) (*os.File, int64, error) {
	for range 100 {
		before, err := root.Lstat(name)
		if err != nil {
			return nil, 0, err
		}
		if !before.Mode().IsRegular() {
			return nil, 0, malformed("%s is no regular file", name)
		}
		f, err := root.Open(name)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && os.SameFile(before, info) {
			return f, info.Size(), nil
		}
		f.Close()
		if err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, malformed("%s is changed all the time", name)
}

// readSmall reads a file of at most limit bytes.
func readSmall(root *os.Root, name string, limit int64) ([]byte, error) {
	f, size, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, malformed("%s has %d bytes, more than %d", name, size, limit)
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(raw)) > limit {
		return nil, malformed("%s has more than %d bytes", name, limit)
	}
	return raw, nil
}

// begin makes an empty layout in an empty directory.
func begin(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// What another process has begun at the same time is no obstacle.
		if name := e.Name(); name != ocispec.ImageBlobsDir && name != ocispec.ImageIndexFile &&
			name != ocispec.ImageLayoutFile && !strings.HasSuffix(name, temporary) {
			return fmt.Errorf("%w: %s", ErrTaken, name)
		}
	}
	if err := root.MkdirAll(ocispec.ImageBlobsDir, 0o777); err != nil {
		return err
	}
	if _, err := root.Lstat(ocispec.ImageIndexFile); errors.Is(err, fs.ErrNotExist) {
		if err := replace(root, ocispec.ImageIndexFile, emptyIndex); err != nil {
			return err
		}
	}
	return replace(root, ocispec.ImageLayoutFile, marker)
}

// marker is the file oci-layout, and emptyIndex an index.json without entries.
var (
	marker     = []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)
	emptyIndex = []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
)

// temporary ends the names of files that are being written.
const temporary = ".tmp"

// replace gives name these bytes in one step, and makes that durable.
func replace(root *os.Root, name string, raw []byte) error {
	temp := "." + name + "." + rand.Text()[:16] + temporary
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return store.SyncDir(root, ".")
}

// lock waits for the right to change index.json. The file oci-layout is what
// all writers of this package lock.
func (l *Layout) lock(ctx context.Context) (unlock func(), err error) {
	if l.root == nil {
		return nil, ErrReadOnly
	}
	l.writing.Lock()
	file := flock.New(filepath.Join(l.dir, ocispec.ImageLayoutFile), flock.SetFlag(os.O_RDONLY))
	if _, err := file.TryLockContext(ctx, lockPoll); err != nil {
		l.writing.Unlock()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("lock layout: %w: %w", store.ErrLocked, context.Cause(ctx))
		}
		return nil, fmt.Errorf("lock layout: %w", err)
	}
	return func() {
		_ = file.Unlock()
		l.writing.Unlock()
	}, nil
}

// Push writes a blob of exactly the size and digest of desc, or nothing. What
// is there already is an error that wraps errdef.ErrAlreadyExists.
func (l *Layout) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) (err error) {
	if l.root == nil {
		return ErrReadOnly
	}
	if there, err := l.Exists(ctx, desc); err != nil || there {
		if there {
			err = fmt.Errorf("push blob %s: %w", desc.Digest, errdef.ErrAlreadyExists)
		}
		return err
	}
	p, err := l.Partial(desc)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = p.Reset()
		}
		if cerr := p.Close(); err == nil {
			err = cerr
		}
	}()
	if err := p.Reset(); err != nil {
		return err
	}
	if err := fillChecked(ctx, p, desc, r); err != nil {
		return fmt.Errorf("push blob %s: %w", desc.Digest, err)
	}
	return p.Commit()
}

// fillChecked is fill with a look at the digest.
func fillChecked(ctx context.Context, w io.WriterAt, desc ocispec.Descriptor, r io.Reader) error {
	h := desc.Digest.Algorithm().Hash()
	if err := fill(ctx, w, desc, io.TeeReader(r, h)); err != nil {
		return err
	}
	if got := digest.NewDigest(desc.Digest.Algorithm(), h); got != desc.Digest {
		return fmt.Errorf("the bytes are those of %s: %w", got, content.ErrMismatchedDigest)
	}
	return nil
}

// fill writes all bytes of r, which must be as many as desc says.
func fill(ctx context.Context, w io.WriterAt, desc ocispec.Descriptor, r io.Reader) error {
	buf := make([]byte, min(copyBytes, desc.Size+1))
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf)
		if at+int64(n) > desc.Size {
			return fmt.Errorf("more than %d bytes: %w", desc.Size, content.ErrTrailingData)
		}
		if n > 0 {
			if _, err := w.WriteAt(buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if at < desc.Size {
			return fmt.Errorf("%d of %d bytes: %w", at, desc.Size, io.ErrUnexpectedEOF)
		}
		return nil
	}
}
