//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks an open file for this process without waiting. The lock goes
// with the open file, through renames, and ends when it is closed.
//
// It is not flock's library call because that opens the file by path: what is
// locked could then be another file than the one in hand.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case isNoLocks(err):
		return false, errNoLocks
	}
	return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
}

// isNoLocks knows how file systems say that they have no locks; NFS has none for
// files that are open to read only.
func isNoLocks(err error) bool {
	return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOLCK)
}
