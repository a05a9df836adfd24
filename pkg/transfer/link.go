package transfer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// longestDelay and leastUsual bound what one answer that took long says about
// the others: a source may have waited and asked again by itself.
const (
	longestDelay = 2 * time.Second
	leastUsual   = 100 * time.Millisecond
)

// A link is all connections to a source: one for each blob that is being
// fetched, and helpers that take parts of the blobs off those, as many as the
// governor finds worth while.
type link struct {
	src       content.Fetcher
	limit     *Limit
	pageCache bool // nothing is written past it
	maxWait   time.Duration
	received  atomic.Int64 // bytes, over all connections
	helping   atomic.Int32 // helpers
	buffers   buffers
	helpers   sync.WaitGroup

	mu    sync.Mutex
	blobs []*blob
	gov   governor
	held  time.Time     // no request before, the source says
	delay time.Duration // from a request to its answer, lately
}

func newLink(src content.Fetcher, limit *Limit) *link {
	l := &link{src: src, limit: limit}
	l.gov.most = cap(limit.slots)
	l.gov.bandwidth = float64(limit.bandwidth)
	return l
}

// add has helpers look at the blob.
func (l *link) add(b *blob) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blobs = append(l.blobs, b)
}

// remove has no more helpers look at the blob.
func (l *link) remove(b *blob) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blobs = slices.DeleteFunc(l.blobs, func(other *blob) bool { return other == b })
}

// all returns the blobs that are being fetched.
func (l *link) all() []*blob {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.blobs)
}

// open asks for a span of the blob, once the source lets us. It returns where
// the answer begins.
func (l *link) open(ctx context.Context, b *blob, s span) (*conn, int64, error) {
	if err := l.hold(ctx); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	asked := time.Now()
	rc, from, err := b.open(ctx, s.off, s.bytes())
	if err != nil {
		cancel(nil)
		l.refused(err)
		return nil, 0, err
	}
	l.answered(time.Since(asked))
	return newConn(ctx, cancel, rc, l), from, nil
}

// hold waits as long as the source has asked for.
func (l *link) hold(ctx context.Context) error {
	l.mu.Lock()
	wait := time.Until(l.held)
	l.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answered notes how long an answer took. One that took far longer than the
// others counts for a few times as much as they do.
func (l *link) answered(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d = min(d, longestDelay)
	if l.delay == 0 {
		l.delay = d
	}
	l.delay += (min(d, max(4*l.delay, leastUsual)) - l.delay) / 4
}

// An overloader is an error that knows whether it says that there are too many
// requests.
type overloader interface {
	error
	Overloaded() bool
}

// busy tells whether err says that there are too many requests.
func busy(err error) bool {
	e, ok := errors.AsType[overloader](err)
	return ok && e.Overloaded()
}

// refused has all connections be fewer, and wait, if the source says so.
func (l *link) refused(err error) {
	if !busy(err) {
		return
	}
	wait, _ := transient(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.held = later(l.held, now.Add(wait))
	l.gov.congested(now, len(l.limit.slots), wait)
}

// patience is how long something may take before another connection is tried
// for it.
func (l *link) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 100*time.Millisecond + 4*l.delay
}

// crowded tells whether there are to be more connections than blobs.
func (l *link) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gov.target > len(l.blobs)
}

// run governs the helpers until ctx ends, and waits for them.
func (l *link) run(ctx context.Context) {
	tick := time.NewTicker(governEvery)
	defer tick.Stop()
	defer l.helpers.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.adjust(ctx)
		}
	}
}

// adjust looks how things go, and sends helpers where more are wanted.
func (l *link) adjust(ctx context.Context) {
	wants := int64(0)
	blobs := l.all()
	for _, b := range blobs {
		wants += b.wants()
	}
	l.mu.Lock()
	l.gov.look(sight{
		now: time.Now(), received: l.received.Load(), delay: l.delay,
		leaders: len(blobs), active: len(blobs) + int(l.helping.Load()), more: wants > 0,
	})
	target := l.gov.target
	l.mu.Unlock()
	for len(blobs)+int(l.helping.Load()) < target && l.limit.waiting.Load() == 0 {
		if !l.send(ctx) {
			return
		}
	}
}

// send sends one more helper, and reports whether there was something to do.
func (l *link) send(ctx context.Context) bool {
	select {
	case l.limit.slots <- struct{}{}:
	default:
		return false
	}
	b, r, within := l.work()
	if r == nil {
		l.limit.exit()
		return false
	}
	l.helping.Add(1)
	l.helpers.Go(func() {
		defer l.limit.exit()
		defer l.helping.Add(-1)
		for r != nil {
			err := b.stream(within, r)
			if err != nil && within.Err() == nil { // not because the attempt is over
				l.failed(b, err)
			}
			b.helpers.Done() // from here the blob is no longer ours
			if err != nil || ctx.Err() != nil || l.surplus() {
				return
			}
			b, r, within = l.work()
		}
	})
	return true
}

// work finds something to do for a helper: of the blob that needs most.
func (l *link) work() (*blob, *run, context.Context) {
	blobs := l.all()
	need := make(map[*blob]int64, len(blobs))
	for _, b := range blobs {
		need[b] = b.wants()
	}
	slices.SortStableFunc(blobs, func(a, b *blob) int { return int(min(max(need[b]-need[a], -1), 1)) })
	for _, b := range blobs {
		if r, ctx := b.lend(); r != nil {
			return b, r, ctx
		}
	}
	return nil, nil, nil
}

// surplus tells whether there are more connections than wanted.
func (l *link) surplus() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.blobs)+int(l.helping.Load()) > l.gov.target || l.limit.waiting.Load() > 0
}

// failed draws the lesson of a helper's error, which never is the blob's: the
// leader will meet it again if there is no way around it. What a busy source
// means has been drawn before ([link.refused]).
func (l *link) failed(b *blob, err error) {
	if errors.Is(err, errdef.ErrUnsupported) {
		b.wholeOnly()
		return
	}
	if busy(err) {
		return
	}
	if _, ok := transient(err); !ok {
		b.lonely()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gov.congested(time.Now(), len(l.limit.slots), 0)
}
