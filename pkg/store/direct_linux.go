package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file for writes past the page cache, on file systems where
// that was seen to be faster. Elsewhere, over a network above all, each such write
// may wait for the far side.
func openDirect(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if t := int64(st.Type); t != unix.EXT4_SUPER_MAGIC && t != unix.XFS_SUPER_MAGIC {
		return nil, errors.Join(fmt.Errorf("file system %#x: %w", t, errors.ErrUnsupported), f.Close())
	}
	return f, nil
}
