package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobMode is what blobs have: nobody is to write to them.
const blobMode = 0o444

// Link gives a blob a second name, file, which is a path outside of the store on
// the same file system. Both are then the same read-only bytes: whoever makes
// the file writable and changes it damages the store, which finds that out when
// the blob is used next. The bytes are checked first, and a blob that is damaged
// is put aside, as [Store.Materialise] does. What had the name file is replaced.
func (s *Store) Link(ctx context.Context, file string, desc ocispec.Descriptor) error {
	src, err := s.openBlob(ctx, desc)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := check(ctx, src, desc); err != nil {
		if errors.Is(err, ErrCorrupt) {
			err = errors.Join(err, s.putAside(src, desc.Digest))
		}
		return err
	}
	name, err := blobName(desc)
	if err != nil {
		return err
	}
	return linkFile(src, filepath.Join(s.Dir(), filepath.FromSlash(name)), file)
}

// linkFile gives what src is, and name names, the name file.
func linkFile(src *os.File, name, file string) error {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm() != blobMode {
		if err := src.Chmod(blobMode); err != nil {
			return err
		}
	}
	temp := file + "." + random() + ".partial"
	if err := os.Link(name, temp); err != nil {
		return err
	}
	// A rename over another name of the same file does nothing.
	defer os.Remove(temp)
	linked, err := os.Lstat(temp)
	if err != nil {
		return err
	}
	if !os.SameFile(info, linked) {
		return fmt.Errorf("link %s: it was replaced meanwhile", name)
	}
	return os.Rename(temp, file)
}

// CanLink tells whether blobs can have names in directory dir: an error says why
// not.
func (s *Store) CanLink(dir string) error {
	probe := filepath.Join(dir, "probe."+random())
	if err := os.Link(filepath.Join(s.Dir(), versionName), probe); err != nil {
		return err
	}
	return os.Remove(probe)
}

// CopyOut makes a file below root with the bytes of a blob, as
// [Store.Materialise] does, and never shares them with the store.
func (s *Store) CopyOut(ctx context.Context, root *os.Root, name string, desc ocispec.Descriptor) error {
	src, err := s.openBlob(ctx, desc)
	if err != nil {
		return err
	}
	defer src.Close()
	err = copying{root, name, false}.run(ctx, src, desc)
	if errors.Is(err, ErrCorrupt) {
		return errors.Join(err, s.putAside(src, desc.Digest))
	}
	return err
}
