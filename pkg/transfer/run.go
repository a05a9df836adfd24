package transfer

import (
	"context"
	"time"
)

// A run is a stretch of a blob that one connection fetches. Its fields are the
// blob's mutex's.
type run struct {
	pos int64 // up to here it is written
	end int64 // where it ends, which is earlier when another takes over the rest
	to  int64 // where the answer ends; 0 while there is none

	helper bool
	began  time.Time
	first  int64 // pos when it began
	tally  tally // of what is written of the part that it is in
}

// buffer returns how many bytes are read for it at once, at most.
func (r *run) buffer() int {
	if r.helper {
		return helperBytes
	}
	return bufferBytes
}

// left returns how many bytes it has still to fetch.
func (r *run) left() int64 { return r.end - r.pos }

// rate returns its bytes per second so far.
func (r *run) rate(now time.Time) float64 {
	return float64(r.pos-r.first) / max(now.Sub(r.began).Seconds(), 1e-3)
}

// slow tells whether the rest of it is worth another connection, if that takes
// so long to begin.
func (r *run) slow(patience time.Duration) bool {
	now := time.Now()
	return r.left() >= leastSplit && now.Sub(r.began) > patience &&
		float64(r.left()) > r.rate(now)*patience.Seconds()
}

// next returns what the leader is to fetch, or nil if there is nothing now; done
// says that there will be nothing more.
func (b *blob) next() (r *run, done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done {
		return nil, true
	}
	if b.whole {
		// All of it comes again, and what is missing is taken out.
		if len(b.missing) == 0 {
			return nil, false
		}
		return &run{}, false
	}
	return b.take(false), false
}

// take gives a run to fetch, or nil. The caller holds the mutex.
func (b *blob) take(helper bool) *run {
	if len(b.missing) == 0 {
		b.split()
	}
	if len(b.missing) == 0 {
		return nil
	}
	s := b.missing[0]
	if helper && s.off-b.hashed > mostLag {
		return nil
	}
	if helper || !b.alone && b.link.crowded() {
		s.end = min(s.end, nextPart(s.off))
	}
	b.missing = b.missing.remove(s)
	r := &run{pos: s.off, end: s.end, first: s.off, helper: helper, began: time.Now()}
	b.runs[r] = struct{}{}
	return r
}

// nextPart returns where the part ends that the byte at off lies in.
func nextPart(off int64) int64 { return (off/partBytes + 1) * partBytes }

// split makes the rest of a run that has much to do free for others. A long one
// is left enough for a while, so that the connection is not thrown away for
// little; a slow one is cut in two.
func (b *blob) split() {
	r := b.longest()
	if r == nil {
		return
	}
	cut := nextPart(r.pos + leadBytes - 1)
	if cut >= r.end {
		if !r.slow(b.link.patience()) {
			return
		}
		// What is being read now reaches no further than a buffer.
		cut = r.pos + max(r.left()/2, bufferBytes)
		cut = min((cut+bufferBytes-1)&^(bufferBytes-1), r.end)
	}
	b.missing = b.missing.add(span{cut, r.end})
	r.end = cut
}

// seize takes a span that is missing for a run.
func (b *blob) seize(s span) *run {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missing = b.missing.remove(s)
	r := &run{pos: s.off, end: s.end, first: s.off, began: time.Now()}
	b.runs[r] = struct{}{}
	return r
}

// longest returns the run that has most to do.
func (b *blob) longest() *run {
	var most *run
	for r := range b.runs {
		if most == nil || r.left() > most.left() {
			most = r
		}
	}
	return most
}

// helpable tells whether helpers may come. The caller holds the mutex.
func (b *blob) helpable() bool {
	return b.ctx != nil && b.ctx.Err() == nil && !b.whole && !b.alone && !b.paused
}

// wants tells how many bytes a helper could take over.
func (b *blob) wants() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.helpable() {
		return 0
	}
	n := b.missing.bytes()
	if r := b.longest(); r != nil {
		n += max(r.end-nextPart(r.pos+leadBytes-1), 0)
	}
	return n
}

// lend gives a helper something to do, or nil. The blob waits for the helper
// until it has given the run back.
func (b *blob) lend() (*run, context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.helpable() {
		return nil, nil
	}
	r := b.take(true)
	if r != nil {
		b.helpers.Add(1)
	}
	return r, b.ctx
}

// leave gives back what the run has not fetched. A run before it whose answer
// goes on goes on.
func (b *blob) leave(r *run) {
	b.mu.Lock()
	delete(b.runs, r)
	b.missing = b.missing.add(span{r.pos, r.end})
	b.rejoin()
	b.mu.Unlock()
	signal(b.news)
}

// rejoin gives runs back what others did not take from them after all.
func (b *blob) rejoin() {
	for r := range b.runs {
		if r.end < r.to {
			if end := min(b.missing.from(r.end), r.to); end > r.end {
				b.missing = b.missing.remove(span{r.end, end})
				r.end = end
			}
		}
	}
}

// wholeOnly notes that the source does not give parts of the blob.
func (b *blob) wholeOnly() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = true
	b.rejoin()
}

// wholeNow tells whether the source gives whole blobs only.
func (b *blob) wholeNow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// progress returns how many bytes are written.
func (b *blob) progress() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.bytes()
}

// signal wakes who waits on the channel, now or the next time.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
