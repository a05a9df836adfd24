//go:build linux || darwin || freebsd

package store

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// FreeSpace returns how many bytes the user can still write to the file system
// that dir is on. The error wraps errors.ErrUnsupported on systems that do not
// tell.
func FreeSpace(dir string) (bytes int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	free, size := max(int64(st.Bavail), 0), int64(st.Bsize)
	if size > 0 && free > math.MaxInt64/size {
		return math.MaxInt64, nil
	}
	return free * size, nil
}
