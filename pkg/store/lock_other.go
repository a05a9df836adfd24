//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package store

import (
	"errors"
	"os"
)

func tryLock(*os.File) (bool, error) { return false, errNoLocks }

func isNoLocks(err error) bool { return errors.Is(err, errors.ErrUnsupported) }
