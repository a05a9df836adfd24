package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Clone gives dst the bytes of src in place of its own, without copying: both
// files share them until one is written to. The error wraps [ErrNoClone] where
// that cannot be done: another file system than src's, or one without clones.
func Clone(dst, src *os.File) error {
	err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	if err == nil {
		// What dst had after the length of src would stay.
		fi, err := src.Stat()
		if err == nil {
			err = dst.Truncate(fi.Size())
		}
		return err
	}
	if noClone(err) {
		return fmt.Errorf("clone %s: %w: %w", src.Name(), ErrNoClone, err)
	}
	return fmt.Errorf("clone %s: %w", src.Name(), err)
}

func noClone(err error) bool {
	for _, target := range []error{unix.EOPNOTSUPP, unix.ENOTTY, unix.EXDEV, unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.EBADF, unix.ETXTBSY} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// cloneNew makes a new file that shares the bytes of src.
func cloneNew(root *os.Root, name string, src *os.File) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	if err := Clone(f, src); err != nil {
		return nil, errors.Join(err, f.Close(), root.Remove(name))
	}
	return f, nil
}
