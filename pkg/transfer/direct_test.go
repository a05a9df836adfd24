package transfer_test

import (
	"bytes"
	"hash"
	"hash/crc32"
	"iter"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// A directPartial counts what is written past the page cache, and what is
// remembered of it.
type directPartial struct {
	*partial
	direct, parts atomic.Int64 // bytes
	checkpoints   int
	uncached      int64               // up to here, without a gap
	kept          map[[2]int64]uint32 // of an earlier run
}

func (p *directPartial) Uncache(off, n int64) {
	if off <= p.uncached {
		p.uncached = max(p.uncached, off+n)
	}
}

func (p *directPartial) WriteDirect(b []byte, off int64) (int, error) {
	p.direct.Add(int64(len(b)))
	return p.WriteAt(b, off)
}

func (p *directPartial) KeepPart(_, length int64, _ uint32) error {
	p.parts.Add(length)
	return nil
}

func (p *directPartial) KeptParts() iter.Seq2[[2]int64, uint32] {
	return maps.All(p.kept)
}

func (p *directPartial) Checkpoint(n int64, state hash.Hash) error {
	p.checkpoints++
	return p.partial.Checkpoint(n, state)
}

// What a stream that is alone writes is hashed from its buffers: it needs no page
// cache, no checksum of its own, and is kept by checkpoints a little apart. What is
// copied here is in the page cache, and so is what lies between.
func TestPullDirect(t *testing.T) {
	desc, data := content(40, 33<<20+5)
	tests := map[string]struct {
		local  []transfer.Segment
		cached bool
		direct bool
	}{
		"all fetched": {direct: true},
		"as asked":    {cached: true},
		"some copied": {local: []transfer.Segment{segment(data, 3<<20, 9<<20)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := &directPartial{partial: newPartial()}
			j := transfer.Job{Desc: desc, Open: func() (transfer.Partial, error) { return p, nil }, Local: local(tt.local...)}
			// One connection: there is no other stream.
			opts := transfer.PullOptions{Connections: 1, PageCache: tt.cached}
			if err := transfer.Pull(t.Context(), newSource(data), []transfer.Job{j}, opts); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p.data, data) || !p.committed {
				t.Errorf("%d bytes, committed %v", len(p.data), p.committed)
			}
			if !tt.direct {
				if p.direct.Load() != 0 {
					t.Errorf("%d bytes were written past the page cache", p.direct.Load())
				}
				return
			}
			if p.direct.Load() != desc.Size || p.parts.Load() != 0 {
				t.Errorf("%d bytes were written past the page cache, and %d remembered one by one", p.direct.Load(), p.parts.Load())
			}
			if want := int(desc.Size >> 20); p.checkpoints < want {
				t.Errorf("%d checkpoints, want %d", p.checkpoints, want)
			}
		})
	}
}

// What the hash had to read back is given up by the page cache, unless it is to
// be kept there.
func TestPullUncaches(t *testing.T) {
	desc, data := content(41, 33<<20)
	for name, tt := range map[string]struct {
		cached bool
		want   int64
	}{"behind the hash": {want: 32 << 20}, "as asked": {cached: true}} {
		t.Run(name, func(t *testing.T) {
			p := &directPartial{partial: newPartial()}
			p.data = bytes.Clone(data[:32<<20])
			p.kept = map[[2]int64]uint32{{0, 32 << 20}: crc32.Checksum(p.data, crc32.MakeTable(crc32.Castagnoli))}
			j := transfer.Job{Desc: desc, Open: func() (transfer.Partial, error) { return p, nil }}
			if err := transfer.Pull(t.Context(), newSource(data), []transfer.Job{j}, transfer.PullOptions{PageCache: tt.cached}); err != nil {
				t.Fatal(err)
			}
			if p.uncached != tt.want {
				t.Errorf("given up are %d bytes, want %d", p.uncached, tt.want)
			}
		})
	}
}
