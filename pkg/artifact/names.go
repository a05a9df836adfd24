package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// checkNames judges the names of all listed files, before anything is fetched,
// and enters them into the list of what will be there.
func (u *unpacker) checkNames() error {
	u.names = newPathSet()
	err := u.addNames()
	if !u.a.collisions || !errors.Is(err, ErrCollision) && !u.hasArchives() {
		return err
	}
	apart := true // for a plan, which makes no files
	if u.stage != nil {
		var perr error
		if apart, perr = keepsApart(u.stage.root); perr != nil {
			return perr
		}
	}
	if !apart {
		if err != nil {
			return fmt.Errorf("%w, and the file system of %s does so", err, u.target.dir)
		}
		return nil
	}
	u.apart = true
	u.names = u.newNames()
	return u.addNames()
}

// newNames starts a list of names, by the rules that are in force here.
func (u *unpacker) newNames() *pathSet {
	if u.apart {
		return newExactSet()
	}
	return newPathSet()
}

func (u *unpacker) addNames() error {
	for _, f := range u.a.Files {
		if f.Archive {
			continue
		}
		if err := u.addName(f.Path); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) addName(p string) error {
	if err := u.checkDots(p); err != nil {
		return err
	}
	return u.names.addFile(p)
}

func (u *unpacker) checkDots(p string) error {
	if u.opts.AllowDotfiles {
		return nil
	}
	return CheckDots(p)
}

// hasArchives tells whether there are names that are seen only when the archives
// that they are in are read.
func (u *unpacker) hasArchives() bool {
	for _, f := range u.a.Files {
		if f.Archive {
			return true
		}
	}
	return false
}

// twins are names that file systems are known to take for the same: by case, by
// normal form, and by the folding of more than one letter.
var twins = []string{"a", "A", "\u00e9", "e\u0301", "ss", "\u00df", "s", "\u017f"}

// keepsApart finds out whether a file system keeps names apart that others take
// for the same, by making some.
func keepsApart(root *os.Root) (apart bool, err error) {
	const dir = "twins"
	if err := root.RemoveAll(dir); err != nil {
		return false, err
	}
	if err := root.Mkdir(dir, 0o700); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(dir)) }()
	for _, name := range twins {
		f, err := root.OpenFile(dir+"/"+name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		f.Close()
	}
	for _, name := range twins {
		if _, err := root.Lstat(dir + "/" + name); err != nil {
			return false, nil
		}
	}
	entries, err := fs.ReadDir(root.FS(), dir)
	return len(entries) == len(twins), err
}
