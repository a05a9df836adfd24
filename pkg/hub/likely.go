package hub

import (
	"sync"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A sizedFile is what is known of a file before it has been hashed.
type sizedFile struct {
	path string
	size int64
}

// likely tells which files the registry may have already, so that it pays to
// hash them before anything is sent: all, when the user names repositories to
// mount from; else those of which the version that the branch points to now, or
// begins from, has one of that name and size.
func likely(mountFrom []string, c *commit) func(string, int64) bool {
	if len(mountFrom) > 0 {
		return func(string, int64) bool { return true }
	}
	tip := sync.OnceValue(func() map[sizedFile]bool {
		if c.raw == nil {
			return filesOf(c.ahead)
		}
		return filesOf(c.raw)
	})
	return func(path string, size int64) bool { return tip()[sizedFile{path, size}] }
}

// filesOf returns the files of a version that have a layer of their own. It is
// none when there is no such version, or none that can be read.
func filesOf(raw []byte) map[sizedFile]bool {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return nil
	}
	files := make(map[sizedFile]bool)
	for _, l := range m.Layers {
		if path := l.Annotations[mediatypes.AnnotationFilepath]; path != "" {
			files[sizedFile{path, l.Size}] = true
		}
	}
	return files
}
