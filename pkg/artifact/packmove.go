package artifact

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// uploads is how many blobs are sent at once.
func (p *packer) uploads() int {
	const most = 4 // when nobody says
	return cmp.Or(max(p.opts.Uploads, 0), most)
}

// moveLayers hashes all layers and pushes each as soon as its digest is known,
// so that the disk and the network work at the same time.
func (p *packer) moveLayers(ctx context.Context) error {
	order := slices.Clone(p.layers)
	slices.SortStableFunc(order, func(a, b *layer) int { return cmp.Compare(b.body.size, a.body.size) })
	ready := make(chan *layer, len(order))
	dst := p.onePass()
	if dst != nil {
		order = slices.DeleteFunc(order, func(l *layer) bool {
			first := p.sendFirst(l)
			if first {
				ready <- l
			}
			return first
		})
	}
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(ready)
		return p.hashLayers(both, order, ready)
	})
	for range p.uploads() {
		g.Go(func() error {
			for l := range ready {
				if err := p.pushLayer(both, dst, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.indexInputs(ctx)
}

// pushLayer pushes a layer whose digest is known or, to dst, not known yet.
func (p *packer) pushLayer(ctx context.Context, dst transfer.Streamer, l *layer) error {
	if l.desc.Digest == "" {
		return p.stream(ctx, dst, l)
	}
	if err := p.push(ctx, l.desc, l.path, p.opener(l)); err != nil {
		return err
	}
	return p.passed(l)
}

func (p *packer) hashLayers(ctx context.Context, layers []*layer, ready chan<- *layer) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(max(p.opts.Workers, 0), runtime.GOMAXPROCS(0)))
	for _, l := range layers {
		g.Go(func() error {
			if err := p.describeLayer(ctx, l); err != nil {
				return err
			}
			ready <- l
			return nil
		})
	}
	return g.Wait()
}

// describeLayer finds out the digest of a layer.
func (p *packer) describeLayer(ctx context.Context, l *layer) error {
	dgst, err := p.hashLayer(ctx, l)
	if err != nil {
		return err
	}
	l.desc = ocispec.Descriptor{
		MediaType: mediatypes.LayerType(l.kind, l.encoding), Digest: dgst, Size: l.body.size,
		Annotations: l.annotations(),
	}
	return nil
}

func (p *packer) hashLayer(ctx context.Context, l *layer) (digest.Digest, error) {
	cache := p.opts.Digests
	if l.encoding == mediatypes.Raw || l.files[0].input.archived() {
		dgst, ok := l.files[0].digest, l.files[0].digest != ""
		if !ok && cache != nil {
			dgst, ok = cache.Lookup(l.files[0].info)
		}
		// An input may be linked without being read. Its index is made of the
		// bytes when they pass, or later, see indexInputs.
		if ok && (p.recallIndex(l, dgst) || l.files[0].input != nil) {
			l.digests = []digest.Digest{dgst}
			return dgst, nil
		}
	}
	x, err := p.newIndexer(ctx, l)
	if err != nil {
		return "", err
	}
	dgst, files, err := l.body.hash(ctx, x)
	if err != nil {
		return "", err
	}
	if err := p.keepIndex(l, dgst, x); err != nil {
		return "", err
	}
	l.digests = files
	if cache != nil {
		for i, f := range l.files {
			cache.Record(f.info, files[i])
		}
	}
	return dgst, nil
}

// push brings one blob to the target, unless it is on its way already.
func (p *packer) push(ctx context.Context, desc ocispec.Descriptor, name string, open transfer.Opener) error {
	p.mu.Lock()
	again := p.pushed[desc.Digest]
	p.pushed[desc.Digest] = true
	p.mu.Unlock()
	if again {
		return nil
	}
	opts := transfer.PushOptions{Observe: p.opts.Observe}
	if p.opts.MountFrom != nil {
		opts.MountFrom = p.opts.MountFrom(desc.Digest)
	}
	// What is pushed is bytes; where they go in the model is the manifest's.
	desc.Annotations = nil
	did, err := transfer.Push(ctx, p.dst, transfer.Blob{Desc: desc, Name: name, Open: open}, opts)
	if err != nil {
		return err
	}
	p.count(did, desc.Size)
	return nil
}

func (p *packer) count(did transfer.Action, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch did {
	case transfer.Exists:
		p.out.Skipped += size
	case transfer.Mounted:
		p.out.Mounted += size
	default:
		p.out.Uploaded += size
	}
}

// pushBytes pushes a document made here.
func (p *packer) pushBytes(ctx context.Context, desc ocispec.Descriptor, name string, raw []byte) error {
	return p.push(ctx, desc, name, func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw[offset:])), nil
	})
}
