package transfer

import (
	"context"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A tally is a checksum of bytes that are written, one behind the other, and
// lie in one part.
type tally struct {
	span
	sum uint32
}

// A claim is a part that an earlier run says it has written.
type claim = tally

// put writes a buffer, and hands it to the hash if that has come so far. It
// takes the buffer.
//
// What a stream that is alone writes goes past the page cache, and a checkpoint of
// the hash soon tells of it. Else a checksum does.
func (b *blob) put(ctx context.Context, off int64, buf []byte, t *tally) error {
	s := span{off, off + int64(len(buf))}
	room, alone := b.roomFor(ctx, off)
	straight := room && alone
	write := b.p.WriteAt
	if b.direct != nil && straight {
		write = b.direct.WriteDirect
	}
	if _, err := write(buf, off); err != nil {
		b.link.buffers.give(buf)
		if room {
			<-b.room
		}
		return err
	}
	if !straight {
		t.add(off, buf)
	}
	b.mu.Lock()
	b.written = b.written.add(s)
	handed := room && b.handed == off // or a claim before it has turned out false
	if handed {
		b.handed = s.end
		b.queue <- piece{off, buf} // there is room for as many as there are tokens
	}
	b.mu.Unlock()
	signal(b.wake)
	if !handed {
		if straight {
			t.add(off, buf)
		}
		b.link.buffers.give(buf)
		if room {
			<-b.room
		}
	}
	b.record(*t)
	if handed && straight || s.end%partBytes == 0 || t.bytes() >= partBytes {
		*t = tally{}
	}
	return nil
}

// add takes bytes in that are written at off.
func (t *tally) add(off int64, buf []byte) {
	if t.end != off {
		*t = tally{span: span{off, off}}
	}
	t.end, t.sum = off+int64(len(buf)), crc32.Update(t.sum, castagnoli, buf)
}

// roomFor tells whether the bytes at off can be hashed from their buffer: if
// the hash is there, and not too busy. A stream that is alone waits for it,
// because reading all again is dearer.
func (b *blob) roomFor(ctx context.Context, off int64) (room, alone bool) {
	b.mu.Lock()
	next, alone := b.handed == off, len(b.runs) <= 1
	b.mu.Unlock()
	if !next {
		return false, alone
	}
	if alone {
		select {
		case b.room <- struct{}{}:
			return true, true
		case <-ctx.Done():
			return false, true
		}
	}
	select {
	case b.room <- struct{}{}:
		return true, false
	default:
		return false, false
	}
}

// record has the partial remember what is written, if it can. That it cannot
// now costs only time later.
func (b *blob) record(t tally) {
	if k, ok := b.p.(PartKeeper); ok && b.parts && t.bytes() > 0 {
		_ = k.KeepPart(t.off, t.bytes(), t.sum)
	}
}

// resumeParts takes over the parts of an earlier run beyond its checkpoint.
// They count as written until the hash comes to them.
func (b *blob) resumeParts() {
	k, ok := b.p.(PartKeeper)
	if !ok {
		return
	}
	end := int64(0)
	for s, sum := range k.KeptParts() {
		c := claim{span{s[0], s[0] + s[1]}, sum}
		if c.off < end || c.bytes() <= 0 || c.end <= b.hashed || c.end > b.tell.desc.Size {
			continue
		}
		end = c.end
		b.claims = append(b.claims, c)
		b.written = b.written.add(span{max(c.off, b.hashed), c.end})
	}
}
