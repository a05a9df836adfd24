//go:build !linux && !darwin && !freebsd && !windows

package store

import (
	"errors"
	"fmt"
)

// FreeSpace returns how many bytes the user can still write to the file system
// that dir is on. The error wraps errors.ErrUnsupported on systems that do not
// tell.
func FreeSpace(dir string) (bytes int64, err error) {
	return 0, fmt.Errorf("read free space of %s: %w", dir, errors.ErrUnsupported)
}
