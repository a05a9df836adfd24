package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
)

// describe asks the files what they say of the model, and whoever wants to look
// at them whether they are fit to be sent.
func (p *packer) describe(ctx context.Context) error {
	asked := p.readable()
	if p.opts.Examine != nil {
		if err := p.opts.Examine(ctx, asked); err != nil {
			return err
		}
	}
	m, err := format.Describe(ctx, asked)
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	p.model = m
	for _, problem := range m.Problems {
		p.out.Notes = append(p.out.Notes, fmt.Sprintf("%s: %v", printable(problem.Path), problem.Err))
	}
	return p.readCard(ctx)
}

// readable are the files that can be read in parts.
func (p *packer) readable() []format.File {
	asked := make([]format.File, 0, len(p.files))
	for i := range p.files {
		f := &p.files[i]
		if f.input.archived() {
			continue
		}
		asked = append(asked, format.File{
			Path: f.path, Size: f.info.Size(), Format: f.class.Format,
			Open: func(ctx context.Context) (format.ReaderAtCloser, error) { return f.open(ctx, p.root) },
		})
	}
	return asked
}

func (p *packer) readCard(ctx context.Context) error {
	i := slices.IndexFunc(p.files, func(f source) bool { return f.path == cardPath && !f.input.archived() })
	if i < 0 {
		return nil
	}
	f, err := p.files[i].open(ctx, p.root)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, card.MaxBytes+1))
	if err != nil {
		return err
	}
	p.card, err = card.Parse(text)
	if errors.Is(err, card.ErrTooLarge) {
		p.out.Notes = append(p.out.Notes, err.Error())
		return nil
	}
	if err == nil && p.card.Problem != nil {
		p.out.Notes = append(p.out.Notes, fmt.Sprintf("%s: %v", cardPath, p.card.Problem))
	}
	return err
}
