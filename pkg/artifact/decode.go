package artifact

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/coding"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// decoders is how many codings are fetched and decoded at once: one comes while
// another is decoded.
const decoders = 2

// fromCodings brings layers into the stage by their codings, and returns the
// jobs that are left. Nothing depends on a coding: where there is none, where it
// cannot be had, or where it decodes to other bytes, the layer is fetched as
// ever.
func (u *unpacker) fromCodings(ctx context.Context, jobs []transfer.Job, whose []File) ([]transfer.Job, []File, error) {
	if !u.decodes() {
		return jobs, whose, nil
	}
	done := make([]bool, len(jobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(min(decoders, cmp.Or(max(u.opts.Workers, 0), decoders)))
	for i, j := range jobs {
		for _, c := range u.codingsOf(gctx, j.Desc) {
			g.Go(func() error {
				err := u.fromCoding(gctx, j, c)
				done[i] = err == nil
				if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
					return gctx.Err()
				}
				return nil
			})
			break // the shortest
		}
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	var left []transfer.Job
	var leftOf []File
	for i, j := range jobs {
		if !done[i] {
			left, leftOf = append(left, j), append(leftOf, whose[i])
		}
	}
	return left, leftOf, ctx.Err()
}

// decodes tells whether codings are looked at. What is decoded is not in the
// store, from which it could be linked.
func (u *unpacker) decodes() bool { return len(u.opts.Variants) > 0 && u.opts.Link != LinkHard }

// foreseeCodings notes the codings that fromCodings would fetch.
func (u *unpacker) foreseeCodings(ctx context.Context, n *need) {
	if !u.decodes() {
		return
	}
	n.coded = make(map[digest.Digest]int64)
	for _, f := range n.blobs {
		if codings := u.codingsOf(ctx, f.Layer); len(codings) > 0 {
			n.coded[f.Layer.Digest] = codings[0].Desc.Size
		}
	}
}

// begun tells whether an earlier run has left a part of a layer.
func (u *unpacker) begun(layer digest.Digest) bool {
	if u.target.parent == nil {
		return false
	}
	_, err := u.target.parent.Lstat(stageName(u.target) + "/" + blobName(layer) + ".partial")
	return err == nil
}

// codingsOf lists the codings of a layer that can be decoded here, the shortest
// first. Of a layer that has been fetched in part there are none; and of
// exponents there are none where an older version is, from which more can be
// copied than they save.
func (u *unpacker) codingsOf(ctx context.Context, layer ocispec.Descriptor) []CodedLayer {
	if u.begun(layer.Digest) {
		return nil
	}
	free, err := store.FreeSpace(u.parentDir())
	var found []CodedLayer
	for _, c := range u.opts.Variants {
		fits := err != nil || free/2 > layer.Size // both are there for a while
		gains := c.Desc.Size > 0 && c.Desc.Size < layer.Size && (c.Base != "" || u.target.old == nil || u.opts.NoDelta)
		if c.Layer == layer.Digest && gains && fits && u.hasBase(ctx, c) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b CodedLayer) int { return cmp.Compare(a.Desc.Size, b.Desc.Size) })
	return found
}

// hasBase tells whether the file that a coding needs is on this machine.
func (u *unpacker) hasBase(ctx context.Context, c CodedLayer) bool {
	if c.Base == "" {
		return true
	}
	base, err := u.openBase(ctx, c)
	if err != nil {
		return false
	}
	return base.Close() == nil
}

// openBase opens it: among the files of the target, or in the store.
func (u *unpacker) openBase(ctx context.Context, c CodedLayer) (format.ReaderAtCloser, error) {
	if l, ok := u.locals.get(c.Base); ok {
		return openRegular(u.target.parent, l.name)
	}
	if u.opts.Store == nil {
		return nil, fs.ErrNotExist
	}
	rc, err := u.opts.Store.Fetch(ctx, ocispec.Descriptor{Digest: c.Base, Size: c.BaseSize})
	if err != nil {
		return nil, err
	}
	if at, ok := rc.(format.ReaderAtCloser); ok {
		return at, nil
	}
	return nil, errors.Join(fs.ErrInvalid, rc.Close())
}

// fromCoding fetches a coding and decodes it to the layer of a job.
func (u *unpacker) fromCoding(ctx context.Context, j transfer.Job, c CodedLayer) error {
	name := codedName(c.Desc.Digest)
	defer u.stage.root.Remove(name) //nolint:errcheck // the stage is removed too
	fetch := transfer.Job{Desc: c.Desc, Name: j.Name, Open: func() (transfer.Partial, error) {
		return store.OpenPartial(u.stage.root, name, c.Desc)
	}}
	if err := transfer.Pull(ctx, u.src, []transfer.Job{fetch}, u.pullOptions()); err != nil {
		return err
	}
	coded, err := u.stage.root.Open(name)
	if err != nil {
		return err
	}
	defer coded.Close()
	var opts coding.DecodeOptions
	if c.Base != "" {
		base, err := u.openBase(ctx, c)
		if err != nil {
			return err
		}
		defer base.Close()
		opts.Base = base
	}
	return u.decode(ctx, j.Desc, coded, opts)
}

// decode writes a layer into the stage. It gets its name only with the digest
// that it should have.
func (u *unpacker) decode(ctx context.Context, desc ocispec.Descriptor, coded *os.File, opts coding.DecodeOptions) (err error) {
	p, err := store.OpenPartial(u.stage.root, blobName(desc.Digest), desc)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Reset())
		}
		err = errors.Join(err, p.Close())
	}()
	h := desc.Digest.Algorithm().Hash()
	w := io.MultiWriter(io.NewOffsetWriter(p, 0), h)
	if err := coding.Decode(ctx, w, coded, desc.Size, opts); err != nil {
		return err
	}
	if got := digest.NewDigest(desc.Digest.Algorithm(), h); got != desc.Digest {
		return &transfer.DigestError{Name: blobName(desc.Digest), Desc: desc, Got: got, Size: desc.Size}
	}
	return p.Commit()
}
