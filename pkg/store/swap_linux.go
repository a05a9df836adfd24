package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// exchange gives each of two names what the other had, in one step.
func exchange(parent *os.Root, a, b string) error {
	dir, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	fd := int(dir.Fd())
	err = unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return errors.ErrUnsupported
	}
	if errors.Is(err, unix.EXDEV) {
		// A directory of a lower layer of an overlay cannot be moved. Over an
		// empty one the plain rename is atomic too.
		if unix.Renameat(fd, a, fd, b) == nil {
			return nil
		}
		return fmt.Errorf("exchange %s and %s: the directory is part of a container image, and cannot be replaced in one step: use another: %w", a, b, err)
	}
	if err != nil {
		return fmt.Errorf("exchange %s and %s: %w", a, b, err)
	}
	return nil
}
