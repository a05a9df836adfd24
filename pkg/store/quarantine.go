package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
)

// suspect reads a whole blob and puts it aside if it is damaged. The error then
// wraps ErrCorrupt. A blob is never put aside on anyone's word, such as the
// size in a stranger's manifest.
func (s *Store) suspect(ctx context.Context, dgst digest.Digest) error {
	name, err := digestName(dgst)
	if err != nil {
		return err
	}
	fi, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.Join(corrupt(dgst, "is not a regular file"), s.root.Rename(name, badName(dgst)))
	}
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := hashFile(ctx, f, dgst.Algorithm())
	switch {
	case errors.Is(err, syscall.EIO):
		// The disk has lost it: a new copy is written elsewhere.
		return errors.Join(corrupt(dgst, "cannot be read"), err, s.putAside(f, dgst))
	case err != nil:
		return err
	case got == dgst:
		return nil
	}
	return errors.Join(corrupt(dgst, "has digest "+got.String()), s.putAside(f, dgst))
}

// corrupt describes a damaged blob in the words of oras-go and in ours.
func corrupt(dgst digest.Digest, what string) error {
	return fmt.Errorf("%w: blob %s %s: %w", ErrCorrupt, dgst, what, content.ErrMismatchedDigest)
}

// putAside moves the blob that f is open on to bad. If another process has
// replaced it by a good one in the meantime, that stays.
func (s *Store) putAside(f *os.File, dgst digest.Digest) error {
	name, err := digestName(dgst)
	if err != nil {
		return err
	}
	if same, err := isAt(f, s.root, name); err != nil || !same {
		return err
	}
	bad := badName(dgst)
	if err := s.disk.Rename(s.root, name, bad); err != nil {
		return fmt.Errorf("put blob aside: %w", err)
	}
	if same, err := isAt(f, s.root, bad); err == nil && !same {
		// It was replaced after the check: back with the good one.
		return s.disk.Rename(s.root, bad, name)
	}
	_ = s.root.Chtimes(bad, time.Time{}, time.Now()) // its age there is what Prune asks for
	return errors.Join(syncDir(s.disk, s.root, path.Dir(name)), syncDir(s.disk, s.root, badDir))
}

func badName(dgst digest.Digest) string {
	return path.Join(badDir, dgst.Algorithm().String()+"-"+dgst.Encoded()+"."+random())
}

// hashFile returns the digest of what f holds from its beginning.
func hashFile(ctx context.Context, f *os.File, alg digest.Algorithm) (digest.Digest, error) {
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := alg.Hash()
	buf := make([]byte, min(fi.Size()+1, copyBuffer))
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.ReadAt(buf, off)
		h.Write(buf[:n])
		off += int64(n)
		if errors.Is(err, io.EOF) {
			return digest.NewDigest(alg, h), nil
		}
		if err != nil {
			return "", err
		}
	}
}
