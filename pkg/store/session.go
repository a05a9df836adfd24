package store

import (
	"errors"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// A session is a locked file that says since when a Store has been used
// by a process that still runs. Prune keeps what was used since then: the
// first blobs of a pull that takes a day are as safe as the last.
type session struct {
	mu   sync.Mutex
	file *os.File
	name string
}

const sessionPrefix = "session."

// begin starts the session if there is none yet.
func (se *session) begin(s *Store) error {
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.file != nil {
		return nil
	}
	name := path.Join(locksDir, sessionPrefix+random())
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := tryLock(f); err != nil && !errors.Is(err, errNoLocks) {
		return errors.Join(err, f.Close(), s.root.Remove(name))
	}
	se.file, se.name = f, name
	return nil
}

func (se *session) end(s *Store) error {
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.file == nil {
		return nil
	}
	err := errors.Join(s.root.Remove(se.name), se.file.Close())
	se.file = nil
	return err
}

// oldestSession returns when the oldest session of a process that still runs
// began, or now. It removes what ended processes left.
func (s *Store) oldestSession(now time.Time) (time.Time, error) {
	oldest := now
	entries, err := s.list(locksDir)
	if err != nil {
		return oldest, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), sessionPrefix) {
			continue
		}
		name := path.Join(locksDir, e.Name())
		f, err := s.root.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // ended just now
		}
		began := now
		if fi, err := f.Stat(); err == nil {
			began = fi.ModTime()
		}
		free, err := tryLock(f)
		switch {
		case err == nil && free && now.Sub(began) > time.Minute:
			_ = s.root.Remove(name)
		case errors.Is(err, errNoLocks):
			// Nobody knows whether it still runs; the grace time has to do.
			if now.Sub(began) > blindGrace {
				_ = s.root.Remove(name)
			}
		case began.Before(oldest):
			oldest = began
		}
		f.Close()
	}
	return oldest, nil
}
