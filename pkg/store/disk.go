package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// A disk does what fails on a full or dying device. Tests have one that fails.
type disk interface {
	WriteAt(f *os.File, b []byte, off int64) (int, error)
	Sync(f *os.File) error
	Rename(root *os.Root, from, to string) error
}

type osDisk struct{}

func (osDisk) WriteAt(f *os.File, b []byte, off int64) (int, error) { return f.WriteAt(b, off) }
func (osDisk) Sync(f *os.File) error                                { return f.Sync() }
func (osDisk) Rename(root *os.Root, from, to string) error          { return root.Rename(from, to) }

// writePiece is the most that is written at once, in bytes. For larger writes
// Linux takes memory in pieces as large as they come; on a virtual machine those
// are the ones that it has handed back to its host, and to get them again cost
// twice the time of all the rest.
const writePiece = 256 << 10

// writeCached writes through the page cache.
func writeCached(d disk, f *os.File, b []byte, off int64) (done int, err error) {
	for len(b) > 0 && err == nil {
		var n int
		n, err = d.WriteAt(f, b[:min(writePiece, len(b))], off)
		b, off, done = b[n:], off+int64(n), done+n
	}
	return done, err
}

// random returns a part of a file name that nobody else has.
func random() string { return strings.ToLower(rand.Text()[:16]) }

// SyncDir makes the names in a directory of root durable, where systems and file
// systems can do that for directories: some network file systems cannot, and the
// journal of NTFS does it by itself.
func SyncDir(root *os.Root, name string) error { return syncDir(osDisk{}, root, name) }

// syncDir is SyncDir on a disk.
func syncDir(d disk, root *os.Root, name string) error {
	if !dirsSync {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = d.Sync(f)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		// Some network file systems have no fsync of directories.
		return nil
	}
	return err
}

// checkPath refuses names that are not of something below a directory.
func checkPath(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("%q is not a path below a directory: %w", name, fs.ErrInvalid)
	}
	return nil
}

// makeDirs is MkdirAll that makes the new names durable.
func makeDirs(d disk, root *os.Root, name string, perm fs.FileMode) error {
	if name == "." {
		return nil
	}
	if _, err := root.Stat(name); err == nil {
		return nil
	}
	parent := path.Dir(name)
	if err := makeDirs(d, root, parent, perm); err != nil {
		return err
	}
	if err := root.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(d, root, parent)
}

// readFile reads a small regular file. A longer one than limit is an error.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: longer than %d bytes", name, limit)
	}
	return b, nil
}

// replaceFile gives name new content: all of it or, after a crash, none. It is
// durable when replaceFile returns.
func (s *Store) replaceFile(name string, data []byte, perm fs.FileMode) error {
	temp := path.Join(ingestDir, tempPrefix+random())
	if err := writeFile(s.disk, s.root, small{temp, data, perm, true}); err != nil {
		return err
	}
	if err := s.disk.Rename(s.root, temp, name); err != nil {
		return errors.Join(err, s.root.Remove(temp))
	}
	return syncDir(s.disk, s.root, path.Dir(name))
}

// tempPrefix begins the names of single files below ingest.
const tempPrefix = "tmp."

// A small is a file that is written at once.
type small struct {
	name    string
	data    []byte
	perm    fs.FileMode
	durable bool
}

// writeFile writes a new file, and leaves none behind when it cannot.
func writeFile(d disk, root *os.Root, s small) error {
	f, err := root.OpenFile(s.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, s.perm)
	if err != nil {
		return err
	}
	_, err = d.WriteAt(f, s.data, 0)
	if err == nil && s.durable {
		err = d.Sync(f)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, root.Remove(s.name))
	}
	return nil
}
