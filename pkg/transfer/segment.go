package transfer

import (
	"bytes"
	"context"
	"hash"
	"io"
	"iter"

	"oras.land/oras-go/v2/content"
)

// joinBytes is how close two gaps between segments may lie to each other to be
// fetched as one: a request of its own is dearer than a few bytes twice.
const joinBytes = 64 << 10

// A Segment is a part of a blob that can be had without the source.
//
// Its bytes are copied if what Hash makes of them begins with Sum. That need not
// withstand an attack: the digest of the blob is compared in the end, and a blob
// with another one is fetched from the source.
type Segment struct {
	Offset, Length int64       // in the blob, bytes
	From           io.ReaderAt // where the bytes lie; read from several goroutines
	At             int64       // in From, bytes

	Hash func() hash.Hash // called from several goroutines
	Sum  []byte           // at least 8 bytes; not changed
}

// minSum is the length of the shortest Sum: what is right by accident must be
// rarer than what breaks.
const minSum = 8

// span returns where in the blob it lies.
func (s Segment) span() span { return span{s.Offset, s.Offset + s.Length} }

// LocalBytes returns how many bytes of the job's blob [Pull] would not fetch from
// src, because the partial has them or they would be copied, if kept, each offset
// and length, and all segments are what they say. It reads none of them. An error
// is that of ctx.
func LocalBytes(ctx context.Context, src content.Fetcher, j Job, kept ...[2]int64) (int64, error) {
	if _, parts := openerOf(src, j.Desc); !parts {
		return 0, ctx.Err()
	}
	missing := spans{}.add(span{0, j.Desc.Size})
	for _, s := range kept {
		missing = missing.remove(span{s[0], s[0] + s[1]})
	}
	missing, _ = choose(localSegments(ctx, j), j.Desc.Size, missing)
	return j.Desc.Size - missing.bytes(), ctx.Err()
}

// localSegments asks a job for what is on this machine. What makes no sense
// is left out: it will be fetched.
func localSegments(ctx context.Context, j Job) iter.Seq[Segment] {
	none := func(func(Segment) bool) {}
	if j.Local == nil {
		return none
	}
	given, err := j.Local(ctx)
	if err != nil || given == nil {
		return none
	}
	return func(yield func(Segment) bool) {
		end := int64(0)
		for s := range given {
			if s.Offset < end || s.Length <= 0 || s.Length > j.Desc.Size-s.Offset || s.At < 0 ||
				s.From == nil || s.Hash == nil || len(s.Sum) < minSum {
				continue
			}
			if !yield(s) {
				return
			}
			end = s.span().end
		}
	}
}

// choose returns what is still missing of a blob of size bytes when the segments
// have been copied that are worth it, and where these lie.
func choose(segs iter.Seq[Segment], size int64, missing spans) (rest, copies spans) {
	worth := longRuns(segs, size)
	for s := range segs {
		if !worth.hold(s.span()) || !missing.hold(s.span()) {
			continue
		}
		missing = missing.remove(s.span())
		copies = copies.add(s.span())
	}
	return missing, copies
}

// longRuns returns where the segments lie, without those that are shorter than a
// request is worth and have gaps on both sides.
func longRuns(segs iter.Seq[Segment], size int64) (runs spans) {
	var run span
	keep := func() {
		// Before the first byte and after the last there is nothing to join.
		if run.off == 0 || run.end == size || run.bytes() >= joinBytes {
			runs = runs.add(run)
		}
	}
	for s := range segs {
		if s.Offset != run.end {
			keep()
			run = s.span()
		}
		run.end = s.span().end
	}
	keep()
	return runs
}

// plan has the segments copied whose bytes are missing.
func (b *blob) plan(segs iter.Seq[Segment]) {
	b.missing, b.copies = choose(segs, b.tell.desc.Size, b.missing)
	b.local = segs
}

// copyLocal copies the segments. What does not fit is left to be fetched. What
// an error leaves in copies is for another attempt.
func (b *blob) copyLocal(ctx context.Context) error {
	var t tally
	for s := range b.local {
		if !b.copies.hold(s.span()) {
			continue
		}
		b.copies = b.copies.remove(s.span())
		pos, err := b.copySegment(ctx, s, &t)
		if pos < s.span().end {
			b.mu.Lock()
			b.missing = b.missing.add(span{pos, s.span().end})
			b.mu.Unlock()
			signal(b.news)
		}
		if err != nil {
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
	buf := b.link.buffers.take(bufferBytes)
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
		buf = b.link.buffers.take(bufferBytes)
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
	return bytes.HasPrefix(h.Sum(nil), s.Sum)
}
