package artifact

import (
	"context"
	"fmt"
	"io"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// Inputs returns the files of an artifact of any family for [PackFiles], which
// makes an artifact of our own form of them. Files that are blobs, or parts of
// an archive with an index, become files; other archives are taken over whole,
// so that their bytes need not move where they are already. src is where the
// artifact was opened from.
//
// A container image, and a ModelKit whose weights are in another one, wrap
// errdef.ErrUnsupported.
func (a *Artifact) Inputs(src content.Fetcher) ([]Input, error) {
	switch {
	case a.Family == mediatypes.Image || a.strip != "":
		return nil, fmt.Errorf("take files of a container image: pull it and push the directory: %w", errdef.ErrUnsupported)
	case a.Parent != "":
		return nil, fmt.Errorf("take files of a ModelKit whose weights are in %s: %w", printable(a.Parent), errdef.ErrUnsupported)
	}
	list := make([]Input, 0, len(a.Files))
	for _, f := range a.Files {
		in := Input{Path: f.Path, Size: f.Size, Digest: f.Digest, Open: a.partOpener(src, f)}
		if f.Archive {
			in.kind, in.encoding, in.diffID = f.Kind, f.Encoding, a.diffIDs[f.Digest]
		}
		list = append(list, in)
	}
	return list, nil
}

// partOpener opens parts of a file, which is a blob or in one.
func (a *Artifact) partOpener(src content.Fetcher, f File) func(context.Context, int64, int64) (io.ReadCloser, error) {
	return func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		if offset < 0 || offset > f.Size {
			return nil, fmt.Errorf("read %s from %d: outside of its %d bytes", printable(f.Path), offset, f.Size)
		}
		rest := f.Size - offset
		if length >= 0 {
			rest = min(rest, length)
		}
		at := f.Offset + offset
		if ranges, ok := src.(transfer.RangeFetcher); ok {
			return ranges.FetchRange(ctx, f.Layer, at, rest)
		}
		rc, err := src.Fetch(ctx, f.Layer)
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, rc, at); err != nil {
			rc.Close()
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(rc, rest), rc}, nil
	}
}
