package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/store"
)

// carry brings the user's own files of the old target into the tree.
func (u *unpacker) carry(ctx context.Context) error {
	for _, e := range u.target.theirs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := u.inTheWay(e); err != nil {
			if !u.opts.Force {
				return err
			}
			u.out.Notes = append(u.out.Notes, fmt.Sprintf("%s was replaced", printable(e.path)))
			continue
		}
		if !e.info.IsDir() && u.names.isFile(e.path) {
			continue // the artifact's, with the same content
		}
		if err := u.carryOne(e); err != nil {
			if _, gone := u.target.parent.Lstat(u.target.base + "/" + e.path); errors.Is(gone, fs.ErrNotExist) {
				continue // the user removed it meanwhile
			}
			return fmt.Errorf("keep %s: %w", printable(e.path), err)
		}
	}
	return nil
}

func (u *unpacker) carryOne(e existing) error {
	from, to := u.target.base+"/"+e.path, u.stage.name+"/"+stageTree+"/"+e.path
	if e.info.IsDir() {
		// One that the old artifact was in comes only with what is in it.
		if u.cameWith(e.path) {
			return nil
		}
		return u.stage.tree.MkdirAll(e.path, e.info.Mode().Perm()|0o700)
	}
	if err := u.mkdir(path.Dir(e.path)); err != nil {
		return err
	}
	if e.info.Mode()&fs.ModeSymlink != 0 {
		// It is the user's own link, and stays what it was.
		text, err := u.target.parent.Readlink(from)
		if err != nil {
			return err
		}
		return u.target.parent.Symlink(text, to)
	}
	err := u.target.parent.Link(from, to)
	if err == nil || !e.info.Mode().IsRegular() {
		return err
	}
	return copyPlain(u.target.parent, from, to, e.info.Mode().Perm())
}

// cameWith tells whether files of the old artifact were in a directory.
func (u *unpacker) cameWith(dir string) bool {
	if dir == controlPrefix {
		return true
	}
	return slices.ContainsFunc(u.target.old.Files, func(f recordedFile) bool { return strings.HasPrefix(f.Path, dir+"/") })
}

// copyPlain copies a file of the user's where it cannot be linked.
func copyPlain(root *os.Root, from, to string, perm fs.FileMode) error {
	r, err := openRegular(root, from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if errors.Is(store.Clone(w, r), store.ErrNoClone) {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, copyBytes))
	}
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// carryLate moves what appeared in the old target after it was listed, and
// went away with it, to where it was meant to be.
func (u *unpacker) carryLate() {
	t, old := u.target, u.stage.next
	seen := make(map[string]bool, len(t.tree))
	for _, e := range t.tree {
		seen[e.path] = true
	}
	// The new version is in place: what fails from here on is only told.
	err := fs.WalkDir(t.parent.FS(), old, func(name string, e fs.DirEntry, err error) error {
		p := strings.TrimPrefix(name, old+"/")
		if err != nil || e.IsDir() || seen[p] {
			return err
		}
		if _, err := t.parent.Lstat(t.base + "/" + p); err == nil {
			return nil // the artifact's has the name now
		}
		if err := t.parent.MkdirAll(t.base+"/"+path.Dir(p), 0o755); err != nil {
			return err
		}
		return t.parent.Rename(name, t.base+"/"+p)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.out.Notes = append(u.out.Notes, fmt.Sprintf("files that appeared meanwhile may be lost: %v", err))
	}
}
