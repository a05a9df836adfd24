package transfer

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

const (
	// bufferBytes is how much is read, hashed and written at once. The 32 KiB
	// of io.Copy cost two fifths of the time.
	bufferBytes = 1 << 20

	// checkpointBytes is how much is fetched between two checkpoints.
	checkpointBytes = 64 << 20
)

// A fetcher brings blobs into partials, one after the other.
type fetcher struct {
	src   content.Fetcher
	limit *throttle
	buf   []byte // made for the first blob, kept for the next
}

// A position is how far the fetch of one blob has come.
type position struct {
	n     int64     // bytes that are in the partial
	state hash.Hash // of those bytes
	saved int64     // n at the last checkpoint

	copied   int64     // of n, from segments
	segments []Segment // that are still to be copied, past n
}

// fetch fills p with the blob and returns when its digest is right.
func (f *fetcher) fetch(ctx context.Context, p Partial, segments []Segment, tell teller) error {
	pos, err := resume(p, tell)
	if err != nil {
		return err
	}
	tell.event(Event{Action: Start, Bytes: pos.n})
	pos.segments = segments
	for again := true; ; {
		err := f.fill(ctx, p, &pos, tell)
		if err == nil {
			err = verify(pos, tell)
		}
		if err == nil || !errors.Is(err, content.ErrMismatchedDigest) {
			return err
		}
		reused := pos.copied > 0
		// Wrong bytes are never kept, or the next run would go on from them.
		if failed := f.restart(p, &pos, tell); failed != nil {
			return errors.Join(err, failed)
		}
		// What was copied is not the source's fault, and a source with several
		// places to read from gets a try for each.
		if d, ok := f.src.(Distruster); !reused && (!ok || !d.Distrust(tell.desc)) {
			if !again {
				return err
			}
			again = false
		}
		tell.event(Event{Action: Retry, Err: err})
	}
}

// resume takes what an earlier run left, or begins.
func resume(p Partial, tell teller) (position, error) {
	n, state, err := p.Resume()
	if err != nil {
		return position{}, err
	}
	if n > 0 && n <= tell.desc.Size && state != nil {
		return position{n: n, state: state, saved: n}, nil
	}
	if n > 0 {
		if err := p.Reset(); err != nil {
			return position{}, err
		}
	}
	return position{state: tell.desc.Digest.Algorithm().Hash()}, nil
}

// restart throws away what was fetched.
func (f *fetcher) restart(p Partial, pos *position, tell teller) error {
	tell.moved(pos.copied - pos.n)
	tell.copied(-pos.copied)
	*pos = position{state: tell.desc.Digest.Algorithm().Hash()}
	return p.Reset()
}

func verify(pos position, tell teller) error {
	alg := tell.desc.Digest.Algorithm()
	if got := digest.NewDigest(alg, pos.state); got != tell.desc.Digest {
		return &DigestError{Name: tell.title(), Desc: tell.desc, Got: got, Size: pos.n}
	}
	return nil
}

// fill fetches until all bytes are there, over as many connections as it
// takes.
func (f *fetcher) fill(ctx context.Context, p Partial, pos *position, tell teller) error {
	var pace pacer
	best := pos.n
	for pos.n < tell.desc.Size {
		err := f.step(ctx, p, pos, tell)
		if err == nil {
			continue
		}
		// Only new ground counts: a source that always breaks at the same
		// byte must not keep us for ever.
		if pos.n > best {
			best = pos.n
			pace.progress()
		}
		if (pos.n > 0 || len(pos.segments) > 0) && errors.Is(err, errdef.ErrUnsupported) {
			// The source gives whole blobs only.
			err = errFromStart
			if failed := f.restart(p, pos, tell); failed != nil {
				return failed
			}
		}
		if stop := pace.again(ctx, err); stop != nil {
			return withProgress(stop, p, pos)
		}
		tell.event(Event{Action: Retry, Err: err})
	}
	return nil
}

// withProgress returns err after recording how far the fetch has come.
func withProgress(err error, p Partial, pos *position) error {
	if failed := checkpoint(p, pos); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}

// checkpoint records how far the fetch has come, so that the next run can go
// on from there.
func checkpoint(p Partial, pos *position) error {
	if pos.n == pos.saved {
		return nil
	}
	if err := p.Checkpoint(pos.n, pos.state); err != nil {
		return fmt.Errorf("record progress: %w", err)
	}
	pos.saved = pos.n
	return nil
}

// step copies the segment that begins at pos, or fetches up to the next one.
func (f *fetcher) step(ctx context.Context, p Partial, pos *position, tell teller) error {
	segs := dropBefore(pos.segments, pos.n)
	pos.segments = segs
	end := tell.desc.Size
	if len(segs) > 0 {
		if end = segs[0].Offset; end == pos.n {
			pos.segments = segs[1:]
			return f.copySegment(ctx, p, pos, segs[0], tell)
		}
	}
	return f.stream(ctx, p, pos, end, tell)
}

// stream fetches over one connection, from pos to end.
func (f *fetcher) stream(ctx context.Context, p Partial, pos *position, end int64, tell teller) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rc, err := f.open(ctx, pos, end, tell)
	if err != nil {
		return err
	}
	defer rc.Close()
	watch := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer watch.Stop()
	buf := f.limit.piece(f.buffer())
	for pos.n < end {
		watch.Reset(stallTimeout)
		n, err := rc.Read(buf[:min(int64(len(buf)), end-pos.n)])
		watch.Stop()
		if err := f.take(p, pos, buf[:n], tell); err != nil {
			return err
		}
		if err := f.limit.wait(ctx, n); err != nil {
			return err
		}
		switch {
		case pos.n == end && end < tell.desc.Size:
			return nil
		case pos.n == tell.desc.Size:
			watch.Reset(stallTimeout)
			return nothingMore(rc, tell)
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return stalled(ctx, err)
		}
	}
	return nil
}

// nothingMore looks behind the last byte: a blob that only begins with the
// right bytes is another one. A source that breaks there has given all.
func nothingMore(rc io.Reader, tell teller) error {
	var extra [1]byte
	n, err := io.ReadFull(rc, extra[:])
	if n > 0 {
		return &DigestError{Name: tell.title(), Desc: tell.desc, Size: tell.desc.Size + 1}
	}
	if errors.Is(err, content.ErrMismatchedDigest) {
		return err
	}
	return nil
}

// stalled returns errStalled if that is why ctx was cancelled.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// open opens the blob from pos to end.
func (f *fetcher) open(ctx context.Context, pos *position, end int64, tell teller) (io.ReadCloser, error) {
	if pos.n == 0 && end == tell.desc.Size {
		return f.src.Fetch(ctx, tell.desc)
	}
	if r, ok := f.src.(RangeFetcher); ok {
		return r.FetchRange(ctx, tell.desc, pos.n, end-pos.n)
	}
	return nil, fmt.Errorf("read from %d: %w", pos.n, errdef.ErrUnsupported)
}

// take hashes and writes one piece that was fetched.
func (f *fetcher) take(p Partial, pos *position, piece []byte, tell teller) error {
	if len(piece) == 0 {
		return nil
	}
	if err := put(p, pos, piece); err != nil {
		return err
	}
	tell.moved(int64(len(piece)))
	return nil
}

// put hashes and writes one piece.
func put(p Partial, pos *position, piece []byte) error {
	if _, err := p.WriteAt(piece, pos.n); err != nil {
		return err
	}
	pos.state.Write(piece)
	pos.n += int64(len(piece))
	if pos.n-pos.saved >= checkpointBytes {
		return checkpoint(p, pos)
	}
	return nil
}
