package artifact

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/format"
)

// A TensorList is what the headers of weights say.
type TensorList struct {
	Tensors  []format.Tensor
	Problems []format.Problem // files that do not parse

	// Verified tells whether all that was read is what the version's digest
	// covers. If not, it is what the registry says it is.
	Verified bool
}

// Tensors lists the tensors of the file path, or of all files of weights when
// path is empty. Headers are read, weights are not. Files in archives that are
// not compressed count too.
//
// What is read is verified where [Artifact.ReaderAt] can do that.
//
// Of all files, those that do not parse become a [format.Problem]. With a path
// that is an error which wraps format.ErrMalformed, or format.ErrUnknownFormat
// for a file without tensors that can be read.
func (a *Artifact) Tensors(ctx context.Context, src content.Fetcher, path string, opts ReaderOptions) (*TensorList, error) {
	view := *a
	var err error
	if view.Files, err = a.expandPlain(ctx, src); err != nil {
		return nil, fmt.Errorf("list tensors: %w", err)
	}
	var doubtful atomic.Bool
	files := view.formatFiles(func(ctx context.Context, f File) (format.ReaderAtCloser, error) {
		r, err := newReader(ctx, src, f, opts)
		if err != nil {
			return nil, err
		}
		r.blob.skip = maxSkip
		if !r.Verified() {
			doubtful.Store(true)
		}
		return r, nil
	})
	list := &TensorList{}
	if path == "" {
		list.Tensors, list.Problems, err = format.AllTensors(ctx, files)
		if err != nil {
			return nil, fmt.Errorf("list tensors: %w", err)
		}
		list.Verified = !doubtful.Load()
		return list, nil
	}
	i := slices.IndexFunc(files, func(f format.File) bool { return f.Path == path })
	if i < 0 {
		return nil, fmt.Errorf("tensors of %s: %w", printable(path), fs.ErrNotExist)
	}
	list.Tensors, err = format.Tensors(ctx, files[i])
	list.Verified = !doubtful.Load()
	return list, err
}
