package artifact

import "os"

// Skips returns the function that tells what [Pack] leaves out of a directory:
// what .modelregignore names, what holds caches or secrets, and what Unpack
// keeps there. A directory that is left out is left out with all that is in it.
func Skips(dir string) (func(path string, isDir bool) bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	text, err := readIgnoreFile(root)
	if err != nil {
		return nil, err
	}
	ignore := newIgnorer(text, nil)
	return func(path string, isDir bool) bool { return ignore.skip(path, isDir) != "" }, nil
}
