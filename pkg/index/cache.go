package index

import (
	"container/list"
	"sync"
)

// A cacheKey names what is kept: the postings of a term or a pair, or a block of
// a column.
type cacheKey struct {
	table byte // 'p', 'b' for beginnings, 'c', 'm' for metrics, 'a' for access
	id    int64
}

// A cached value was read in some generation of the index. Nothing changes it.
type cached struct {
	key        cacheKey
	epoch      int64
	generation int64
	next       int64 // number of the next version, then
	value      any
	size       int64
}

// A cache keeps what was read, and forgets what was not used for longest. It may
// be used from several goroutines.
type cache struct {
	mu    sync.Mutex
	limit int64
	used  int64
	order *list.List // of *cached, the last used first
	byKey map[cacheKey]*list.Element
}

func newCache(limit int64) *cache {
	if limit == 0 {
		limit = DefaultCache
	}
	return &cache{limit: limit, order: list.New(), byKey: map[cacheKey]*list.Element{}}
}

func (c *cache) get(key cacheKey) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached)
}

// put keeps v, unless something newer is kept under its key.
func (c *cache) put(v *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[v.key]; ok {
		old := e.Value.(*cached)
		if old.epoch > v.epoch || old.epoch == v.epoch && old.generation > v.generation {
			return
		}
		c.used -= old.size
		c.order.Remove(e)
	}
	c.byKey[v.key] = c.order.PushFront(v)
	c.used += v.size
	for c.used > c.limit && c.order.Len() > 0 {
		last := c.order.Back()
		old := c.order.Remove(last).(*cached)
		delete(c.byKey, old.key)
		c.used -= old.size
	}
}
