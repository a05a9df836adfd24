package transfer

import (
	"context"
	"encoding"
	"fmt"
	"hash/crc32"

	"github.com/opencontainers/go-digest"
)

// cachedBytes is how much behind the hash the page cache is asked to give up: by
// then that is on the disk.
const cachedBytes = 8 * partBytes

// queued is how many buffers wait for the hash at most.
const queued = 2

// A follower hashes a blob from its first byte to its last, behind those who
// write it: from their buffers where they are at the same place, and else from
// the partial, out of the page cache.
type follower struct {
	*blob
	buf []byte // for what is read back

	claim *claim // that is being checked, or nil
	sum   uint32 // of it, as far as it was read
	from  int64  // where in it the checking began
	state []byte // of the hash there
}

// follow hashes the blob as it comes, and compares the digest.
func follow(ctx context.Context, b *blob) error {
	f := follower{blob: b, buf: b.link.buffers.take(bufferBytes)}
	defer func() { b.link.buffers.give(f.buf) }()
	for f.hashed < f.tell.desc.Size {
		went, err := f.step(ctx)
		if err != nil {
			return err
		}
		if went {
			continue
		}
		select {
		case p := <-f.queue:
			err = f.take(p)
		case <-f.wake:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			if f.claim != nil {
				f.revert()
			}
			return err
		}
	}
	return f.verify()
}

// step hashes one buffer, if there is one.
func (f *follower) step(ctx context.Context) (went bool, err error) {
	if ctx.Err() != nil {
		return false, nil
	}
	select {
	case p := <-f.queue:
		return true, f.take(p)
	default:
		return f.readBack()
	}
}

// take hashes a piece from its buffer. A piece that is elsewhere was handed
// over before a claim turned out false, and will be read back.
func (f *follower) take(p piece) (err error) {
	if p.off == f.hashed {
		f.blob.state.Write(p.buf)
		err = f.advance(p.buf)
	}
	f.link.buffers.give(p.buf)
	<-f.room
	return err
}

// readBack hashes what was written and not handed over.
func (f *follower) readBack() (went bool, err error) {
	f.mu.Lock()
	end := f.hashed
	if f.handed == f.hashed {
		// Not past the end of a part, where there is a checkpoint.
		end = min(f.written.from(f.hashed), f.hashed+bufferBytes, nextPart(f.hashed))
	}
	if len(f.claims) > 0 && f.claims[0].off < end {
		end = min(end, f.claims[0].end)
		if f.claims[0].off > f.hashed {
			end = f.claims[0].off
		}
	}
	f.handed = max(f.handed, end)
	f.mu.Unlock()
	if end == f.hashed {
		return false, nil
	}
	if err := f.enter(); err != nil {
		return false, err
	}
	piece := f.buf[:end-f.hashed]
	if n, err := f.p.ReadAt(piece, f.hashed); n < len(piece) {
		if f.claim != nil {
			f.disprove() // the file is shorter than was said
			return true, nil
		}
		return false, fmt.Errorf("read back: %w", err)
	}
	f.blob.state.Write(piece)
	if err := f.advance(piece); err != nil {
		return true, err
	}
	if f.direct != nil && f.hashed%partBytes == 0 {
		// What is not on the disk yet is asked for again.
		from := max(f.hashed-cachedBytes, 0)
		f.direct.Uncache(from, f.hashed-from)
	}
	return true, nil
}

// enter begins to check the claim that the hash has come to, if there is one.
func (f *follower) enter() error {
	if f.claim != nil || len(f.claims) == 0 || f.claims[0].off > f.hashed {
		return nil
	}
	m, ok := f.blob.state.(encoding.BinaryMarshaler)
	if !ok {
		f.claims = nil // the digest of the whole will have to do
		return nil
	}
	state, err := m.MarshalBinary()
	if err != nil {
		return fmt.Errorf("save hash state: %w", err)
	}
	f.claim, f.from, f.state, f.sum = &f.claims[0], f.hashed, state, 0
	for at := f.claim.off; at < f.from; {
		piece := f.buf[:min(f.from-at, bufferBytes)]
		n, err := f.p.ReadAt(piece, at)
		if n < len(piece) {
			return fmt.Errorf("read back: %w", err)
		}
		f.sum = crc32.Update(f.sum, castagnoli, piece)
		at += int64(n)
	}
	return nil
}

// advance notes that a piece is hashed.
func (f *follower) advance(hashed []byte) error {
	f.mu.Lock()
	f.hashed += int64(len(hashed))
	f.handed = max(f.handed, f.hashed)
	f.mu.Unlock()
	if f.claim != nil {
		f.sum = crc32.Update(f.sum, castagnoli, hashed)
		if f.hashed < f.claim.end {
			return nil
		}
		if f.sum != f.claim.sum {
			f.disprove()
			return nil
		}
		f.claim, f.claims = nil, f.claims[1:]
	}
	if f.hashed-f.saved < checkpointBytes && f.hashed%partBytes != 0 {
		return nil
	}
	return f.finish()
}

// disprove has the claim fetched again whose bytes are not what they were.
func (f *follower) disprove() {
	lost := span{f.from, f.claim.end}
	f.claims = f.claims[1:]
	f.revert()
	f.mu.Lock()
	f.written = f.written.remove(lost)
	f.missing = f.missing.add(lost)
	f.told -= lost.bytes()
	f.mu.Unlock()
	f.tell.moved(-lost.bytes())
	signal(f.news)
}

// revert goes back to where the checking of a claim began.
func (f *follower) revert() {
	h := f.tell.desc.Digest.Algorithm().Hash()
	// What a hash has written it can read.
	_ = h.(encoding.BinaryUnmarshaler).UnmarshalBinary(f.state)
	f.blob.state = h
	f.claim = nil
	f.mu.Lock()
	f.hashed, f.handed = f.from, f.from
	f.mu.Unlock()
	f.drain()
}

// settle hashes what was handed over when nobody did any more.
func (b *blob) settle() {
	for len(b.queue) > 0 {
		p := <-b.queue
		if p.off == b.hashed {
			b.state.Write(p.buf)
			b.hashed += int64(len(p.buf))
		}
		b.link.buffers.give(p.buf)
		<-b.room
	}
}

// drain forgets what was handed over.
func (b *blob) drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		select {
		case p := <-b.queue:
			b.link.buffers.give(p.buf)
			<-b.room
		default:
			b.handed = b.hashed
			return
		}
	}
}

// finish records how far the hash has come, so that the next run can go on from
// there: if it can, because the source gives parts.
func (b *blob) finish() error {
	if b.hashed == b.saved || !b.parts {
		return nil
	}
	if err := b.p.Checkpoint(b.hashed, b.state); err != nil {
		return fmt.Errorf("record progress: %w", err)
	}
	b.saved = b.hashed
	return nil
}

// verify compares the digest, and ends the blob if it is right.
func (b *blob) verify() error {
	tell := b.tell
	if got := digest.NewDigest(tell.desc.Digest.Algorithm(), b.state); got != tell.desc.Digest {
		return &DigestError{Name: tell.title(), Desc: tell.desc, Got: got, Size: b.hashed}
	}
	b.mu.Lock()
	b.done = true
	b.mu.Unlock()
	signal(b.news)
	return nil
}
