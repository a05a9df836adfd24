package artifact

import "container/list"

// A cache keeps the pieces that were used last. It is for one goroutine at a
// time.
type cache struct {
	limit, size int64
	byNumber    map[int]*list.Element
	order       *list.List // of cached, the last used in front
}

type cached struct {
	number int
	data   []byte
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, byNumber: make(map[int]*list.Element), order: list.New()}
}

func (c *cache) has(i int) bool { return c.byNumber[i] != nil }

func (c *cache) get(i int) ([]byte, bool) {
	e := c.byNumber[i]
	if e == nil {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).data, true
}

// put keeps a piece, and drops those that were not used for longest. One
// stays, however large it is.
func (c *cache) put(i int, data []byte) {
	if c.has(i) {
		return
	}
	c.byNumber[i] = c.order.PushFront(cached{i, data})
	c.size += int64(len(data))
	for c.size > c.limit && c.order.Len() > 1 {
		e := c.order.Back()
		last := c.order.Remove(e).(cached)
		delete(c.byNumber, last.number)
		c.size -= int64(len(last.data))
	}
}
