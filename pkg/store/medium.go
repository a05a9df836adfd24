package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
)

// writebackStep is how many new bytes start a writeback.
const writebackStep = 64 << 20

// A medium holds the bytes of a partial blob: one file, or one for each piece.
type medium interface {
	io.ReaderAt
	io.Closer

	// write writes at an offset, and may be called from several goroutines.
	write(d disk, b []byte, off int64) (int, error)

	// Truncate takes away what is behind so many bytes.
	Truncate(size int64) error

	// size is where the last byte is that was written.
	size() (int64, error)

	// commit gives all bytes their final names, and settle makes those durable.
	commit(p *Partial) error
	settle(p *Partial) error

	// remove takes the bytes away, before Close.
	remove(p *Partial)
}

// A single is a medium of one file.
type single struct {
	*os.File
	unwritten atomic.Int64 // bytes in the page cache since the last writeback

	// writing is held by who writes through the page cache. A file takes one
	// writer at a time, and who waits in the kernel for it spins on a processor.
	writing sync.Mutex

	mu      sync.Mutex
	direct  *os.File // the same file, past the page cache; nil before it was opened
	refused bool     // it cannot be opened or written so
}

// openSingle opens the file of a partial.
func (p *Partial) openSingle(flag int, perm fs.FileMode) error {
	f, err := p.root.OpenFile(p.paths.data, flag, perm)
	if err != nil {
		return err
	}
	p.data = &single{File: f}
	return nil
}

// Close may be called twice.
func (s *single) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.File.Close()
	if s.direct != nil {
		err = errors.Join(err, s.direct.Close())
		s.direct = nil
	}
	return err
}

func (s *single) write(d disk, b []byte, off int64) (int, error) {
	s.writing.Lock()
	n, err := writeCached(d, s.File, b, off)
	s.writing.Unlock()
	if s.unwritten.Add(int64(n)) >= writebackStep && s.unwritten.Swap(0) >= writebackStep {
		startWriteback(s.File)
	}
	return n, err
}

func (s *single) size() (int64, error) {
	fi, err := s.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (s *single) commit(p *Partial) error {
	if p.paths.perm != 0 {
		if err := s.Chmod(p.paths.perm); err != nil {
			return err
		}
	}
	if err := p.disk.Sync(s.File); err != nil {
		// The kernel reports a lost write once and then calls the pages clean:
		// a second fsync would succeed over bytes that are gone.
		p.bad = err
		return errors.Join(err, p.record(mark{}, mark{}))
	}
	// Someone's file may have come to lie under our temporary name.
	if same, err := isAt(s.File, p.root, p.paths.data); err != nil {
		return err
	} else if !same {
		return fmt.Errorf("%w: %s was replaced", ErrCorrupt, p.paths.data)
	}
	err := p.disk.Rename(p.root, p.paths.data, p.paths.final)
	if errors.Is(err, fs.ErrPermission) && p.superseded() {
		// Windows does not replace a read-only file. Another process was faster.
		return p.root.Remove(p.paths.data)
	}
	return err
}

func (s *single) settle(p *Partial) error {
	if p.paths.passing {
		return nil
	}
	return syncDir(p.disk, p.root, path.Dir(p.paths.final))
}

func (s *single) remove(p *Partial) {
	if same, err := isAt(s.File, p.root, p.paths.data); err == nil && same {
		_ = p.root.Remove(p.paths.data)
	}
}
