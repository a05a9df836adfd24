package transfer

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
)

// joinBytes is how close two gaps between segments may lie to each other to be
// fetched as one: a request of its own is dearer than a few bytes twice.
const joinBytes = 64 << 10

// A Segment is a part of a blob that can be had without the source.
type Segment struct {
	Offset, Length int64         // in the blob, bytes
	From           io.ReaderAt   // where the bytes lie; read from several goroutines
	At             int64         // in From, bytes
	Digest         digest.Digest // of these bytes
}

// end returns the offset behind the segment.
func (s Segment) end() int64 { return s.Offset + s.Length }

// localSegments asks a job for what is on this machine. What makes no sense
// is left out: it will be fetched.
func localSegments(ctx context.Context, j Job) []Segment {
	if j.Local == nil {
		return nil
	}
	given, err := j.Local(ctx)
	if err != nil {
		return nil
	}
	var segs []Segment
	end := int64(0)
	for _, s := range given {
		if s.Offset < end || s.Length <= 0 || s.Length > j.Desc.Size-s.Offset || s.At < 0 ||
			s.From == nil || s.Digest.Validate() != nil {
			continue
		}
		segs = append(segs, s)
		end = s.end()
	}
	return joinGaps(segs, j.Desc.Size)
}

// joinGaps leaves out segments that are shorter than a request is worth and
// have gaps on both sides.
func joinGaps(segs []Segment, size int64) []Segment {
	kept := segs[:0]
	for i := 0; i < len(segs); {
		next := i + 1
		for next < len(segs) && segs[next].Offset == segs[next-1].end() {
			next++
		}
		first, last := segs[i].Offset, segs[next-1].end()
		// Before the first byte and after the last there is nothing to join.
		if first == 0 || last == size || last-first >= joinBytes {
			kept = append(kept, segs[i:next]...)
		}
		i = next
	}
	return kept
}

// dropBefore returns the segments that lie whole at or past n.
func dropBefore(segs []Segment, n int64) []Segment {
	for len(segs) > 0 && segs[0].Offset < n {
		segs = segs[1:]
	}
	return segs
}

// copySegment copies one segment, if its bytes are right.
func (f *fetcher) copySegment(ctx context.Context, p Partial, pos *position, s Segment, tell teller) error {
	if !intact(ctx, s, f.buffer()) {
		return ctx.Err() // it will be fetched
	}
	for at := s.At; pos.n < s.end(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := f.buffer()[:min(bufferBytes, s.end()-pos.n)]
		if n, err := s.From.ReadAt(piece, at); n < len(piece) {
			_ = err // it could be read a moment ago: the rest will be fetched
			return nil
		}
		if err := put(p, pos, piece); err != nil {
			return err
		}
		at += int64(len(piece))
		pos.copied += int64(len(piece))
		tell.copied(int64(len(piece)))
	}
	return nil
}

// intact tells whether the bytes of the segment have its digest.
func intact(ctx context.Context, s Segment, buf []byte) bool {
	h := s.Digest.Algorithm().Hash()
	for n := int64(0); n < s.Length; {
		piece := buf[:min(int64(len(buf)), s.Length-n)]
		if got, _ := s.From.ReadAt(piece, s.At+n); got < len(piece) || ctx.Err() != nil {
			return false
		}
		h.Write(piece)
		n += int64(len(piece))
	}
	return digest.NewDigest(s.Digest.Algorithm(), h) == s.Digest
}

// buffer returns the fetcher's buffer.
func (f *fetcher) buffer() []byte {
	if f.buf == nil {
		f.buf = make([]byte, bufferBytes)
	}
	return f.buf
}
