package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errForeign is returned for a file under a name of ours that is not ours.
var errForeign = errors.New("file belongs to someone else")

// OpenPartial opens the partial blob that is to become the file name below
// root, and makes it if there is none. Its bytes lie in name.partial, its
// progress in name.journal. Missing directories are made. The root must stay
// open until the partial is closed.
//
// While another process, or another Partial, has it open the error wraps
// [ErrLocked]. Files under these names that are none of ours are left alone:
// the blob is then written under a random name and cannot be resumed. So it is
// where the file system has no locks.
func OpenPartial(root *os.Root, name string, desc ocispec.Descriptor) (*Partial, error) {
	if _, err := blobName(desc); err != nil {
		return nil, err
	}
	if err := checkPath(name); err != nil {
		return nil, err
	}
	p, err := openPartial(root, name, desc)
	if err != nil {
		return nil, fmt.Errorf("open partial %s: %w", name, err)
	}
	return p, nil
}

// leastKept is the size of the smallest staged blob that is worth a journal, and a
// sync of its own for its name: there may be thousands, and each takes less time to
// come again than that.
const leastKept = 1 << 20

// OpenStaged is OpenPartial below a directory that only this process writes to,
// for a file that is about to get another name: whoever gives it makes that durable.
// Commit gives the file a mode, and makes its bytes durable. A blob of less than a
// MiB is not resumed, and a crash of the machine may take its name.
func OpenStaged(root *os.Root, name string, desc ocispec.Descriptor, perm fs.FileMode) (*Partial, error) {
	if desc.Size >= leastKept {
		p, err := OpenPartial(root, name, desc)
		if err == nil {
			p.paths.perm = perm
		}
		return p, err
	}
	if _, err := blobName(desc); err != nil {
		return nil, err
	}
	if err := checkPath(name); err != nil {
		return nil, err
	}
	p := &Partial{root: root, disk: osDisk{}, desc: desc, paths: partialPaths{
		data: name + ".partial", final: name, perm: perm, passing: true,
	}}
	if err := p.openSingle(os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm); err != nil {
		return nil, fmt.Errorf("open partial %s: %w", name, err)
	}
	return p, nil
}

func openPartial(root *os.Root, name string, desc ocispec.Descriptor) (*Partial, error) {
	if err := makeDirs(osDisk{}, root, path.Dir(name), 0o777); err != nil {
		return nil, err
	}
	p := &Partial{root: root, disk: osDisk{}, desc: desc, paths: partialPaths{
		data: name + ".partial", log: name + ".journal", final: name,
	}}
	err := p.openNamed()
	if errors.Is(err, errForeign) || errors.Is(err, errNoLocks) {
		p.paths.data = name + "." + random() + ".partial"
		err = p.openSingle(os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// openNamed opens journal and data under their names. The journal comes first:
// whoever has its lock has the data, and data without a journal is not ours.
func (p *Partial) openNamed() error {
	log, fresh, err := openLocked(p.root, p.paths.log)
	if err != nil {
		return err
	}
	p.log = log
	flag := os.O_RDWR | os.O_CREATE
	if fresh {
		flag |= os.O_EXCL
		err = p.record(mark{}, mark{})
	} else {
		var j journal
		if j, err = p.readJournal(); err != nil {
			p.log = nil
			return errors.Join(errForeign, log.Close())
		}
		p.saved = j.To.Length > 0 || p.hasRecords()
	}
	if err == nil {
		err = p.openSingle(flag, 0o644)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		err = errForeign
	}
	if fresh {
		p.tidy()
	} else {
		log.Close()
	}
	p.log = nil
	return err
}

// lockTries bounds how often a lock is tried that may be held for a moment by
// someone who only looks whose file it is.
const lockTries = 20

// openLocked opens and locks a file, and tells whether it has made it. Between
// the opening and the lock the file may have been removed by whoever had it
// before: then another one is made.
func openLocked(root *os.Root, name string) (f *os.File, fresh bool, err error) {
	// Nobody but its maker keeps the lock of a fresh file: it is worth a wait.
	for try := 0; try < lockTries || fresh && try < 100*lockTries; try++ {
		if f == nil {
			if f, fresh, err = openOrMake(root, name); err != nil {
				return nil, false, err
			}
		}
		locked, same, err := lockAt(f, root, name)
		if errors.Is(err, errNoLocks) && fresh {
			_ = root.Remove(name)
		}
		if err != nil {
			return nil, false, errors.Join(err, f.Close())
		}
		if same {
			return f, fresh, nil
		}
		if locked || !fresh {
			f.Close() // it was removed, or is another's
			f = nil
		}
		if !locked {
			time.Sleep(time.Millisecond)
		}
	}
	if f != nil {
		f.Close()
	}
	return nil, false, ErrLocked
}

// lockAt tries to lock a file, and tells whether it still has its name then.
func lockAt(f *os.File, root *os.Root, name string) (locked, same bool, err error) {
	if locked, err = tryLock(f); err != nil || !locked {
		return false, false, err
	}
	same, err = isAt(f, root, name)
	return true, same, err
}

func openOrMake(root *os.Root, name string) (f *os.File, fresh bool, err error) {
	for range lockTries {
		f, err = root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			return f, true, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, false, err
		}
		f, err = root.OpenFile(name, os.O_RDWR, 0)
		if err == nil {
			return f, false, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
	}
	return nil, false, err
}

// isAt tells whether f is the regular file that has this name now.
func isAt(f *os.File, root *os.Root, name string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return now.Mode().IsRegular() && os.SameFile(open, now), nil
}
