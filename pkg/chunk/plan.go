package chunk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"sort"
)

// A Plan says where the chunks of a wanted file can be had. It takes 32 bytes of
// memory for a chunk of the wanted file, and nothing for those of the others.
type Plan struct {
	want    *Index
	byHash  []entry // the wanted chunks, sorted by hash
	found   []place // for each wanted chunk
	sources int
	missing int64
}

// An entry is a wanted chunk in the order of hashes.
type entry struct {
	key   uint64 // the first bytes of the hash
	chunk uint32
	asked uint32 // the last source that asked for the key, in the first of a run
}

// A place is where a chunk was found.
type place struct {
	source uint32 // from 1; 0 is nowhere
	at     int64
}

// A Copy is a chunk of the wanted file that one of the sources says to have.
type Copy struct {
	Chunk        // in the wanted file
	Source int   // the number of the call of Add, from 0
	At     int64 // offset in the source, bytes
}

// NewPlan returns a plan for the file that want is the index of. No source is
// known yet.
func NewPlan(want *Index) *Plan {
	p := &Plan{want: want, byHash: make([]entry, want.Len()), found: make([]place, want.Len()), missing: want.Size()}
	for i := range p.byHash {
		p.byHash[i] = entry{key: key(want.hash(i)), chunk: uint32(i)}
	}
	slices.SortFunc(p.byHash, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.chunk, b.chunk))
	})
	return p
}

func key(hash []byte) uint64 { return binary.BigEndian.Uint64(hash) }

// Add takes another file for a source, and returns how many bytes of the wanted
// file it has that those before did not. A chunk is taken from the first source
// that has it.
func (p *Plan) Add(have *Index) int64 {
	p.sources++
	before := p.missing
	for i := range have.Len() {
		if p.missing == 0 {
			break
		}
		p.offer(have, i)
	}
	return before - p.missing
}

// offer looks for the wanted chunks that chunk i of a source is. All that are
// alike are taken at once, so asking once for each hash is enough: else
// a file of nothing but zeros would be compared chunk by chunk, each with each.
func (p *Plan) offer(have *Index, i int) {
	k := key(have.hash(i))
	first := sort.Search(len(p.byHash), func(j int) bool { return p.byHash[j].key >= k })
	if first == len(p.byHash) || p.byHash[first].asked == uint32(p.sources) {
		return
	}
	for j := first; j < len(p.byHash) && p.byHash[j].key == k; j++ {
		p.byHash[first].asked = uint32(p.sources)
		p.take(int(p.byHash[j].chunk), have, i)
	}
}

// take notes that a source has a wanted chunk, if it is that chunk and has not
// been found yet.
func (p *Plan) take(chunk int, have *Index, i int) {
	if p.found[chunk].source != 0 || !bytes.Equal(p.want.hash(chunk), have.hash(i)) {
		return
	}
	want, got := p.want.At(chunk), have.At(i)
	if want.Length != got.Length {
		return // one of the two lies
	}
	p.found[chunk] = place{source: uint32(p.sources), at: got.Offset}
	p.missing -= want.Length
}

// Missing returns how many bytes of the wanted file no source has.
func (p *Plan) Missing() int64 { return p.missing }

// Copies lists the chunks that sources have, in the order of the wanted file.
func (p *Plan) Copies() iter.Seq[Copy] {
	return func(yield func(Copy) bool) {
		for i, f := range p.found {
			if f.source == 0 {
				continue
			}
			if !yield(Copy{Chunk: p.want.At(i), Source: int(f.source) - 1, At: f.at}) {
				return
			}
		}
	}
}
