package store

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Clone reports [ErrNoClone]: APFS clones only into files that do not exist
// yet. [CopyFile] does that.
func Clone(dst, src *os.File) error {
	return fmt.Errorf("clone %s: %w", src.Name(), ErrNoClone)
}

// cloneNew makes a new file that shares the bytes of src.
func cloneNew(root *os.Root, name string, src *os.File) (*os.File, error) {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := unix.Fclonefileat(int(src.Fd()), int(dir.Fd()), path.Base(name), unix.CLONE_NOFOLLOW|unix.CLONE_NOOWNERCOPY); err != nil {
		return nil, fmt.Errorf("clone %s: %w: %w", src.Name(), ErrNoClone, err)
	}
	// A clone has the mode of a blob, which nobody can write to.
	f, err := root.Open(name)
	if err != nil {
		return nil, errors.Join(err, root.Remove(name))
	}
	if err := f.Chmod(0o644); err != nil {
		return nil, errors.Join(err, f.Close(), root.Remove(name))
	}
	return f, nil
}
