package coding

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// A Region is a run of numbers in a file.
type Region struct {
	Offset, Length int64
	Type           Type

	// HasBase tells that the base file has numbers of the same type at Base,
	// as many, that are expected to be close to these.
	HasBase bool
	Base    int64
}

// EncodeOptions adjusts [Encode]. The zero value codes without a base.
type EncodeOptions struct {
	// Base is the file that regions may be compared with. It is read from
	// several goroutines.
	Base io.ReaderAt

	// Workers is how many frames are coded at once. Zero means as many as
	// there are CPUs, eight at most.
	Workers int
}

// Encode reads the size bytes of src and writes their coding to dst. Regions
// say what is in the file, in order and without overlap; what is between them
// is coded as bytes. The same arguments give the same coding. Memory is a few
// MiB for each worker.
func Encode(ctx context.Context, dst io.Writer, src io.Reader, size int64, regions []Region, opts EncodeOptions) error {
	if err := checkRegions(size, regions, opts.Base != nil); err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint64([]byte(magic), uint64(size))
	if _, err := dst.Write(head); err != nil {
		return fmt.Errorf("write coding: %w", err)
	}
	c := &cutter{size: size, regions: regions}
	p := pipeline{workers: workersOf(opts.Workers)}
	p.produce = func(f *frame) error {
		if !c.next(f) {
			return io.EOF
		}
		if _, err := io.ReadFull(src, f.plain); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read: %w", err)
		}
		return nil
	}
	p.work = func(c *coder, f *frame) error { return c.encodeFrame(f, opts.Base) }
	p.consume = func(f *frame) error {
		if _, err := dst.Write(f.coded); err != nil {
			return fmt.Errorf("write coding: %w", err)
		}
		return nil
	}
	return p.run(ctx)
}

func checkRegions(size int64, regions []Region, base bool) error {
	var pos int64
	for _, r := range regions {
		if r.Offset < pos || r.Length < 0 || r.Length > size-r.Offset {
			return fmt.Errorf("region of %d bytes at %d: out of order, or of a file of %d", r.Length, r.Offset, size)
		}
		if int(r.Type) >= len(widths) || r.HasBase && (!base || r.Base < 0) {
			return fmt.Errorf("region at %d: no such type or base", r.Offset)
		}
		pos = r.Offset + r.Length
	}
	return nil
}

// A cutter cuts a file into frames.
type cutter struct {
	size    int64
	pos     int64
	regions []Region
}

// next makes f the next frame, and reports false at the end of the file.
func (c *cutter) next(f *frame) bool {
	for len(c.regions) > 0 && c.regions[0].Offset+c.regions[0].Length <= c.pos {
		c.regions = c.regions[1:]
	}
	if c.pos == c.size {
		return false
	}
	f.kind, f.hasBase, f.base = Bytes, false, 0
	end := c.size
	if len(c.regions) > 0 {
		r := c.regions[0]
		if end = r.Offset; c.pos >= r.Offset {
			end = r.Offset + r.Length
			f.kind, f.hasBase, f.base = r.Type, r.HasBase, r.Base+c.pos-r.Offset
		}
	}
	n := min(end-c.pos, frameBytes)
	if width := int64(f.kind.width()); n >= width {
		n -= n % width
	} else {
		f.kind, f.hasBase = Bytes, false // half a number
	}
	f.plain = grow(f.plain, int(n))
	c.pos += n
	return true
}

// DecodeOptions adjusts [Decode].
type DecodeOptions struct {
	// Base is the file that was given to [Encode]. It is read from several
	// goroutines.
	Base io.ReaderAt

	// Workers is how many frames are decoded at once. Zero means as many as
	// there are CPUs, eight at most.
	Workers int
}

// Decode writes to dst what was encoded in src, which must be size bytes; src
// is read to its end. The error wraps [ErrMalformed] if src is no coding of so
// many bytes; dst may have got some of them then. The caller compares the
// digest of what it got.
func Decode(ctx context.Context, dst io.Writer, src io.Reader, size int64, opts DecodeOptions) error {
	d := &splitter{src: src, left: size}
	if err := d.start(); err != nil {
		return err
	}
	p := pipeline{workers: workersOf(opts.Workers), produce: d.next}
	p.work = func(c *coder, f *frame) error { return c.decodeFrame(f, opts.Base) }
	p.consume = func(f *frame) error {
		if _, err := dst.Write(f.plain); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	return p.run(ctx)
}

// A splitter takes a stream apart into frames.
type splitter struct {
	src  io.Reader
	left int64 // decoded bytes to come
}

func (d *splitter) start() error {
	var head [streamHead]byte
	if err := d.read(head[:]); err != nil {
		return err
	}
	if string(head[:8]) != magic {
		return malformed("no magic %s", magic)
	}
	if n := binary.LittleEndian.Uint64(head[8:]); d.left < 0 || n != uint64(d.left) {
		return malformed("a coding of %d bytes instead of %d", n, d.left)
	}
	return nil
}

// next reads a frame.
func (d *splitter) next(f *frame) error {
	if d.left == 0 {
		return d.end()
	}
	var head [frameHead]byte
	if err := d.read(head[:]); err != nil {
		return err
	}
	plain, coded := int64(binary.LittleEndian.Uint32(head[4:])), binary.LittleEndian.Uint32(head[8:])
	f.kind, f.hasBase = Type(head[0]&^difference), head[0]&difference != 0
	base := binary.LittleEndian.Uint64(head[12:])
	switch {
	case int(f.kind) >= len(widths) || head[1]|head[2]|head[3] != 0:
		return malformed("unknown kind of frame %d", head[:4])
	case plain == 0 || plain > frameBytes || plain > d.left || plain%int64(f.kind.width()) != 0:
		return malformed("a frame of %d bytes, with %d to come", plain, d.left)
	case coded > maxCoded:
		return malformed("a frame takes %d bytes", coded)
	case base > 1<<62 || !f.hasBase && base != 0:
		return malformed("offset %d in the base", base)
	}
	f.base = int64(base)
	f.plain = grow(f.plain, int(plain))
	if cap(f.coded) < int(coded) {
		f.coded = make([]byte, coded, maxCoded)
	}
	f.coded = f.coded[:coded]
	d.left -= plain
	return d.read(f.coded)
}

// end makes sure that nothing follows.
func (d *splitter) end() error {
	var b [1]byte
	switch n, err := io.ReadFull(d.src, b[:]); {
	case n > 0:
		return malformed("bytes after the last frame")
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("read coding: %w", err)
	}
	return io.EOF
}

func (d *splitter) read(b []byte) error {
	_, err := io.ReadFull(d.src, b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("the coding ends too early")
	}
	return fmt.Errorf("read coding: %w", err)
}

// A pipeline takes frames in order through workers: one goroutine produces
// them, one consumes them.
type pipeline struct {
	workers int
	produce func(*frame) error // io.EOF at the end
	work    func(*coder, *frame) error
	consume func(*frame) error
}

func (p *pipeline) run(ctx context.Context) error {
	frames := 2 * p.workers
	free, todo, order := make(chan *frame, frames), make(chan *frame, frames), make(chan *frame, frames)
	for range frames {
		free <- &frame{done: make(chan struct{}, 1)}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(todo)
		defer close(order)
		for {
			f, err := receive(ctx, free)
			if err != nil {
				return err
			}
			if err := p.produce(f); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			todo <- f // there is room for all
			order <- f
		}
	})
	for range p.workers {
		g.Go(func() error {
			c := new(coder)
			for f := range todo {
				f.err = p.work(c, f)
				f.done <- struct{}{}
			}
			return nil
		})
	}
	g.Go(func() error {
		for f := range order {
			<-f.done
			if f.err != nil {
				return f.err
			}
			if err := p.consume(f); err != nil {
				return err
			}
			free <- f
		}
		return nil
	})
	return g.Wait()
}

// receive waits for a frame, or the end of ctx.
func receive(ctx context.Context, from <-chan *frame) (*frame, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case f := <-from:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
