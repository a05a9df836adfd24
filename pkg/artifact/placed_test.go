package artifact_test

import (
	"context"
	"io"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
)

// Places are several that have the same blobs, of which the first has wrong bytes.
type places struct {
	right ranged
	slow  int64         // where what the first place gives comes late
	asked chan struct{} // closed when it is read
	late  chan struct{} // when it comes

	mu sync.Mutex
	at int // the place that is asked
}

func (p *places) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return p.right.Fetch(ctx, desc)
}

func (p *places) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	p.mu.Lock()
	at := p.at
	p.mu.Unlock()
	rc, err := p.right.FetchRange(ctx, desc, off, n)
	return &placed{ReadCloser: rc, of: p, at: at, off: off}, err
}

// Distrust blames the place that is asked at the moment.
func (p *places) Distrust(ocispec.Descriptor) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at++
	return true
}

// A placed body knows where it is from.
type placed struct {
	io.ReadCloser
	of  *places
	at  int
	off int64

	read bool
}

func (b *placed) Read(p []byte) (int, error) {
	if b.at == 0 && b.off == b.of.slow && !b.read {
		b.read = true
		close(b.of.asked)
		<-b.of.late
	}
	n, err := b.ReadCloser.Read(p)
	if b.at == 0 {
		clear(p[:n])
	}
	return n, err
}

func (b *placed) Distrust() bool {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	b.of.at = max(b.of.at, b.at+1)
	return true
}

// Who finds out late that bytes of one place are wrong does not blame the place
// that others were led to meanwhile.
func TestReaderBlamesThePlace(t *testing.T) {
	a, b, file := withIndex(t)
	src := &places{right: ranged{b}, slow: -1}
	r := mustReaderAt(t, a, src, artifact.ReaderOptions{Cache: 1})
	piece := r.Piece()
	for name, read := range map[string]func(off int64) error{
		"ReadAt": func(off int64) error {
			_, err := r.ReadAt(make([]byte, 10), off)
			return err
		},
		"Fill": func(off int64) error {
			p := make([]byte, piece)
			err := r.Fill(p, off)
			if err == nil && string(p) != string(file[off:off+piece]) {
				t.Errorf("wrong bytes at %d", off)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			src.at, src.slow, src.asked, src.late = 0, 2*piece, make(chan struct{}), make(chan struct{})
			var late sync.WaitGroup
			late.Go(func() {
				if err := read(2 * piece); err != nil {
					t.Error(err)
				}
			})
			<-src.asked
			for off := range int64(2) {
				if err := read(off * piece); err != nil {
					t.Error(err)
				}
			}
			close(src.late)
			late.Wait()
			if src.at > 1 {
				t.Errorf("%d places were blamed, and one is wrong", src.at)
			}
		})
	}
}
