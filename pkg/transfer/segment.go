package transfer

import (
	"bytes"
	"context"
	"hash"
	"io"
	"slices"
)

// joinBytes is how close two gaps between segments may lie to each other to be
// fetched as one: a request of its own is dearer than a few bytes twice.
const joinBytes = 64 << 10

// A Segment is a part of a blob that can be had without the source.
//
// Its bytes are copied if Hash makes Sum of them. That need not withstand an
// attack: the digest of the blob is compared in the end, and a blob with another
// one is fetched from the source.
type Segment struct {
	Offset, Length int64       // in the blob, bytes
	From           io.ReaderAt // where the bytes lie; read from several goroutines
	At             int64       // in From, bytes

	Hash func() hash.Hash // called from several goroutines
	Sum  []byte
}

// span returns where in the blob it lies.
func (s Segment) span() span { return span{s.Offset, s.Offset + s.Length} }

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
			s.From == nil || s.Hash == nil {
			continue
		}
		segs = append(segs, s)
		end = s.span().end
	}
	return joinGaps(segs, j.Desc.Size)
}

// joinGaps leaves out segments that are shorter than a request is worth and
// have gaps on both sides.
func joinGaps(segs []Segment, size int64) []Segment {
	kept := segs[:0]
	for i := 0; i < len(segs); {
		next := i + 1
		for next < len(segs) && segs[next].Offset == segs[next-1].span().end {
			next++
		}
		first, last := segs[i].Offset, segs[next-1].span().end
		// Before the first byte and after the last there is nothing to join.
		if first == 0 || last == size || last-first >= joinBytes {
			kept = append(kept, segs[i:next]...)
		}
		i = next
	}
	return kept
}

// plan has the segments copied whose bytes are missing.
func (b *blob) plan(segs []Segment) {
	for _, s := range segs {
		if missing := b.missing.within(s.span()); len(missing) == 1 && missing[0] == s.span() {
			b.missing = b.missing.remove(s.span())
			b.local = append(b.local, s)
		}
	}
}

// copyLocal copies the segments. What does not fit is left to be fetched.
func (b *blob) copyLocal(ctx context.Context) error {
	var t tally
	for i, s := range b.local {
		pos, err := b.copySegment(ctx, s, &t)
		if pos < s.span().end {
			b.mu.Lock()
			b.missing = b.missing.add(span{pos, s.span().end})
			b.mu.Unlock()
			signal(b.news)
		}
		if err != nil {
			b.local = slices.Clone(b.local[i+1:]) // for another attempt
			return err
		}
	}
	b.local = nil
	return nil
}

// copySegment copies one segment, if its bytes are right, and returns how far
// it has come.
func (b *blob) copySegment(ctx context.Context, s Segment, t *tally) (pos int64, err error) {
	pos = s.Offset
	buf := b.link.buffers.take()
	defer func() { b.link.buffers.give(buf) }()
	if !intact(ctx, s, buf) {
		return pos, ctx.Err() // it will be fetched
	}
	for end := s.span().end; pos < end; {
		if ctx.Err() != nil {
			return pos, context.Cause(ctx)
		}
		// Not past the end of a part, where there is a checkpoint.
		n := min(bufferBytes, end-pos, nextPart(pos)-pos)
		// A segment of one piece is in the buffer since intact.
		if n < s.Length {
			if got, _ := s.From.ReadAt(buf[:n], s.At+pos-s.Offset); int64(got) < n {
				return pos, nil // it could be read a moment ago
			}
		}
		full := buf[:n]
		buf = b.link.buffers.take()
		if err := b.put(ctx, pos, full, t); err != nil {
			return pos, err
		}
		pos += n
		b.mu.Lock()
		b.copied += n
		b.mu.Unlock()
		b.tell.copied(n)
	}
	return pos, nil
}

// intact tells whether the bytes of the segment are those it should have.
func intact(ctx context.Context, s Segment, buf []byte) bool {
	h := s.Hash()
	for n := int64(0); n < s.Length; {
		piece := buf[:min(int64(len(buf)), s.Length-n)]
		if got, _ := s.From.ReadAt(piece, s.At+n); got < len(piece) || ctx.Err() != nil {
			return false
		}
		h.Write(piece)
		n += int64(len(piece))
	}
	return bytes.Equal(h.Sum(nil), s.Sum)
}
