package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// errNoLocks is returned where the file system has no locks.
var errNoLocks = errors.New("file system has no locks")

// lockPoll is how often a held lock is tried again.
const lockPoll = 5 * time.Millisecond

func (s *Store) lockFile(name string) (unlock func(), err error) {
	return s.lockFileContext(context.Background(), name)
}

// lockFileContext waits for an exclusive lock that is known by name in all
// processes that use the store.
func (s *Store) lockFileContext(ctx context.Context, name string) (unlock func(), err error) {
	l := flock.New(filepath.Join(s.dir, locksDir, name), flock.SetPermissions(0o600))
	_, err = l.TryLockContext(ctx, lockPoll)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("lock %s: %w: %w", name, ErrLocked, ctx.Err())
	case err != nil && isNoLocks(err):
		return func() {}, nil
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { _ = l.Unlock() }, nil
}

// lockIndex waits for the right to change index.json.
func (s *Store) lockIndex(ctx context.Context) (unlock func(), err error) {
	s.indexing.Lock()
	unlockFile, err := s.lockFileContext(ctx, "index")
	if err != nil {
		s.indexing.Unlock()
		return nil, err
	}
	return func() {
		unlockFile()
		s.indexing.Unlock()
	}, nil
}
