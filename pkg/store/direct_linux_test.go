package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// IsDirect tells whether a file is written past the page cache.
func IsDirect(f *os.File) bool {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_DIRECT != 0
}

// TakesDirect tells whether files in a directory can be written so.
func TakesDirect(root *os.Root) bool {
	if err := root.WriteFile("probe", nil, 0o600); err != nil {
		return false
	}
	f, err := openDirect(root, "probe")
	if err != nil {
		return false
	}
	f.Close()
	return root.Remove("probe") == nil
}
