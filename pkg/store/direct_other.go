//go:build !linux

package store

import (
	"errors"
	"os"
)

// openDirect is for Linux.
func openDirect(*os.Root, string) (*os.File, error) { return nil, errors.ErrUnsupported }
