//go:build !linux

package store

import (
	"errors"
	"os"
)

// IsDirect tells whether a file is written past the page cache.
func IsDirect(*os.File) bool { return false }

// Cached is not known here.
func Cached(string) (int64, error) { return 0, errors.ErrUnsupported }

// TakesDirect tells whether files in a directory can be written so.
func TakesDirect(*os.Root) bool { return false }
