package artifact

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A Part is a file of an artifact to be read in parts, or an archive that
// cannot be.
type Part struct {
	File

	// Open opens the file as [Artifact.ReaderAt] does; the caller closes the
	// reader. It is nil for an archive whose members can only be had by
	// unpacking it.
	Open func(ctx context.Context) (*Reader, error)

	// Proof is what the version names to verify what is read of the file so:
	// [Reader.Proof], unless this machine has an index of its own or the
	// version's is not to be had. It is "" where there is nothing.
	Proof digest.Digest
}

// Parts lists all files for reading parts of them, those in archives that are
// not compressed too: their headers are read for that. No archive that is opened
// so is in the list itself.
func (a *Artifact) Parts(ctx context.Context, src content.Fetcher, opts ReaderOptions) ([]Part, error) {
	files, err := a.expandPlain(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	parts := make([]Part, 0, len(files))
	for _, f := range files {
		p := Part{File: f}
		switch {
		case !f.Archive:
			p.Proof = proofOf(f, opts)
			p.Open = func(ctx context.Context) (*Reader, error) {
				r, err := newReader(ctx, src, f, opts)
				if err != nil {
					return nil, fmt.Errorf("open %s: %w", printable(f.Path), err)
				}
				r.blob.skip = maxSkip
				return r, nil
			}
		case f.Encoding == mediatypes.Tar && a.Family != mediatypes.Image:
			continue // its members are in the list
		}
		parts = append(parts, p)
	}
	return parts, nil
}
