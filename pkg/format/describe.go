package format

import (
	"context"
	"errors"
)

// Describe reads the headers and configuration of files and joins what they
// say. A file that does not parse is listed in [Model.Problems]; the error is
// that of ctx or of opening or reading a file.
func Describe(ctx context.Context, files []File) (*Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &Model{}, nil
}

// Tensors lists the tensors of one file in the order of the file. The error
// wraps [ErrMalformed] if the file does not parse, and [ErrUnknownFormat] if it
// is of a format without tensors.
func Tensors(ctx context.Context, f File) ([]Tensor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, errors.ErrUnsupported
}
