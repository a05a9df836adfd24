package mount

import (
	"container/list"
	"context"
	"sync"
)

// poolFrom is the size from which the memory of segments is used again: what the
// garbage collector had to find would be there twice for a while.
const poolFrom = 512 << 10

// A cache holds segments of files, as many bytes as it may, and what is under way
// for them.
type cache struct {
	limit       int64
	connections int

	mu     sync.Mutex
	freed  *sync.Cond // something can be given up, or the cache was closed
	used   int64      // bytes of all memory that was made
	spare  [][]byte   // memory that is not in use
	ahead  int        // reads ahead under way
	closed bool
	clock  int // counts reads
	runs   [maxRuns]run

	// recent are the segments that are there and of which more may be read,
	// the one that was used last in front; done those that were read to their
	// end, the first of them in front.
	recent, done list.List

	fetches sync.WaitGroup
}

// A segment is some pieces of a file in a row, fetched at once.
type segment struct {
	file          *file
	first, pieces int64
	offset        int64
	data          []byte
	landed        chan struct{} // closed when data, or err, is there
	err           error

	// Guarded by the cache's lock.
	readers int // that wait for it or copy from it
	touched bool
	in      *list.List // nil while it is under way, and after it was given up
	at      *list.Element
}

func newCache(limit int64, connections int) *cache {
	c := &cache{limit: limit, connections: connections}
	c.freed = sync.NewCond(&c.mu)
	return c
}

// close ends the waits, and returns when nothing is under way.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.freed.Broadcast()
	c.fetches.Wait()
}

// memory returns memory for a segment, or nil if there is none. A must that does
// not fit beside what is under way fits alone. It is called with the lock.
func (c *cache) memory(size int64, must bool) []byte {
	need := capacity(size)
	for {
		for i, b := range c.spare {
			if int64(cap(b)) == need {
				c.spare = append(c.spare[:i], c.spare[i+1:]...)
				return b[:size]
			}
		}
		if c.used+need <= c.limit || must && c.used == 0 {
			c.used += need
			return make([]byte, size, need)
		}
		if n := len(c.spare); n > 0 {
			c.used -= int64(cap(c.spare[n-1]))
			c.spare = c.spare[:n-1]
			continue
		}
		if !c.giveUp(must) {
			return nil
		}
	}
}

// capacity is how much memory is made for so many bytes, so that it fits others.
func capacity(size int64) int64 {
	if size < poolFrom {
		return size
	}
	n := int64(poolFrom)
	for n < size {
		n *= 2
	}
	return n
}

// giveUp drops the segment that is least likely to be read again. Those that were
// fetched ahead and not read yet are dropped only for what must be.
func (c *cache) giveUp(must bool) bool {
	for e := c.done.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*segment); s.readers == 0 {
			c.drop(s)
			return true
		}
	}
	for _, untouched := range []bool{false, true} {
		for e := c.recent.Back(); e != nil && (must || !untouched); e = e.Prev() {
			if s := e.Value.(*segment); s.readers == 0 && (s.touched || untouched) {
				c.drop(s)
				return true
			}
		}
	}
	return false
}

// drop takes a segment out of the cache, and keeps its memory for others.
func (c *cache) drop(s *segment) {
	if s.in != nil {
		s.in.Remove(s.at)
		s.in, s.at = nil, nil
	}
	for i := s.first; i < s.first+s.pieces; i++ {
		delete(s.file.segments, i)
	}
	c.recycle(s.data)
	s.data = nil
}

func (c *cache) recycle(b []byte) {
	if cap(b) < poolFrom {
		c.used -= int64(cap(b))
		return
	}
	c.spare = append(c.spare, b)
}

// begin makes a segment that somebody is about to fetch, and then calls Done of
// fetches. It is called with the lock.
func (c *cache) begin(f *file, first, pieces, piece int64, data []byte) *segment {
	s := &segment{file: f, first: first, pieces: pieces, offset: first * piece, data: data, landed: make(chan struct{})}
	for i := first; i < first+pieces; i++ {
		f.segments[i] = s
	}
	c.fetches.Add(1)
	return s
}

// fetch fetches a segment.
func (c *cache) fetch(s *segment, content Content) {
	n, err := content.ReadAt(s.data, s.offset)
	if n == len(s.data) {
		err = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.err = unexpected(err); s.err == nil {
		s.in = &c.recent
		s.at = s.in.PushFront(s)
	} else {
		c.drop(s) // nobody looks at data after an error
	}
	close(s.landed)
	c.freed.Broadcast()
}

// release ends what a reader does with a segment, after it has read up to end.
func (c *cache) release(s *segment, end int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.readers--
	if s.in == nil {
		return
	}
	s.touched = true
	s.in.Remove(s.at)
	if end >= s.offset+int64(len(s.data)) {
		s.in = &c.done
		s.at = s.in.PushBack(s)
	} else {
		s.in = &c.recent
		s.at = s.in.PushFront(s)
	}
	if s.readers == 0 {
		c.freed.Broadcast()
	}
}

// wait waits until a segment has landed.
func (s *segment) wait(ctx context.Context) error {
	select {
	case <-s.landed:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
