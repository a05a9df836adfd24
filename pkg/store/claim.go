package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/opencontainers/go-digest"
)

// Claim waits until no other process has claimed the blob, so that several that
// want it bring it in once: who gets the claim second finds that it Exists. It
// saves work only; nothing goes wrong without it. The caller releases it, and
// holds no other claim while it waits.
func (s *Store) Claim(ctx context.Context, dgst digest.Digest) (release func(), err error) {
	if _, err := digestName(dgst); err != nil {
		return nil, err
	}
	name := path.Join(locksDir, "claim."+dgst.Encoded())
	poll := time.NewTicker(4 * lockPoll)
	defer poll.Stop()
	for {
		f, _, err := openLocked(s.root, name)
		switch {
		case err == nil:
			return func() {
				_ = s.root.Remove(name) // while it is locked: nobody else has it
				_ = f.Close()
			}, nil
		case errors.Is(err, errNoLocks):
			return func() {}, nil
		case !errors.Is(err, ErrLocked):
			return nil, fmt.Errorf("claim blob %s: %w", dgst, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("claim blob %s: %w: %w", dgst, ErrLocked, ctx.Err())
		case <-poll.C:
		}
	}
}
