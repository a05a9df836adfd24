package format

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Tensors lists the tensors of one file in the order of the file. The error
// wraps [ErrMalformed] if the file does not parse, and [ErrUnknownFormat] if it
// is of no format with tensors that is read here. A PyTorch file that is not a
// plain dictionary of tensors gives those that could be told, or none.
func Tensors(ctx context.Context, f File) ([]Tensor, error) {
	read := readerOf(f)
	if read == nil {
		return nil, fmt.Errorf("tensors of %s: %w", f.Path, ErrUnknownFormat)
	}
	var tensors []Tensor
	h, err := visitFile(ctx, f, read, func(t Tensor) error {
		tensors = append(tensors, t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tensors of %s: %w", f.Path, err)
	}
	for i := range tensors {
		tensors[i].Offset += h.base // 0 where the offset is not known
	}
	return tensors, nil
}

// AllTensors lists the tensors of all files that have some, in the order of
// files and, within each, in its own. Files of formats that are not read here
// are passed over; those that do not parse, or cannot be read in parts
// (errors.ErrUnsupported), become a [Problem], and count for nothing. The error is that of ctx or of opening or reading a file.
func AllTensors(ctx context.Context, files []File) ([]Tensor, []Problem, error) {
	found := make([][]Tensor, len(files))
	bad := make([]error, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxOpen)
	for i, f := range files {
		if readerOf(f) == nil {
			continue
		}
		group.Go(func() error {
			var err error
			found[i], err = Tensors(ctx, f)
			if isProblem(err) {
				bad[i], err = err, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	var problems []Problem
	for i, err := range bad {
		if err != nil {
			problems = append(problems, Problem{Path: files[i].Path, Err: err})
		}
	}
	return slices.Concat(found...), problems, nil
}
