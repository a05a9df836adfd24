//go:build !linux && !darwin

package store

import (
	"os"
	"runtime"
)

const dirsSync = runtime.GOOS != "windows" // where a directory cannot be opened for it

func startWriteback(*os.File) {}

func uncache(*os.File, int64, int64) {}

// bootID is unknown here: a journal is never taken to be of this boot.
func bootID() string { return "" }
