package artifact

import (
	"context"
	"errors"
	"io"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
)

// OpenFile opens one file.
func (a *Artifact) OpenFile(ctx context.Context, src content.Fetcher, path string) (io.ReadCloser, File, error) {
	return nil, File{}, errors.ErrUnsupported
}

// ReaderAt opens one file for reading parts of it.
func (a *Artifact) ReaderAt(ctx context.Context, src content.Fetcher, path string) (format.ReaderAtCloser, int64, error) {
	return nil, 0, errors.ErrUnsupported
}

// Describe tells what the files say of the model.
func (a *Artifact) Describe(ctx context.Context, src content.Fetcher) (*format.Model, *card.Card, error) {
	return nil, nil, errors.ErrUnsupported
}
