package hub

import (
	"context"
	"errors"
	"fmt"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format"
)

// DirFacts are what the files of a directory say of the model in them.
type DirFacts struct {
	Model *format.Model
	Files []string // paths below the directory, of those that would be pushed
}

// errDescribed ends the packing of a directory that was only to be described.
var errDescribed = errors.New("described")

// DescribeDir reads the headers of the files that a push of dir would send. A
// directory without any is no error.
func DescribeDir(ctx context.Context, dir string) (*DirFacts, error) {
	facts := &DirFacts{Model: &format.Model{}}
	_, err := artifact.Pack(ctx, dir, artifact.Discard, artifact.PackOptions{
		Examine: func(ctx context.Context, files []format.File) error {
			for _, f := range files {
				facts.Files = append(facts.Files, f.Path)
			}
			var err error
			if facts.Model, err = format.Describe(ctx, files); err != nil {
				return err
			}
			return errDescribed
		},
	})
	if err != nil && !errors.Is(err, errDescribed) && !errors.Is(err, artifact.ErrEmpty) {
		return nil, fmt.Errorf("describe %s: %w", dir, err)
	}
	return facts, nil
}
