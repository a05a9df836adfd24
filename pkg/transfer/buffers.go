package transfer

import "sync"

// buffers are kept for the next one who needs one of the same size.
type buffers struct {
	mu   sync.Mutex
	free map[int][][]byte // by size
	made int64            // bytes of all buffers, free or not
}

// take returns a buffer of size bytes, which is bufferBytes or helperBytes.
func (b *buffers) take(size int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if free := b.free[size]; len(free) > 0 {
		buf := free[len(free)-1]
		b.free[size] = free[:len(free)-1]
		return buf
	}
	b.made += int64(size)
	return make([]byte, size)
}

// give takes back a buffer, or the first part of one.
func (b *buffers) give(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free == nil {
		b.free = make(map[int][][]byte)
	}
	b.free[cap(buf)] = append(b.free[cap(buf)], buf[:cap(buf)])
}
