package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
)

// Open opens the output for reading. The files it is made of are opened when
// they are first read, and closed with the result. Reads may be concurrent. ctx
// is for opening them, and must last as long as the reading.
func (o *Output) Open(ctx context.Context) (*Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &Reader{ctx: ctx, parts: o.Parts, ends: make([]int64, len(o.Parts)), open: make(map[*File]ReaderAtCloser)}
	for i, p := range o.Parts {
		r.size += p.Length
		r.ends[i] = r.size
	}
	return r, nil
}

// A Reader reads an [Output]. It lives for one reading, and keeps the context
// for that long.
type Reader struct {
	ctx   context.Context
	parts []Part
	ends  []int64 // of each part in the output
	size  int64

	mu     sync.Mutex
	open   map[*File]ReaderAtCloser
	closed bool
}

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: negative offset", off)
	}
	n := 0
	for i := sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > off }); i < len(r.parts) && n < len(p); i++ {
		if err := r.ctx.Err(); err != nil {
			return n, err
		}
		part := r.parts[i]
		skip := off + int64(n) - (r.ends[i] - part.Length)
		want := p[n:][:min(int64(len(p)-n), part.Length-skip)]
		if part.Data != nil {
			n += copy(want, part.Data[skip:])
			continue
		}
		k, err := r.read(part.File, want, part.Offset+skip)
		n += k
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read fills p from a file.
func (r *Reader) read(f *File, p []byte, off int64) (int, error) {
	src, err := r.source(f)
	if err != nil {
		return 0, err
	}
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the part was inside the file
	}
	return n, fmt.Errorf("read %s: %w", f.Path, err)
}

func (r *Reader) source(f *File) (ReaderAtCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.New("read after close")
	}
	if src := r.open[f]; src != nil {
		return src, nil
	}
	src, err := f.Open(r.ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Path, err)
	}
	r.open[f] = src
	return src, nil
}

// Close closes the files. The error is the first of theirs.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	for f, src := range r.open {
		errs = append(errs, src.Close())
		delete(r.open, f)
	}
	return errors.Join(errs...)
}
