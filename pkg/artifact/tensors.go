package artifact

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/format"
)

// Tensors lists the tensors of the file path, or of all files of weights when
// path is empty. Headers are read, weights are not. Files in archives that are
// not compressed count too.
//
// Of all files, those that do not parse become a [format.Problem]. With a path
// that is an error which wraps format.ErrMalformed, or format.ErrUnknownFormat
// for a file without tensors that can be read.
func (a *Artifact) Tensors(ctx context.Context, src content.Fetcher, path string) ([]format.Tensor, []format.Problem, error) {
	view := *a
	var err error
	if view.Files, err = a.expandPlain(ctx, src); err != nil {
		return nil, nil, fmt.Errorf("list tensors: %w", err)
	}
	files := view.formatFiles(src)
	if path == "" {
		tensors, problems, err := format.AllTensors(ctx, files)
		if err != nil {
			return nil, nil, fmt.Errorf("list tensors: %w", err)
		}
		return tensors, problems, nil
	}
	i := slices.IndexFunc(files, func(f format.File) bool { return f.Path == path })
	if i < 0 {
		return nil, nil, fmt.Errorf("tensors of %s: %w", printable(path), fs.ErrNotExist)
	}
	tensors, err := format.Tensors(ctx, files[i])
	return tensors, nil, err
}
