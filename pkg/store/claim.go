package store

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Claim waits until no other process has claimed the blob, so that several that
// want it bring it in once: who gets the claim second finds that it [Store.Exists].
// It saves work only; nothing goes wrong without it. The caller must release it.
func (s *Store) Claim(ctx context.Context, dgst digest.Digest) (release func(), err error) {
	if _, err := digestName(dgst); err != nil {
		return nil, err
	}
	return s.lockFileContext(ctx, "claim."+dgst.Encoded()[:2])
}
