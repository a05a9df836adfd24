package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"
)

// maxVerifyWorkers bounds the files read at once: more make disks slower.
const maxVerifyWorkers = 8

// A Finding is something wrong in a store.
type Finding struct {
	// Digest is of the blob that is damaged or missing.
	Digest digest.Digest

	// Err says what is wrong. It wraps [ErrCorrupt] for a damaged blob, which
	// is then no longer in the store, and errdef.ErrNotFound for one that an
	// entry of index.json needs and that is not there. Any other error is of a
	// blob that could not be read.
	Err error
}

// Verify reads all blobs again, several at once, and yields what is wrong: what
// is damaged, in no order, and then what is missing. Damaged blobs are put
// aside, so that the next Push of them heals the store. An error ends it.
func (s *Store) Verify(ctx context.Context) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		found := make(chan Finding)
		var err error
		go func() {
			defer close(found)
			err = s.verifyBlobs(ctx, found)
		}()
		on := true
		for f := range found { // to its end: the goroutines must not be left waiting
			if on && !yield(f, nil) {
				on = false
				cancel()
			}
		}
		switch {
		case !on:
		case err != nil:
			yield(Finding{}, fmt.Errorf("verify store: %w", err))
		default:
			s.verifyIndex(ctx, yield)
		}
	}
}

// verifyBlobs sends a finding for each damaged blob.
func (s *Store) verifyBlobs(ctx context.Context, found chan<- Finding) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), maxVerifyWorkers))
	err := s.eachBlob(ctx, func(name string, _ fs.FileInfo) error {
		dgst, _ := nameDigest(name)
		group.Go(func() error {
			err := s.suspect(ctx, dgst)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				found <- Finding{dgst, err}
			}
			return nil
		})
		return ctx.Err()
	})
	return errors.Join(err, group.Wait())
}

// verifyIndex yields a finding for each blob that index.json needs.
func (s *Store) verifyIndex(ctx context.Context, yield func(Finding, error) bool) {
	index, err := s.readIndex()
	if err != nil {
		yield(Finding{}, fmt.Errorf("verify store: %w", err))
		return
	}
	for n, err := range s.walk(ctx, index.Manifests) {
		if err != nil {
			yield(Finding{}, fmt.Errorf("verify store: %w", err))
			return
		}
		if n.need && s.missing(n.desc) && !yield(Finding{n.desc.Digest, missingError(n.desc)}, nil) {
			return
		}
	}
}

func missingError(desc ocispec.Descriptor) error {
	return fmt.Errorf("blob %s (%s): %w", desc.Digest, desc.MediaType, errdef.ErrNotFound)
}
