//go:build linux || darwin || freebsd

package store

import (
	"io/fs"
	"os"
	"syscall"
)

// identify returns what tells a file from all others, and from itself before a
// change.
func identify(fi fs.FileInfo) (statEntry, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() {
		return statEntry{}, false
	}
	return statEntry{
		fileID: fileID{Device: uint64(st.Dev), Inode: uint64(st.Ino)},
		Size:   fi.Size(),
		Mtime:  fi.ModTime().UnixNano(),
		Ctime:  changeTime(st),
	}, true
}

// CheckPrivate refuses what another user owns or can write to. The fi must be of
// the thing itself, as from Lstat. Where systems have no such owners it refuses
// nothing.
func CheckPrivate(fi fs.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 || fi.Mode()&fs.ModeSymlink != 0 {
		return notPrivate(fi)
	}
	return nil
}

// CheckOwn refuses what is no regular file, what another user owns, and what has
// a second name: bytes that are written to it could end up in another's file, or
// be changed by others. Unlike [CheckPrivate] it takes files that others may write
// to: on some file systems all are. The fi must be of the thing itself, as from
// Lstat.
func CheckOwn(fi fs.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() || int(st.Uid) != os.Geteuid() || st.Nlink > 1 {
		return notOwn(fi)
	}
	return nil
}

// Allocated returns how many bytes of the disk a file takes: less than its size
// where parts of it have not been written.
func Allocated(fi fs.FileInfo) int64 {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fi.Size()
	}
	return min(int64(st.Blocks)*512, fi.Size())
}
