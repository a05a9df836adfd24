package store

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffset is past the end of any file, for locks here are mandatory: the
// bytes themselves must stay readable and writable.
const lockOffset = 1 << 30

// tryLock locks an open file for this process without waiting. The lock ends
// when the file is closed.
func tryLock(f *os.File) (bool, error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: lockOffset})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	case isNoLocks(err):
		return false, errNoLocks
	}
	return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
}

func isNoLocks(err error) bool { return errors.Is(err, windows.ERROR_INVALID_FUNCTION) }
