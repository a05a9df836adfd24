package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

const (
	// minOnePass is the size of the smallest file that is sent while it is
	// hashed: it costs the registry two requests and a sync more, and a HEAD
	// that says "have it" saves nothing any more.
	minOnePass = 64 << 20

	// maxAhead is how far the hash may be ahead of the network, so that the
	// bytes are still in memory when they are sent.
	maxAhead = 256 << 20
)

// onePass returns the target as one that takes layers before their digest is
// known, or nil.
func (p *packer) onePass() transfer.Streamer {
	s, ok := p.dst.(transfer.Streamer)
	if !ok || p.root == nil || !s.Streams() {
		return nil
	}
	return s
}

// sendFirst tells whether a layer is better sent at once than hashed first: it
// is when nothing hints at the registry having it.
func (p *packer) sendFirst(l *layer) bool {
	if l.encoding != mediatypes.Raw || l.files[0].input != nil || l.body.size < minOnePass || l.files[0].digest != "" {
		return false
	}
	if p.opts.Digests != nil {
		if _, ok := p.opts.Digests.Lookup(l.files[0].info); ok {
			return p.begun(l)
		}
	}
	return p.opts.Likely == nil || !p.opts.Likely(l.path, l.body.size)
}

// begun tells whether an earlier push has stopped in the middle of sending a layer
// while it was hashed. The hash was ahead, so the digest may be known by now; but
// the upload goes by the file, and can only be gone on with as what it was.
func (p *packer) begun(l *layer) bool {
	k, ok := p.dst.(transfer.StreamKeeper)
	return ok && k.Begun((&layerStream{layer: l}).Key(), l.body.size)
}

// stream sends a layer while it is hashed. Where the registry takes no such
// uploads, it is pushed when its digest is known.
func (p *packer) stream(ctx context.Context, dst transfer.Streamer, l *layer) error {
	g, both := errgroup.WithContext(ctx)
	s := &layerStream{layer: l, hashed: make(chan struct{}), pace: newPace()}
	l.body.pace = s.pace
	g.Go(func() error {
		defer s.pace.release()
		err := p.describeLayer(both, l)
		if err == nil {
			close(s.hashed)
		}
		return err
	})
	sent := true
	g.Go(func() error {
		defer s.pace.release()
		_, err := transfer.PushStream(both, dst, l.path, s, transfer.PushOptions{Observe: s.observe(p.opts.Observe)})
		if errors.Is(err, errdef.ErrUnsupported) {
			sent, err = false, nil
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if !sent {
		return p.push(ctx, l.desc, l.path, l.body.open)
	}
	p.mu.Lock()
	p.pushed[l.desc.Digest] = true
	p.mu.Unlock()
	p.count(transfer.Done, l.body.size)
	return nil
}

// A layerStream is a layer that is being hashed.
type layerStream struct {
	layer  *layer
	hashed chan struct{} // closed when the layer has its descriptor
	pace   *pace
}

// Key names the file as it is now; for a shard those that it is cut from.
func (s *layerStream) Key() string {
	f := s.layer.files[0]
	if f.virtual == nil {
		return store.FileKey(f.info)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n", f.path, f.info.Size())
	for _, from := range f.virtual.from {
		key := store.FileKey(from.info)
		if key == "" {
			return ""
		}
		fmt.Fprintln(h, key)
	}
	return "shard:" + hex.EncodeToString(h.Sum(nil))
}

func (s *layerStream) Size() int64 { return s.layer.body.size }

func (s *layerStream) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	return s.layer.body.open(ctx, offset)
}

func (s *layerStream) Digest(ctx context.Context) (digest.Digest, error) {
	select {
	case <-s.hashed:
		return s.layer.desc.Digest, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// observe passes events on, and tells the hash how far the network is.
func (s *layerStream) observe(next transfer.Observer) transfer.Observer {
	return func(e transfer.Event) {
		if e.Action == transfer.Progress {
			s.pace.moved(e.Bytes)
		}
		if next != nil {
			next(e)
		}
	}
}

// A pace keeps a hash from running away from the network. A nil one does
// nothing.
type pace struct {
	mu   sync.Mutex
	at   int64         // where the network is
	free bool          // nobody need wait any more
	news chan struct{} // closed, and replaced, when one of them changes
}

func newPace() *pace { return &pace{news: make(chan struct{})} }

func (p *pace) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.news)
	p.news = make(chan struct{})
}

func (p *pace) moved(n int64) { p.change(func() { p.at += n }) }

func (p *pace) release() { p.change(func() { p.free = true }) }

// wait waits until offset is worth reading.
func (p *pace) wait(ctx context.Context, offset int64) error {
	if p == nil {
		return nil
	}
	for {
		p.mu.Lock()
		ok, news := p.free || offset-p.at < maxAhead, p.news
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
