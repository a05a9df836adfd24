//go:build !linux && !darwin && !freebsd

package store

import "io/fs"

func identify(fs.FileInfo) (statEntry, bool) { return statEntry{}, false }

// CheckPrivate refuses nothing: there are no owners to look at.
func CheckPrivate(fs.FileInfo) error { return nil }

// CheckOwn refuses what is no regular file: there are no owners to look at.
func CheckOwn(fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return notOwn(fi)
	}
	return nil
}

// Allocated returns the size of a file: nobody says how much of it is written.
func Allocated(fi fs.FileInfo) int64 { return fi.Size() }
