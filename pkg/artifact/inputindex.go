package artifact

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// opener opens the layer for its upload. That of an input, when it is really
// read, makes its chunk index in passing.
func (p *packer) opener(l *layer) transfer.Opener {
	in := l.files[0].input
	if in == nil || l.index != nil || !l.hasIndex() {
		return l.body.open
	}
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		in.mu.Lock()
		begun := in.hashed > 0 || offset > 0
		in.mu.Unlock()
		if !begun {
			x, err := p.newIndexer(ctx, l)
			if err != nil {
				return nil, err
			}
			in.mu.Lock()
			in.index = x
			in.mu.Unlock()
		}
		return l.body.open(ctx, offset)
	}
}

// passed takes the index of an input whose bytes have all been seen.
func (p *packer) passed(l *layer) error {
	in := l.files[0].input
	if in == nil || l.index != nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.index == nil || in.hashed != in.Size {
		return nil
	}
	err := p.keepIndex(l, in.Digest, in.index)
	l.desc.Annotations = l.annotations()
	return err
}

// indexInputs makes the chunk indexes that are due and not known: of inputs whose
// bytes did not pass, or not all of them, as the target had them, linked them, or
// had a part of an earlier run. Without, what was there before would be part of
// what comes out.
func (p *packer) indexInputs(ctx context.Context) error {
	p.shareIndexes()
	missing := make(map[digest.Digest]*layer)
	for _, l := range p.layers {
		if l.index == nil && l.hasIndex() && l.files[0].input != nil {
			missing[l.desc.Digest] = l
		}
	}
	if _, dry := p.dst.(discard); dry {
		p.out.Unindexed = len(missing)
		return nil
	}
	g, both := errgroup.WithContext(ctx)
	g.SetLimit(p.uploads())
	for _, l := range missing {
		g.Go(func() error { return p.indexInput(both, l) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.shareIndexes()
	return nil
}

// indexInput reads the file of one layer for its index. The target is likely to
// be nearer than the source. What it gives is compared with the digest, so that
// whatever is wrong there costs time only.
func (p *packer) indexInput(ctx context.Context, l *layer) error {
	in := l.files[0].input
	if dst, ok := p.dst.(content.Fetcher); ok {
		err := p.readIndex(ctx, l, func() (io.ReadCloser, error) {
			return dst.Fetch(ctx, ocispec.Descriptor{MediaType: l.desc.MediaType, Digest: l.desc.Digest, Size: l.desc.Size})
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.tellIndex(l, transfer.Event{Action: transfer.Retry, Err: err})
	}
	return p.readIndex(ctx, l, func() (io.ReadCloser, error) { return in.Open(ctx, 0, -1) })
}

// tellIndex tells the observer what happens to the index of a layer.
func (p *packer) tellIndex(l *layer, e transfer.Event) {
	if p.opts.Observe != nil {
		e.Name, e.Desc = "index of "+l.path, l.desc
		p.opts.Observe(e)
	}
}

// readIndex makes the index of a layer's file from bytes that are compared with
// its digest.
func (p *packer) readIndex(ctx context.Context, l *layer, open func() (io.ReadCloser, error)) error {
	in := l.files[0].input
	x, err := p.newIndexer(ctx, l)
	if err != nil {
		return err
	}
	rc, err := open()
	if err != nil {
		return err
	}
	defer rc.Close()
	p.tellIndex(l, transfer.Event{Action: transfer.Start})
	n, err := p.readInto(ctx, l, x, rc)
	if err != nil {
		p.tellIndex(l, transfer.Event{Action: transfer.Progress, Bytes: -n})
		return err
	}
	if err := p.keepIndex(l, in.Digest, x); err != nil {
		return err
	}
	l.desc.Annotations = l.annotations()
	p.tellIndex(l, transfer.Event{Action: transfer.Done})
	return nil
}

// readInto gives the bytes of a layer's file to its indexer. It returns how many
// there were, and an error if they are not those of the digest.
func (p *packer) readInto(ctx context.Context, l *layer, x *indexer, r io.Reader) (n int64, err error) {
	in := &input{Input: l.files[0].input.Input, index: x}
	buf := make([]byte, copyBytes)
	for n <= in.Size {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(buf)
		in.hash(buf[:k])
		n += int64(k)
		p.tellIndex(l, transfer.Event{Action: transfer.Progress, Bytes: int64(k)})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, err
		}
	}
	if got := in.sum(); n != in.Size || got != in.Digest {
		return n, in.mismatch(got, n)
	}
	return n, nil
}

// shareIndexes gives inputs with the same bytes the same index: only one of
// them has been read.
func (p *packer) shareIndexes() {
	known := make(map[digest.Digest][]byte)
	for _, l := range p.layers {
		if l.index != nil {
			known[l.desc.Digest] = l.index
		}
	}
	for _, l := range p.layers {
		if l.index == nil && l.hasIndex() && known[l.desc.Digest] != nil {
			l.index = known[l.desc.Digest]
			l.desc.Annotations = l.annotations()
		}
	}
}
