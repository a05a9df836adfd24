package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// fillTime is how long a buffer is filled before what is in it is written.
const fillTime = 250 * time.Millisecond

// errWhole says that the source gives a blob whole, and from its start.
var errWhole = fmt.Errorf("read a part: %w", errdef.ErrUnsupported)

// An opener opens length bytes of one blob from offset. The reader may begin at
// the start of the blob, and then goes to its end.
type opener = func(ctx context.Context, offset, length int64) (rc io.ReadCloser, from int64, err error)

// openerOf returns how parts of the blob are read from src, and whether there
// is hope that they can be.
func openerOf(src content.Fetcher, desc ocispec.Descriptor) (open opener, parts bool) {
	if l, ok := src.(Locator); ok {
		return l.Locate(desc), true
	}
	r, parts := src.(RangeFetcher)
	return func(ctx context.Context, offset, length int64) (io.ReadCloser, int64, error) {
		if !parts || length == desc.Size {
			rc, err := src.Fetch(ctx, desc)
			return rc, 0, err
		}
		rc, err := r.FetchRange(ctx, desc, offset, length)
		return rc, offset, err
	}, parts
}

// A conn reads one answer of the source.
type conn struct {
	io.ReadCloser
	link   *link
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer // for bytes that do not come
}

func newConn(ctx context.Context, cancel context.CancelCauseFunc, rc io.ReadCloser, l *link) *conn {
	c := &conn{ReadCloser: rc, link: l, ctx: ctx, cancel: cancel}
	c.watch = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	c.watch.Stop()
	return c
}

func (c *conn) close() {
	c.watch.Stop()
	c.cancel(nil)
	_ = c.ReadCloser.Close() // it was only read
}

// fill reads until buf is full, or for a moment. It returns what came together
// with the error that ended it.
func (c *conn) fill(buf []byte) (n int, err error) {
	for began := time.Now(); n < len(buf); {
		c.watch.Reset(stallTimeout)
		m, err := c.Read(c.link.limit.throttle.piece(buf[n:]))
		c.watch.Stop()
		n += m
		c.link.received.Add(int64(m))
		if err != nil {
			return n, c.why(err)
		}
		if err := c.link.limit.throttle.wait(c.ctx, m); err != nil {
			return n, err
		}
		if time.Since(began) > fillTime {
			break
		}
	}
	return n, nil
}

// why returns errStalled if that is why reading failed.
func (c *conn) why(err error) error {
	if errors.Is(context.Cause(c.ctx), errStalled) {
		return errStalled
	}
	return err
}

// nothingMore looks behind the last byte of a blob: one that only begins with
// the right bytes is another one. A source that breaks there has given all.
func (c *conn) nothingMore(tell teller) error {
	c.watch.Reset(stallTimeout)
	var extra [1]byte
	n, err := io.ReadFull(c, extra[:])
	if n > 0 || errors.Is(err, content.ErrMismatchedDigest) {
		return &DigestError{Name: tell.title(), Desc: tell.desc, Size: tell.desc.Size + 1}
	}
	return nil
}

// fetchRun fetches what the leader took.
func (b *blob) fetchRun(ctx context.Context, r *run) error {
	if err := b.link.limit.enter(ctx); err != nil {
		b.leave(r)
		return err
	}
	defer b.link.limit.exit()
	if b.wholeNow() {
		// A helper may have found out since the run was taken: what is in a run
		// would not be taken out of the answer that has all.
		b.leave(r)
		c, _, err := b.link.open(ctx, b, span{0, b.tell.desc.Size})
		if err != nil {
			return err
		}
		defer c.close()
		return b.absorb(ctx, c)
	}
	return b.stream(ctx, r)
}

// stream fetches a run over one connection, and gives it back.
func (b *blob) stream(ctx context.Context, r *run) error {
	c, from, err := b.link.open(ctx, b, b.wanted(r))
	if err != nil {
		b.leave(r)
		return err
	}
	defer c.close()
	if from != r.pos {
		b.leave(r)
		b.wholeOnly()
		if r.helper {
			return errWhole
		}
		return b.absorb(ctx, c)
	}
	defer b.leave(r)
	b.opened(r)
	for {
		if done, err := b.step(ctx, c, r); done || err != nil {
			return err
		}
	}
}

// step reads and writes one buffer of a run.
func (b *blob) step(ctx context.Context, c *conn, r *run) (done bool, err error) {
	buf := b.link.buffers.take(r.buffer())
	n, err := c.fill(buf[:b.share(r)])
	if n == 0 {
		b.link.buffers.give(buf)
	} else if failed := b.write(ctx, r, buf[:n]); failed != nil {
		return true, failed
	}
	end, all := b.reached(r)
	switch {
	case end && all:
		return true, c.nothingMore(b.tell)
	case end:
		return true, nil
	case err == io.EOF:
		return true, io.ErrUnexpectedEOF
	}
	return false, err
}

// wanted returns what is to be asked for: others may take over some of it.
func (b *blob) wanted(r *run) span {
	b.mu.Lock()
	defer b.mu.Unlock()
	return span{r.pos, r.end}
}

// share returns how much of the run is to be read at once: up to the next whole
// buffer, so that after a short one disks get whole blocks again.
func (b *blob) share(r *run) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := int64(r.buffer())
	return min(size-r.pos%size, r.left())
}

// opened notes that the source gives all of the run.
func (b *blob) opened(r *run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.to = r.end
}

// reached tells whether the run is at its end, and whether that is the end of
// the blob too.
func (b *blob) reached(r *run) (end, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.pos == r.end, r.pos == b.tell.desc.Size
}

// write writes what came for a run, and hands it to the hash if that has come
// so far. It takes the buffer.
func (b *blob) write(ctx context.Context, r *run, buf []byte) error {
	n := int64(len(buf))
	if err := b.put(ctx, r.pos, buf, &r.tally); err != nil {
		b.cancel(err) // a disk that fails fails all
		return err
	}
	b.mu.Lock()
	r.pos += n
	b.told += n
	b.mu.Unlock()
	b.tell.moved(n)
	return nil
}

// absorb takes what is missing out of an answer that has all of the blob.
func (b *blob) absorb(ctx context.Context, c *conn) error {
	size := b.tell.desc.Size
	buf := b.link.buffers.take(bufferBytes)
	defer b.link.buffers.give(buf)
	for pos := int64(0); pos < size; {
		n, err := c.fill(buf[:min(bufferBytes, size-pos, nextPart(pos)-pos)])
		more, failed := b.pick(ctx, pos, buf[:n])
		pos += int64(n)
		switch {
		case failed != nil:
			return failed
		case pos == size:
			return c.nothingMore(b.tell)
		case !more:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// pick writes what is missing of the bytes at pos, and tells whether more is.
func (b *blob) pick(ctx context.Context, pos int64, data []byte) (more bool, err error) {
	b.mu.Lock()
	wanted := b.missing.within(span{pos, pos + int64(len(data))})
	b.mu.Unlock()
	for _, s := range wanted {
		r := b.seize(s)
		buf := b.link.buffers.take(bufferBytes)
		err := b.write(ctx, r, buf[:copy(buf, data[s.off-pos:s.end-pos])])
		b.leave(r)
		if err != nil {
			return false, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.missing) > 0, nil
}
