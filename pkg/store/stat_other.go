//go:build !linux && !darwin && !freebsd

package store

import "io/fs"

func identify(fs.FileInfo) (statEntry, bool) { return statEntry{}, false }

func checkPrivate(fs.FileInfo) error { return nil }
