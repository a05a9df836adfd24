package mount

import "io/fs"

const (
	// maxSpan is the most bytes that one fetch is for, where pieces are smaller.
	maxSpan = 2 << 20

	// A run of aheadAfter reads, each of which goes on about where the one
	// before it ended, is taken for reading on. What the kernel asks for at
	// once may come in another order: nearby is near enough.
	aheadAfter = 3
	nearby     = 1 << 20

	// maxRuns is how many runs are told apart, of all files together. Those that
	// went on within the last activeReads reads share the memory.
	maxRuns     = 64
	activeReads = 256

	// A read looks tries times for a piece that others have fetched for it, and
	// could not. Those who fetch several at once may fail for another piece of
	// them: then it looks on, and fetches the piece alone if nobody else does,
	// up to maxTries in all.
	tries    = 3
	maxTries = 12
)

// A run is reads each of which goes on where the one before it ended.
type run struct {
	file   *file
	next   int64 // where another would go on
	reads  int
	window int64 // how far to read ahead, in bytes
	used   int   // by the cache's clock; 0 for none
}

// A reader is one read of a file whose pieces are kept.
type reader struct {
	file    *file
	content Content
	cache   *cache
	piece   int64
}

// span is how many pieces are fetched at once.
func (r reader) span() int64 { return max(maxSpan/r.piece, 1) }

// notice makes a read part of a run, and fetches ahead for those who read on. It
// returns how far what is fetched now should reach.
func (r reader) notice(off, n int64) (end int64) {
	c := r.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.runAt(r.file, off)
	if off+n > q.next {
		q.next = off + n
		q.reads++
	}
	if q.reads < aheadAfter {
		return off + n
	}
	span := r.span() * r.piece
	q.window = min(max(2*q.window, 2*span), c.limit*2/3/int64(c.active()))
	r.readAhead(off, min(q.next+max(q.window, span), r.file.Size))
	return off + n + span
}

// runAt finds the run that a read at off belongs to, or begins one.
func (c *cache) runAt(f *file, off int64) *run {
	c.clock++
	found := &c.runs[0]
	for i := range c.runs {
		q := &c.runs[i]
		if q.file == f && off >= q.next-nearby && off <= q.next+nearby {
			q.used = c.clock
			return q
		}
		if q.used < found.used {
			found = q
		}
	}
	*found = run{file: f, next: off, used: c.clock} // in the place of the one used longest ago
	return found
}

// active counts the runs that go on.
func (c *cache) active() int {
	n := 0
	for i := range c.runs {
		if q := &c.runs[i]; q.reads >= aheadAfter && c.clock-q.used < activeReads {
			n++
		}
	}
	return max(n, 1)
}

// readAhead begins to fetch what lies between off and end and is not there, as far
// as connections and memory go. The first of it is left to whoever reads it now.
func (r reader) readAhead(off, end int64) {
	c := r.cache
	first := off / r.piece
	for i := r.after(first); i*r.piece < end && !c.closed; {
		if s := r.file.segments[i]; s != nil {
			i = s.first + s.pieces
			continue
		}
		if c.ahead >= c.connections {
			return
		}
		n := r.missing(i, r.after(i))
		data := c.memory(r.bytes(i, n), false)
		if data == nil {
			return
		}
		s := c.begin(r.file, i, n, r.piece, data)
		c.ahead++
		r.file.fs.open.use(r.file) // longer than the read that this is for
		go func() {
			defer c.fetches.Done()
			defer r.file.fs.open.release(r.file)
			c.fetch(s, r.content)
			c.mu.Lock()
			c.ahead--
			c.mu.Unlock()
		}()
		i += n
	}
}

// after is the first piece of the span after that of piece i. Spans begin at
// multiples of their length, whoever reads, so that fetches do not overlap.
func (r reader) after(i int64) int64 { return (i/r.span() + 1) * r.span() }

// missing counts the pieces from i on, as far as end, that are not there.
func (r reader) missing(i, end int64) int64 {
	last := (r.file.Size + r.piece - 1) / r.piece
	n := int64(1)
	for i+n < min(end, last) && r.file.segments[i+n] == nil {
		n++
	}
	return n
}

// bytes is the length of n pieces from i on.
func (r reader) bytes(i, n int64) int64 { return min((i+n)*r.piece, r.file.Size) - i*r.piece }

// read copies what one segment has of the bytes at off. If it must be fetched, it
// reaches as far as end, but not over the end of a span.
func (r reader) read(p []byte, off, end int64) (int, error) {
	for try := 1; ; try++ {
		s, mine := r.take(off/r.piece, end)
		if s == nil {
			return 0, fs.ErrClosed
		}
		if mine {
			r.cache.fetch(s, r.content)
			r.cache.fetches.Done()
		}
		err := s.wait(r.file.fs.ctx)
		if err == nil {
			n := copy(p, s.data[off-s.offset:])
			r.cache.release(s, off+int64(n))
			return n, nil
		}
		r.cache.release(s, off)
		if alone := s.pieces == 1; r.file.fs.ctx.Err() != nil || alone && (mine || try >= tries) || try == maxTries {
			return 0, err
		}
		end = off + 1 // what is wrong may be another piece
	}
}

// take finds the segment that piece i is in, or makes one, which is then the
// caller's to fetch; nil if the FS was closed. The caller releases it.
func (r reader) take(i, end int64) (s *segment, mine bool) {
	c := r.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		if s := r.file.segments[i]; s != nil {
			s.readers++
			return s, false
		}
		upto := min((end+r.piece-1)/r.piece, r.after(i))
		n := r.missing(i, upto)
		if data := c.memory(r.bytes(i, n), true); data != nil {
			s := c.begin(r.file, i, n, r.piece, data)
			s.readers++
			return s, true
		}
		c.freed.Wait()
	}
	return nil, false
}
