package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// ParamSize is for tests of what cannot be reached with small files.
var ParamSize = paramSize

// ParseIndex and ParseRecord are for fuzzing.
var (
	ParseIndex  = parseIndex
	ParseRecord = parseRecord
)

// ReadArchive reads an archive to its end without a disk. It returns the names
// in it and how many bytes came out.
func ReadArchive(data []byte, enc mediatypes.Encoding) (names []string, n int64, err error) {
	budget := maxEntries
	x, err := (&Artifact{}).openArchive(bytes.NewReader(data), ocispec.Descriptor{Size: int64(len(data))}, enc, &budget)
	if err != nil {
		return nil, 0, err
	}
	defer x.Close()
	for {
		m, err := x.next()
		if errors.Is(err, io.EOF) {
			return names, x.body.read, nil
		}
		if err != nil {
			return names, x.body.read, err
		}
		names = append(names, m.path)
		if _, err := io.Copy(io.Discard, x); err != nil {
			return names, x.body.read, err
		}
	}
}

// PlanCopies plans the copying of layers from what the store knows of, as pulls
// of them at the same time do. What it returns is what such a pull holds; over
// ends it.
func PlanCopies(ctx context.Context, s *store.Store, layers []File) (found []iter.Seq[transfer.Segment], over func(), err error) {
	u := &unpacker{opts: UnpackOptions{Store: s}, target: &target{}}
	jobs := make([]transfer.Job, len(layers))
	u.openDelta(ctx, jobs, layers)
	found = make([]iter.Seq[transfer.Segment], len(layers))
	var g errgroup.Group
	for i, j := range jobs {
		g.Go(func() (err error) {
			found[i], err = j.Local(ctx)
			return err
		})
	}
	return found, func() { u.delta.finish(nil) }, g.Wait()
}
