package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/modelreg/modelreg/pkg/ref"
)

// isPath tells what can only be meant as a path on this machine.
func isPath(arg string) bool {
	first, _, _ := strings.Cut(filepath.ToSlash(arg), "/")
	return first == "." || first == ".." || filepath.IsAbs(arg)
}

// local tells whether an argument that can be a reference or a path is a path: it
// looks like one; or it is there, and is no reference; or it is a directory, and
// would be a reference only with the default registry of the configuration, so that
// setting one changes what no directory is taken for.
func (a *app) local(arg string) bool {
	if isPath(arg) {
		return true
	}
	info, err := os.Stat(arg)
	if err != nil {
		return false
	}
	if _, err := a.parse(arg); err != nil {
		return true
	}
	_, err = ref.Parse(arg)
	return err != nil && info.IsDir() && !strings.HasPrefix(arg, "@")
}

// pathOf writes a path so that commands take it for nothing else.
func pathOf(dir string) string {
	if isPath(dir) {
		return dir
	}
	return "." + string(filepath.Separator) + dir
}
