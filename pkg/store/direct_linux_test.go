package store

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IsDirect tells whether a file is written past the page cache.
func IsDirect(f *os.File) bool {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_DIRECT != 0
}

// Cached returns how many bytes of a file are in the page cache.
func Cached(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(m) //nolint:errcheck // it was only asked about
	page := os.Getpagesize()
	in := make([]byte, (len(m)+page-1)/page)
	if _, _, failed := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0]))); failed != 0 {
		return 0, failed
	}
	n := int64(0)
	for _, b := range in {
		n += int64(b&1) * int64(page)
	}
	return n, nil
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
