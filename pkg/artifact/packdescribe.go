package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// describe asks the files what they say of the model, and whoever wants to look
// at them whether they are fit to be sent.
func (p *packer) describe(ctx context.Context) error {
	asked := p.readable()
	if err := p.examine(ctx, asked); err != nil {
		return err
	}
	m, err := format.Describe(ctx, asked)
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	p.model, p.out.Model = m, m
	for _, problem := range m.Problems {
		p.out.Notes = append(p.out.Notes, fmt.Sprintf("%s: %v", printable(problem.Path), problem.Err))
	}
	return p.readCard(ctx)
}

// examine shows the files to whoever wants to look at them, and archives that are
// taken over and not compressed.
func (p *packer) examine(ctx context.Context, files []format.File) error {
	if p.opts.Examine == nil {
		return nil
	}
	files = slices.Clone(files)
	for i := range p.files {
		f := &p.files[i]
		if !f.input.archived() {
			continue
		}
		title := archiveTitle(f.input.kind, strings.ReplaceAll(f.path, "/", "-"))
		if f.input.encoding != mediatypes.Tar {
			p.out.Notes = append(p.out.Notes, fmt.Sprintf("%s: a compressed archive, whose files were not looked at", printable(title)))
			continue
		}
		files = append(files, format.File{
			Path: title, Size: f.info.Size(),
			Open: func(ctx context.Context) (format.ReaderAtCloser, error) { return f.open(ctx, p.root) },
		})
	}
	return p.opts.Examine(ctx, files)
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
