//go:build !linux

package store

import "os"

// IsDirect tells whether a file is written past the page cache.
func IsDirect(*os.File) bool { return false }

// TakesDirect tells whether files in a directory can be written so.
func TakesDirect(*os.Root) bool { return false }
