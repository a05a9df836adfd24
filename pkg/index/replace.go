package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// Replace makes an index beside the one in a file, and puts it in its place when
// build returns without an error. Searches see the old one until then, and it
// stays if anything fails. There may be no file, or an empty one, or an index of
// another version; what is something else is not replaced, and the error wraps
// [ErrLayout] before anything is built.
func Replace(ctx context.Context, path string, build func(*Index) error) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() > 0 {
		err = isIndex(ctx, path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace index: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".index-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "index.db")
	ix, err := open(ctx, made, OpenOptions{}, "off") // nobody has it before it is whole
	if err != nil {
		return err
	}
	if err := errors.Join(build(ix), ix.Close()); err != nil {
		return err
	}
	if err := putInPlace(made, path); err != nil {
		return fmt.Errorf("replace index: %w", err)
	}
	return nil
}

// putInPlace gives an index that is closed the name of another.
func putInPlace(made, path string) error {
	f, err := os.OpenFile(made, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	// What an earlier writer left to be done is for another file.
	for _, name := range []string{path + "-wal", path + "-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(made, path)
}

// isIndex checks that a file is an index of some version.
func isIndex(ctx context.Context, path string) error {
	ix, err := Open(ctx, path, OpenOptions{ReadOnly: true})
	if err == nil {
		return ix.Close()
	}
	const corrupt = 11 // SQLITE_CORRUPT
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == corrupt || errors.Is(err, errOther) {
		return nil // what is damaged was a database under the name of the index
	}
	return err
}
