package artifact

import (
	"context"
	"errors"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// UnpackOptions adjusts [Unpack]. The zero value replaces nothing that did not
// come from an artifact.
type UnpackOptions struct {
	// Force replaces a directory that holds other files.
	Force bool

	// Workers bounds the blobs fetched at once. Zero means 4.
	Workers int

	// Store, if not nil, is asked for blobs first, and given those that were
	// fetched where that costs no disk space.
	Store *store.Store

	// Reference is recorded in the target, for people to read.
	Reference string

	// Observe, if not nil, is told what happens to each blob.
	Observe transfer.Observer
}

// Unpacked is what [Unpack] did. Sizes are bytes.
type Unpacked struct {
	Files   int   // of the artifact, in the target
	Size    int64 // of those files
	Fetched int64 // read from the source
	Reused  int64 // taken from files that were there or from the store
	Notes   []string
}

// Unpack makes directory dir hold the files of a.
func Unpack(ctx context.Context, a *Artifact, src content.Fetcher, dir string, opts UnpackOptions) (*Unpacked, error) {
	return nil, errors.ErrUnsupported
}
