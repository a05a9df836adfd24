package transfer

import (
	"cmp"
	"context"
	"io"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// defaultConnections is how many requests are under way at once, at most, when
// nobody says.
const defaultConnections = 32

// A Limit bounds the requests under way at once, and the bytes a second, of all
// that is fetched with it: by calls of [Pull] at the same time, and by
// [Limit.Fetch]. Its methods may be called from several goroutines.
type Limit struct {
	slots     chan struct{}
	waiting   atomic.Int32 // those without whom nothing goes on and who have no slot
	bandwidth int64        // bytes per second; 0 is no limit
	throttle  *throttle
}

// NewLimit returns a limit of so many connections, where 0 means 32, and of so
// many bytes a second, where 0 means no limit.
func NewLimit(connections int, bandwidth int64) *Limit {
	bandwidth = max(bandwidth, 0)
	return &Limit{
		slots:     make(chan struct{}, cmp.Or(max(connections, 0), defaultConnections)),
		bandwidth: bandwidth, throttle: newThrottle(bandwidth),
	}
}

// Fetch fetches a blob from src within the limit. It waits until there may be
// one more connection, which is free again when the reader is closed. A source
// that gives nothing for as long as [Pull] would wait is an error.
func (l *Limit) Fetch(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer watch.Stop()
	rc, err := src.Fetch(ctx, desc)
	if err != nil {
		cancel(nil)
		l.exit()
		return nil, err
	}
	return &limitedReader{rc: rc, ctx: ctx, cancel: cancel, watch: watch, limit: l}, nil
}

// enter waits for a connection to be free. The caller calls exit.
func (l *Limit) enter(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Limit) exit() { <-l.slots }

// A limitedReader has one of the connections of a limit.
type limitedReader struct {
	rc     io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer // on the source
	limit  *Limit
	closed atomic.Bool
}

func (r *limitedReader) Read(p []byte) (int, error) {
	r.watch.Reset(stallTimeout)
	n, err := r.rc.Read(r.limit.throttle.piece(p))
	r.watch.Stop()
	if err != nil {
		return n, err
	}
	return n, r.limit.throttle.wait(r.ctx, n)
}

func (r *limitedReader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	defer r.limit.exit()
	r.cancel(nil)
	return r.rc.Close()
}
