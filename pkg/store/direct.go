package store

import (
	"errors"
	"os"
	"syscall"
)

// leastDirect is the size of the smallest blob that is written past the page
// cache, in bytes. A smaller one costs the cache little, and is at hand there for
// who loads it.
const leastDirect = 64 << 20

// writeDirect writes whole blocks past the page cache, and the rest through it. As
// a block is whole pages, no page is written both ways at once.
func (s *single) writeDirect(p *Partial, b []byte, off int64) (done int, err error) {
	block := max(int64(os.Getpagesize()), 4096)
	n := int64(len(b)) / block * block
	if off%block == 0 && n > 0 {
		if f := s.openDirect(p); f != nil {
			done, err = p.disk.WriteAt(f, b[:n], off)
		}
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
			s.refuse() // the disk has larger blocks, or wants the memory elsewhere
			err = nil
		}
	}
	if err != nil || done == len(b) {
		return done, err
	}
	rest, err := s.write(p.disk, b[done:], off+int64(done))
	return done + rest, err
}

// openDirect returns the file as it is written past the page cache, or nil if it
// cannot be.
func (s *single) openDirect(p *Partial) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused {
		return nil
	}
	if s.direct != nil {
		return s.direct
	}
	f, err := openDirect(p.root, p.paths.data)
	if err != nil {
		s.refused = true
		return nil
	}
	// The name may lead elsewhere by now.
	ours, err := s.Stat()
	its, failed := f.Stat()
	if err != nil || failed != nil || !os.SameFile(ours, its) {
		_ = f.Close() // nothing was written
		s.refused = true
		return nil
	}
	s.direct = f
	return f
}

// refuse has what follows go through the page cache. The file is closed with the
// partial: others may be writing to it.
func (s *single) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = true
}
