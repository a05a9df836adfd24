package store

import (
	"fmt"
	"math"

	"golang.org/x/sys/windows"
)

// FreeSpace returns how many bytes the user can still write to the file system
// that dir is on. The error wraps errors.ErrUnsupported on systems that do not
// tell.
func FreeSpace(dir string) (bytes int64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	return int64(min(free, math.MaxInt64)), nil
}
