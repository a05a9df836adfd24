package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A hash of a term has hashBits; the first partBits of them tell the part that
// it is gathered in.
const (
	hashBits = 51
	partBits = 8
	restBits = hashBits - partBits
	docBits  = 64 - restBits
)

// maxGathered bounds how many versions one transaction describes.
const maxGathered = 1 << docBits

// maxSpilled bounds what one transaction writes to a file of its own, in bytes.
const maxSpilled = 1 << 30

// maxPart bounds what one transaction writes to it of one part, in bytes: a part
// is sorted in memory.
const maxPart = 64 << 20

// A gathering collects which version has which terms, eight bytes for each, in
// parts that are sorted fast because they fit into the caches. What does not fit
// into memory lies in a file until it is sorted.
type gathering struct {
	parts [1 << partBits][]uint64
	n     int

	dir  string   // for the file
	file *os.File // nil if all is in memory
	size int64    // of the file

	largest int64 // bytes in it of a part; words that begin alike are in one
	spilled [1 << partBits]int64

	runs []run
	buf  []byte
}

// A run is what was in memory when it was written to the file: where each part of
// it begins, and where the last ends.
type run [1<<partBits + 1]int64

// add notes a version, by its place in the transaction, for a term. Versions come
// in order.
func (g *gathering) add(hash int64, doc int) {
	p := &g.parts[hash>>restBits]
	*p = append(*p, uint64(hash)<<docBits|uint64(doc))
	g.n++
}

// spill writes what is in memory to the file.
func (g *gathering) spill() (err error) {
	if g.file == nil {
		if g.file, err = os.CreateTemp(g.dir, ".terms-*"); err != nil {
			return err
		}
		_ = os.Remove(g.file.Name()) // where that can be, nothing is left of a process that is killed
	}
	g.runs = append(g.runs, run{})
	r := &g.runs[len(g.runs)-1]
	for i, p := range g.parts {
		r[i] = g.size
		g.buf = g.buf[:0]
		for _, v := range p {
			g.buf = binary.LittleEndian.AppendUint64(g.buf, v)
		}
		n, err := g.file.Write(g.buf)
		if err != nil {
			return err
		}
		g.size += int64(n)
		g.spilled[i] += int64(n)
		g.largest = max(g.largest, g.spilled[i])
		g.parts[i] = p[:0]
	}
	r[len(g.parts)] = g.size
	g.n = 0
	return nil
}

// part appends all that was gathered in a part, in the order in which it came.
func (g *gathering) part(i int, dst []uint64) ([]uint64, error) {
	for _, r := range g.runs {
		size := int(r[i+1] - r[i])
		g.buf = slices.Grow(g.buf[:0], size)[:size]
		if _, err := io.ReadFull(io.NewSectionReader(g.file, r[i], int64(size)), g.buf); err != nil {
			return nil, fmt.Errorf("read %s: %w", g.file.Name(), err)
		}
		for b := g.buf; len(b) > 0; b = b[8:] {
			dst = append(dst, binary.LittleEndian.Uint64(b))
		}
	}
	return append(dst, g.parts[i]...), nil
}

// each calls f with every term in order, and the versions that have it, which are
// good until f returns from its first call with a term of another bucket.
func (g *gathering) each(f func(hash int64, docs []uint64) error) error {
	var part, sorted, before []uint64
	var err error
	for i := range g.parts {
		if part, err = g.part(i, part[:0]); err != nil {
			return err
		}
		if len(part) == 0 {
			continue // what was sorted last is still good
		}
		sorted, before = slices.Grow(before[:0], len(part))[:len(part)], sorted
		sortPart(sorted, part)
		for p := sorted; len(p) > 0; {
			rest := p[0] >> docBits
			n := 1
			for n < len(p) && p[n]>>docBits == rest {
				n++
			}
			if err := f(int64(i)<<restBits|int64(rest), p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	return nil
}

// sortPart writes p to dst in order: first into the buckets of the part, which
// then fit into the fastest cache.
func sortPart(dst, p []uint64) {
	const shift = 64 - (bucketBits - partBits)
	var ends [1 << (bucketBits - partBits)]int
	for _, v := range p {
		ends[v>>shift]++
	}
	at := 0
	for i, n := range ends {
		ends[i] = at
		at += n
	}
	for _, v := range p {
		dst[ends[v>>shift]] = v
		ends[v>>shift]++
	}
	at = 0
	for _, end := range ends {
		slices.Sort(dst[at:end])
		at = end
	}
}

// close removes the file.
func (g *gathering) close() error {
	if g.file == nil {
		return nil
	}
	err := g.file.Close()
	if gone := os.Remove(g.file.Name()); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// A hashSet tells which hashes it was given since it was emptied, which it has to
// be first.
type hashSet struct {
	slots []uint64 // a hash and the turn in which it came
	turn  uint64
	n     int
}

// hashTurns is how many turns a slot can tell apart.
const hashTurns = 1 << (64 - hashBits)

// empty begins anew.
func (s *hashSet) empty() {
	s.n = 0
	if s.turn++; s.turn == hashTurns || s.slots == nil {
		s.turn = 1
		s.slots = make([]uint64, max(len(s.slots), 1<<12))
	}
}

// add tells whether a hash was not there yet.
func (s *hashSet) add(hash int64) bool {
	if 2*s.n >= len(s.slots) {
		s.grow()
	}
	v := uint64(hash)*hashTurns + s.turn
	at := s.slot(v)
	if s.slots[at] == v {
		return false
	}
	s.slots[at] = v
	s.n++
	return true
}

// slot finds where a value is, or where there is room for it.
func (s *hashSet) slot(v uint64) int {
	const spread = 0x9E3779B97F4A7C15
	mask := len(s.slots) - 1
	at := int(v/hashTurns*spread>>32) & mask
	for s.slots[at] != v && s.slots[at]%hashTurns == s.turn {
		at = (at + 1) & mask
	}
	return at
}

func (s *hashSet) grow() {
	old := s.slots
	s.slots = make([]uint64, 2*len(old))
	for _, v := range old {
		if v%hashTurns == s.turn {
			s.slots[s.slot(v)] = v
		}
	}
}
