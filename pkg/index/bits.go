package index

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// Versions are numbered as they come. Sets of them are kept in chunks: what is
// in one chunk fits into the fastest cache, and an update touches only the last.
const (
	chunkSize  = 1 << 16
	chunkWords = chunkSize / 64
)

// A bitset is a set of the versions of one chunk.
type bitset [chunkWords]uint64

func (b *bitset) set(i uint16)      { b[i>>6] |= 1 << (i & 63) }
func (b *bitset) has(i uint16) bool { return b[i>>6]&(1<<(i&63)) != 0 }

func (b *bitset) and(o *bitset) {
	for i := range b {
		b[i] &= o[i]
	}
}

func (b *bitset) andNot(o *bitset) {
	for i := range b {
		b[i] &^= o[i]
	}
}

func (b *bitset) count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b *bitset) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

// A posting is the set of versions of one chunk that have some term: a sorted
// list while it is short, else a bitset.
type posting struct {
	list []uint16
	bits *bitset
}

// bytes is about what the posting takes in memory.
func (p posting) bytes() int {
	n := 40 + 2*len(p.list)
	if p.bits != nil {
		n += chunkSize / 8
	}
	return n
}

// addTo adds the posting's members to b.
func (p posting) addTo(b *bitset) {
	if p.bits != nil {
		for i, w := range p.bits {
			b[i] |= w
		}
	}
	for _, i := range p.list {
		b.set(i)
	}
}

// intersect leaves in b what is in the posting too.
func (p posting) intersect(b *bitset) {
	if p.bits != nil {
		b.and(p.bits)
		return
	}
	var kept bitset
	for _, i := range p.list {
		if b.has(i) {
			kept.set(i)
		}
	}
	*b = kept
}

// removeFrom takes the posting's members out of b.
func (p posting) removeFrom(b *bitset) {
	if p.bits != nil {
		b.andNot(p.bits)
	}
	for _, i := range p.list {
		b[i>>6] &^= 1 << (i & 63)
	}
}

// Kinds of postings on disk.
const (
	asDeltas = 1 // the first member and the distances of the others, as varints
	asBits   = 2 // the words of a bitset, without the zeros at its end
)

// longList is how many members a list has at most in memory.
const longList = 2048

var (
	// ErrDamaged is wrapped by errors about a file whose content contradicts
	// itself.
	ErrDamaged = errors.New("the index is damaged: build it again")
	errFull    = errors.New("the index has no numbers left: build it again")
)

// decodePosting reads what encodePosting wrote.
func decodePosting(b []byte) (posting, error) {
	if len(b) == 0 {
		return posting{}, ErrDamaged
	}
	return decodeAs(b[0], b[1:])
}

// decodeAs reads a posting of a kind.
func decodeAs(kind byte, b []byte) (posting, error) {
	switch {
	case kind == asBits && len(b)%8 == 0 && len(b) <= chunkSize/8:
		set := new(bitset)
		for i := 0; i < len(b); i += 8 {
			set[i/8] = binary.LittleEndian.Uint64(b[i:])
		}
		return posting{bits: set}, nil
	case kind == asDeltas && len(b) <= 3*chunkSize:
		return decodeDeltas(b)
	}
	return posting{}, ErrDamaged
}

func decodeDeltas(b []byte) (posting, error) {
	list := make([]uint16, 0, len(b))
	at := uint64(0)
	for len(b) > 0 {
		d, n := uint64(b[0]), 1
		if d >= 0x80 {
			if d, n = binary.Uvarint(b); n <= 0 {
				return posting{}, ErrDamaged
			}
		}
		if at += d; at >= chunkSize {
			return posting{}, ErrDamaged
		}
		list = append(list, uint16(at))
		b = b[n:]
	}
	if len(list) <= longList {
		return posting{list: list}, nil
	}
	set := new(bitset)
	for _, i := range list {
		set.set(i)
	}
	return posting{bits: set}, nil
}

// appendEncoded appends the shorter of the two forms of sorted members.
func appendEncoded(dst []byte, list []uint16) []byte {
	start := len(dst)
	dst = append(dst, asDeltas)
	at := uint16(0)
	for _, i := range list {
		dst = binary.AppendUvarint(dst, uint64(i-at))
		at = i
	}
	words := int(list[len(list)-1])/64 + 1
	if len(dst)-start <= 1+8*words {
		return dst
	}
	var set bitset
	for _, i := range list {
		set.set(i)
	}
	dst = append(dst[:start], asBits)
	for _, w := range set[:words] {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// members returns the posting's members, sorted.
func (p posting) members() []uint16 {
	if p.bits == nil {
		return p.list
	}
	list := make([]uint16, 0, p.bits.count())
	for i, w := range p.bits {
		for ; w != 0; w &= w - 1 {
			list = append(list, uint16(i<<6|bits.TrailingZeros64(w)))
		}
	}
	return list
}

// merged returns the members of both, sorted; those of more mostly come last.
func (p posting) merged(more []uint16) []uint16 {
	list := slices.Concat(p.members(), more)
	if !slices.IsSorted(list) {
		slices.Sort(list)
	}
	return slices.Compact(list)
}
