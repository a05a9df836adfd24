package chunk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"sort"
)

// A Plan says where the chunks of a wanted file can be had. It takes some 12
// bytes of memory for a chunk of the wanted file, besides its table, and nothing
// for those of the others.
type Plan struct {
	want    *Table
	byHash  []uint32 // the wanted chunks, sorted by hash
	asked   []uint64 // a bit for each of byHash: the present source has asked for it
	found   []place  // for each wanted chunk
	sources int
	missing int64
}

// A place is where a chunk was found: the source, from 1, and below it the
// offset there. 0 is nowhere.
type place uint64

const (
	offsetBits = 44 // what the offsets in a file of MaxFileSize need
	maxSources = 1<<(64-offsetBits) - 1
)

func (p place) source() int { return int(p >> offsetBits) }
func (p place) at() int64   { return int64(p & (1<<offsetBits - 1)) }

// NewPlan returns a plan for the file that want is the table of. No source is
// known yet.
func NewPlan(want *Table) *Plan {
	n := want.Len()
	p := &Plan{want: want, byHash: make([]uint32, n), asked: make([]uint64, (n+63)/64), found: make([]place, n), missing: want.Size()}
	for i := range p.byHash {
		p.byHash[i] = uint32(i)
	}
	slices.SortFunc(p.byHash, func(a, b uint32) int {
		if c := compareHashes(want.hash(int(a)), want.hash(int(b))); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return p
}

// compareHashes is bytes.Compare, which mostly sees by the first bytes.
func compareHashes(a, b []byte) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(b)); c != 0 {
		return c
	}
	return bytes.Compare(a, b)
}

// Add takes another file for a source, and returns how many bytes of the wanted
// file it has that those before did not. A chunk is taken from the first source
// that has it. Of more than a million sources the others have nothing.
func (p *Plan) Add(have *Table) int64 {
	if p.sources == maxSources {
		return 0
	}
	p.sources++
	clear(p.asked)
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
func (p *Plan) offer(have *Table, i int) {
	hash := have.hash(i)
	first := sort.Search(len(p.byHash), func(j int) bool { return compareHashes(p.hash(j), hash) >= 0 })
	if first == len(p.byHash) || p.asked[first/64]&(1<<(first%64)) != 0 {
		return
	}
	for j := first; j < len(p.byHash) && bytes.Equal(p.hash(j), hash); j++ {
		p.asked[first/64] |= 1 << (first % 64)
		p.take(int(p.byHash[j]), have.At(i))
	}
}

// hash returns the hash of a wanted chunk, counted by hash.
func (p *Plan) hash(j int) []byte { return p.want.hash(int(p.byHash[j])) }

// take notes that the present source has a wanted chunk, if that has not been
// found yet.
func (p *Plan) take(chunk int, got Chunk) {
	want := p.want.At(chunk)
	if p.found[chunk] != 0 || want.Length != got.Length { // one of the two lies
		return
	}
	p.found[chunk] = place(p.sources)<<offsetBits | place(got.Offset)
	p.missing -= want.Length
}

// Missing returns how many bytes of the wanted file no source has.
func (p *Plan) Missing() int64 { return p.missing }

// SumBytes is how many of the first bytes of a chunk's hash a [Recipe] has.
// That a chunk has them without being the right one is as good as impossible,
// unless somebody wished for it.
const SumBytes = 8

// A Copy is a chunk of the wanted file that one of the sources says to have.
type Copy struct {
	Offset, Length int64  // in the wanted file, bytes
	Sum            []byte // the first [SumBytes] of its hash; not to be changed
	Source         int    // the number of the call of Add, from 0
	At             int64  // offset in the source, bytes
}

// A Recipe is what a plan has come to, in little memory: 12 bytes for a chunk
// that is copied, and 32 for a run of chunks that lie one after the other in a
// source too, or are all the same there. It does not change.
type Recipe struct {
	runs    []run
	lengths []uint32
	sums    []byte
}

// A run is chunks that follow each other in the wanted file and in a source.
type run struct {
	offset, at int64
	source     int32
	chunks     int32
	same       bool // all of them lie at the same place
}

// Recipe returns what the plan has come to. It does not hold the plan.
func (p *Plan) Recipe() *Recipe {
	n := 0
	for _, f := range p.found {
		if f != 0 {
			n++
		}
	}
	r := &Recipe{lengths: make([]uint32, 0, n), sums: make([]byte, 0, n*SumBytes)}
	var last run
	var end Copy // of the run: where it would go on
	for i, f := range p.found {
		if f == 0 {
			continue
		}
		c := p.want.At(i)
		switch follows := last.chunks > 0 && c.Offset == end.Offset && f.source() == end.Source; {
		case follows && !last.same && f.at() == end.At:
		case follows && (last.same || last.chunks == 1) && f.at() == last.at:
			last.same = true
		default:
			r.add(last)
			last = run{offset: c.Offset, at: f.at(), source: int32(f.source() - 1)}
		}
		last.chunks++
		end = Copy{Offset: c.Offset + c.Length, Source: f.source(), At: f.at() + c.Length}
		r.lengths = append(r.lengths, uint32(c.Length))
		r.sums = append(r.sums, c.Hash[:SumBytes]...)
	}
	r.add(last)
	return r
}

func (r *Recipe) add(last run) {
	if last.chunks > 0 {
		r.runs = append(r.runs, last)
	}
}

// Copies lists the chunks that sources have, in the order of the wanted file.
func (r *Recipe) Copies() iter.Seq[Copy] {
	return func(yield func(Copy) bool) {
		i := 0
		for _, run := range r.runs {
			offset, at := run.offset, run.at
			for range run.chunks {
				n := int64(r.lengths[i])
				if !yield(Copy{Offset: offset, Length: n, Sum: r.sums[i*SumBytes : (i+1)*SumBytes], Source: int(run.source), At: at}) {
					return
				}
				offset += n
				if !run.same {
					at += n
				}
				i++
			}
		}
	}
}
