package store

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const dirsSync = true

// startWriteback has the kernel begin to write what is dirty, and does not wait
// for it: the closing fsync then finds little left to do.
func startWriteback(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// uncache has the kernel give up what is clean of its cached bytes of a file.
func uncache(f *os.File, off, n int64) {
	_ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED)
}

// bootID changes when the page cache has been lost.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
