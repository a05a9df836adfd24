package transfer

import (
	"context"
	"errors"
	"hash"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

const (
	// bufferBytes is how much is read, hashed and written at once. The 32 KiB
	// of io.Copy cost two fifths of the time.
	bufferBytes = 1 << 20

	// helperBytes is the same for a helper. There are many of them, and only
	// where each connection is slow: there the calls do not count, and memory does.
	helperBytes = 256 << 10

	// partBytes is the grid on which a blob is cut. It is the same for every
	// blob and every client, so that caches on the way see equal ranges.
	partBytes = 16 << 20

	// checkpointBytes is how much is hashed between two checkpoints: what a kill
	// loses of a stream.
	checkpointBytes = 1 << 20

	// leadBytes is how far before a stream that runs another one begins.
	leadBytes = partBytes

	// leastSplit is what a stream is cut in two for, if it is slow.
	leastSplit = 2 << 20

	// mostLag is how far streams may be before the hash: what has left the
	// page cache would have to be read from the disk again.
	mostLag = 4 << 30
)

// A blob is one on its way: what of it is written, what is being fetched, what
// is neither, and how far its hash is. One goroutine leads it, another hashes
// it, and helpers come and go as the link sends them.
type blob struct {
	link *link
	p    Partial
	tell teller
	open opener

	parts bool // the source gives some, as far as is known beforehand

	queue chan piece    // what is hashed from the buffer it was read into
	room  chan struct{} // a token for each piece in the queue or being hashed
	wake  chan struct{} // for the hash: more is written
	news  chan struct{} // for the leader: there may be something to fetch
	state hash.Hash     // of the first bytes; the hashing goroutine's

	local  iter.Seq[Segment] // what can be copied
	copies spans             // what of it is to be

	direct DirectWriter // for what a stream that is alone writes; nil for none

	mu      sync.Mutex
	missing spans // neither written nor on its way
	written spans
	claims  []claim // of an earlier run, beyond hashed, not yet checked
	runs    map[*run]struct{}
	hashed  int64
	handed  int64 // hashed, and in the queue or being read for the hash
	saved   int64 // hashed at the last checkpoint
	told    int64 // bytes that the observer takes for there, less those copied
	copied  int64
	whole   bool // the source gives no parts of it
	alone   bool // no helpers
	paused  bool // no helpers now: the leader is waiting for the source to recover
	done    bool // the digest is right
	cancel  context.CancelCauseFunc
	ctx     context.Context // of the attempt, for helpers; nil between attempts
	helpers sync.WaitGroup
}

// A piece is bytes at an offset, in a buffer to be given back.
type piece struct {
	off int64
	buf []byte
}

// fetch fills p with the blob and returns when its digest is right.
func (l *link) fetch(ctx context.Context, p Partial, j Job, tell teller) error {
	open, parts := openerOf(l.src, tell.desc)
	b := &blob{
		link: l, p: p, tell: tell, open: open, parts: parts, alone: !parts,
		queue: make(chan piece, queued), room: make(chan struct{}, queued),
		wake: make(chan struct{}, 1), news: make(chan struct{}, 1),
		runs: make(map[*run]struct{}),
	}
	if err := b.resume(); err != nil {
		return err
	}
	tell.event(Event{Action: Start, Bytes: b.told})
	if parts && len(b.missing) > 0 {
		b.plan(localSegments(ctx, j))
	}
	if d, ok := p.(DirectWriter); ok && !l.pageCache && len(b.copies) == 0 {
		b.direct = d // what is copied is in the page cache, as its source is
	}
	for again := true; ; {
		err := b.attempt(ctx)
		if err == nil || !errors.Is(err, content.ErrMismatchedDigest) {
			return err
		}
		// What was copied is not the source's fault.
		reused := false
		if wrongBytes(err) {
			reused = b.copied > 0
			// Wrong bytes are never kept, or the next run would go on from them.
			if failed := b.restart(); failed != nil {
				return errors.Join(err, failed)
			}
			if !reused {
				b.lonely() // a source that mixes up parts gets another chance
			}
		}
		// A source with several places to read from gets a try for each.
		if d, ok := l.src.(Distruster); !reused && (!ok || !d.Distrust(tell.desc)) {
			if !again {
				return err
			}
			again = false
		}
		tell.event(Event{Action: Retry, Err: err})
	}
}

// wrongBytes tells whether err says that what is written is of another blob. A
// source that only announces something else has given nothing wrong.
func wrongBytes(err error) bool {
	_, wrong := errors.AsType[*DigestError](err)
	return wrong
}

// lonely keeps helpers away for good.
func (b *blob) lonely() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.alone = true
}

// resume takes what an earlier run left, or begins.
func (b *blob) resume() error {
	size := b.tell.desc.Size
	n, state, err := b.p.Resume()
	if err != nil {
		return err
	}
	if n < 0 || n > size || state == nil && n > 0 {
		return b.restart()
	}
	if state == nil || n == 0 {
		state = b.tell.desc.Digest.Algorithm().Hash()
	}
	b.state = state
	b.hashed, b.handed, b.saved = n, n, n
	b.written = spans{}.add(span{0, n})
	b.resumeParts()
	b.told = b.written.bytes()
	b.missing = spans{}.add(span{0, size})
	for _, s := range b.written {
		b.missing = b.missing.remove(s)
	}
	return nil
}

// restart throws away what is there.
func (b *blob) restart() error {
	b.tell.moved(-b.told)
	b.tell.copied(-b.copied)
	b.mu.Lock()
	b.told, b.copied = 0, 0
	b.local, b.copies, b.claims, b.written = nil, nil, nil, nil
	b.missing = spans{}.add(span{0, b.tell.desc.Size})
	b.hashed, b.handed, b.saved, b.done = 0, 0, 0, false
	b.state = b.tell.desc.Digest.Algorithm().Hash()
	b.mu.Unlock()
	return b.p.Reset()
}

// attempt brings in what is missing and compares the digest.
func (b *blob) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	g, ctx := errgroup.WithContext(ctx)
	b.mu.Lock()
	b.ctx, b.cancel = ctx, cancel
	b.mu.Unlock()
	b.link.add(b)
	g.Go(func() error { return follow(ctx, b) })
	if len(b.copies) > 0 {
		g.Go(func() error { return b.copyLocal(ctx) })
	}
	g.Go(func() error { return b.lead(ctx) })
	err := g.Wait()
	b.link.remove(b)
	b.mu.Lock()
	b.ctx = nil
	b.mu.Unlock()
	cancel(nil)
	b.helpers.Wait()
	if err != nil && !wrongBytes(err) {
		b.settle()
		err = errors.Join(err, b.finish())
	}
	b.drain()
	return err
}

// again decides what follows an error: another try, which may have to wait, or
// the error it returns.
func (b *blob) again(ctx context.Context, pace *pacer, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	whole := b.pause(true)
	defer b.pause(false)
	if !whole && errors.Is(err, errdef.ErrUnsupported) {
		b.wholeOnly()
		err = errFromStart
	} else if stop := pace.again(ctx, err); stop != nil {
		return stop
	} else if stop := pace.during(func() error { return b.link.hold(ctx) }); stop != nil {
		return stop
	}
	b.tell.event(Event{Action: Retry, Err: err})
	return nil
}

// pause keeps helpers away, or no longer. It tells whether the source gives
// whole blobs only.
func (b *blob) pause(on bool) (whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = on
	return b.whole
}

// lead fetches what is missing until all is there and right.
func (b *blob) lead(ctx context.Context) error {
	there := b.progress()
	pace := pacer{most: b.link.maxWait, best: there, since: there}
	for {
		r, done := b.next()
		if done {
			return nil
		}
		if r == nil {
			if err := b.idle(ctx); err != nil {
				return err
			}
			continue
		}
		err := b.fetchRun(ctx, r)
		if err == nil {
			continue
		}
		pace.progress(b.progress())
		if stop := b.again(ctx, &pace, err); stop != nil {
			return stop
		}
	}
}

// idle waits until there may be something to fetch: because of news, or because
// a helper has turned out to be slow.
func (b *blob) idle(ctx context.Context) error {
	t := time.NewTimer(b.link.patience())
	defer t.Stop()
	select {
	case <-b.news:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
