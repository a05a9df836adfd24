package mount

import (
	"container/list"
	"sync"
)

const (
	// maxOpen is how many contents stay open that nobody reads at the moment,
	// and maxHeld how many bytes of memory all that are open may take, but for
	// the last one and those that are read.
	maxOpen = 32
	maxHeld = 64 << 20
)

// An opened is the contents that are open, of an FS.
type opened struct {
	mu     sync.Mutex
	recent list.List // of files, the one that was read last in front
	memory int64     // of all, in bytes
}

// use begins a read of a file that is open; the content is nil if it is not.
func (o *opened) use(f *file) Content {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.content == nil {
		return nil
	}
	f.users++
	o.recent.MoveToFront(f.at)
	return f.content
}

// add makes a file one that is open, and begins a read of it.
func (o *opened) add(f *file, c Content) {
	o.mu.Lock()
	f.content, f.memory, f.users = c, c.Memory(), 1
	f.at = o.recent.PushFront(f)
	o.memory += f.memory
	over := o.excess()
	o.mu.Unlock()
	closeAll(over)
}

// release ends a read.
func (o *opened) release(f *file) {
	o.mu.Lock()
	f.users--
	over := o.excess()
	o.mu.Unlock()
	closeAll(over)
}

// remove makes a file one that is not open, and returns what is to be closed then;
// nil if it was not. It is called with the lock.
func (o *opened) remove(f *file) Content {
	c := f.content
	if c == nil {
		return nil
	}
	o.recent.Remove(f.at)
	o.memory -= f.memory
	f.content, f.at = nil, nil
	return c
}

// excess removes those that were read longest ago, while there are too many. It is
// called with the lock, and what it returns is closed without it.
func (o *opened) excess() (over []Content) {
	for e := o.recent.Back(); e != nil && e != o.recent.Front() && (o.recent.Len() > maxOpen || o.memory > maxHeld); {
		f := e.Value.(*file)
		e = e.Prev()
		if f.users == 0 {
			over = append(over, o.remove(f))
		}
	}
	return over
}

func closeAll(over []Content) {
	for _, c := range over {
		_ = c.Close() // nothing was written, and it is opened again when it is needed
	}
}

// open opens the content if it is not open, and begins a read of it. Others who
// need it wait.
func (f *file) open() (Content, error) {
	if err := f.fs.ctx.Err(); err != nil {
		return nil, err
	}
	if c := f.fs.open.use(f); c != nil {
		return c, nil
	}
	f.opening.Lock()
	defer f.opening.Unlock()
	if err := f.fs.ctx.Err(); err != nil {
		return nil, err
	}
	if c := f.fs.open.use(f); c != nil {
		return c, nil
	}
	c, err := f.Open(f.fs.ctx)
	if err != nil {
		return nil, err
	}
	f.fs.open.add(f, c)
	return c, nil
}

// close closes the content whoever reads it.
func (f *file) close() error {
	f.opening.Lock()
	defer f.opening.Unlock()
	f.fs.open.mu.Lock()
	c := f.fs.open.remove(f)
	f.fs.open.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Close()
}
