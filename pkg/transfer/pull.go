package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// A Job is one blob to pull.
type Job struct {
	Desc ocispec.Descriptor
	Name string // what the user knows it by; the digest when empty

	// Open is called when the job's turn comes, at most once.
	Open func() (Partial, error)
}

// PullOptions adjusts [Pull]. The zero value fetches four blobs at once.
type PullOptions struct {
	// Workers bounds the blobs fetched at once. Zero means 4.
	Workers int

	// Observe, if not nil, is told what happens.
	Observe Observer
}

// A DigestError reports that the bytes of a blob are not the ones its
// descriptor names.
type DigestError struct {
	Name string             // what the user knows the blob by
	Desc ocispec.Descriptor // what was expected
	Got  digest.Digest      // the digest of what came; empty when it was never complete
	Size int64              // how many bytes came
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("verify %s: expected %s, got %s", e.Name, e.Desc.Digest, e.Got)
}

// Unwrap returns [content.ErrMismatchedDigest].
func (e *DigestError) Unwrap() error { return content.ErrMismatchedDigest }

// Pull fetches all jobs from src.
func Pull(ctx context.Context, src content.Fetcher, jobs []Job, opts PullOptions) error {
	return errors.ErrUnsupported
}
