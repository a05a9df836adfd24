package source

import (
	"context"
	"errors"
	"io"
)

// What is fetched ahead of what is read. Hubs give a connection so much and no
// more, and several connections several times as much.
const (
	aheadPart = 4 << 20 // bytes of one request
	aheadMost = 8       // such parts in memory, of all files of a model
	aheadLess = 2       // of one file, while its reader has not had to wait
	minAhead  = 8 * aheadPart
)

// errNoRanges says that a server sends whole files whatever it is asked for.
var errNoRanges = errors.New("the server knows no ranges")

// A window is the room for what is fetched ahead. It is shared by the files of
// a model, and bounds the memory of all of them.
type window chan []byte

func newWindow() window {
	w := make(window, aheadMost)
	for range aheadMost {
		w <- nil // made when it is first used
	}
	return w
}

// opener returns an opener of a file of size bytes. Its readers fetch the next
// parts with part, each over a connection of its own, while one is read, as far
// as there is room: two, and more as long as whoever reads has to wait for them.
// What cannot be had so is read with plain.
func (w window) opener(size int64, plain, part Opener) Opener {
	return func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		end := size
		if length >= 0 {
			end = min(end, offset+length)
		}
		if offset < 0 || end-offset < minAhead {
			return plain(ctx, offset, length)
		}
		// The first part tells whether there is a file at all.
		first, err := plain(ctx, offset, aheadPart)
		if err != nil {
			return nil, err
		}
		r := &aheadReader{window: w, plain: plain, part: part, body: first, pos: offset, next: offset + aheadPart, end: end, last: offset + aheadPart, most: aheadLess}
		r.ctx, r.stop = context.WithCancel(ctx)
		return r, nil
	}
}

// An aheadReader reads a file part by part. It lives for one reading, and keeps
// the context for that long. Only one goroutine calls its methods.
type aheadReader struct {
	ctx         context.Context
	stop        context.CancelFunc
	window      window
	plain, part Opener

	body   io.ReadCloser // of the part that is being read
	pos    int64         // of the next byte to be read
	last   int64         // end of that part
	next   int64         // where the parts that are not asked for begin
	end    int64
	ahead  []*aheadFetch
	most   int  // of these at once
	ready  int  // how many parts were there in time, one after the other
	single bool // nothing more is fetched ahead
	err    error
}

// An aheadFetch is a part on its way into memory.
type aheadFetch struct {
	offset, length int64
	buf            []byte
	done           chan struct{}
	err            error
}

// Read implements [io.Reader].
func (r *aheadReader) Read(p []byte) (int, error) {
	for {
		if r.pos == r.end {
			return 0, io.EOF
		}
		r.fill()
		if r.body == nil && r.err == nil {
			r.err = r.turn()
		}
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.last-r.pos)])
		r.pos += int64(n)
		if r.pos == r.last {
			err = r.body.Close()
			r.body = nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		r.err = err
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// fill asks for more parts while there is room.
func (r *aheadReader) fill() {
	for !r.single && r.next < r.end && len(r.ahead) < r.most {
		select {
		case buf := <-r.window:
			f := &aheadFetch{offset: r.next, length: min(aheadPart, r.end-r.next), buf: buf, done: make(chan struct{})}
			r.next += f.length
			r.ahead = append(r.ahead, f)
			go r.fetch(f)
		default:
			return
		}
	}
}

func (r *aheadReader) fetch(f *aheadFetch) {
	defer close(f.done)
	rc, err := r.part(r.ctx, f.offset, f.length)
	if err != nil {
		f.err = err
		return
	}
	defer rc.Close()
	if f.buf == nil {
		f.buf = make([]byte, aheadPart)
	}
	_, f.err = io.ReadFull(rc, f.buf[:f.length])
}

// turn begins with the next part: one that was fetched ahead, or else one that
// is read as it comes.
func (r *aheadReader) turn() (err error) {
	if len(r.ahead) == 0 {
		n := min(aheadPart, r.end-r.next)
		if r.single {
			n = r.end - r.next
		}
		r.next += n
		r.last = r.next
		r.body, err = r.plain(r.ctx, r.pos, n)
		return err
	}
	f := r.ahead[0]
	r.govern(f)
	select {
	case <-f.done:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	r.ahead = r.ahead[1:]
	r.last = f.offset + f.length
	if f.err == nil {
		r.body = &aheadBody{rest: f.buf[:f.length], buf: f.buf, window: r.window}
		return nil
	}
	r.window <- f.buf
	if errors.Is(f.err, errNoRanges) {
		r.drop()
		r.single, r.last, r.next = true, r.end, r.end
	}
	r.body, err = r.plain(r.ctx, r.pos, r.last-r.pos)
	return err
}

// govern has more parts fetched at once if the next one is not there when it is
// needed, and fewer if many in a row were: whoever reads is the slower one then.
func (r *aheadReader) govern(next *aheadFetch) {
	select {
	case <-next.done:
		if r.ready++; r.ready > 2*r.most {
			r.most, r.ready = max(r.most/2, aheadLess), 0
		}
	default:
		r.most, r.ready = min(2*r.most, aheadMost), 0
	}
}

// drop gives up what was asked for ahead.
func (r *aheadReader) drop() {
	for _, f := range r.ahead {
		<-f.done
		r.window <- f.buf
	}
	r.ahead = nil
}

// Close ends the requests under way and waits for them.
func (r *aheadReader) Close() error {
	r.stop()
	r.drop()
	r.pos = r.end
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}

// An aheadBody is a part in memory.
type aheadBody struct {
	rest, buf []byte
	window    window
}

func (b *aheadBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close makes room for another part. It is called once.
func (b *aheadBody) Close() error {
	b.window <- b.buf
	return nil
}
