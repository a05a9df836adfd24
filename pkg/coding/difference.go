package coding

import "encoding/binary"

// Floating-point numbers are compared as the whole numbers in whose order they
// are: of those with the sign bit all bits are flipped, of others the sign bit.
// Their difference is folded, so that small ones of either sign have zeros in
// front: 0, -1, 1, -2 become 0, 1, 2, 3. It wraps around, so that any two
// numbers have one.

// lanes says how numbers of one width lie in 64 bits.
type lanes struct {
	ones  uint64 // the lowest bit of each
	high  uint64 // the highest bit of each
	shift uint   // from the highest to the lowest
	full  uint64 // all bits of one
}

func lanesOf(width int) lanes {
	switch width {
	case 2:
		return lanes{ones16, ones16 << 15, 15, 0xffff}
	case 4:
		return lanes{ones32, ones32 << 31, 31, 0xffffffff}
	}
	return lanes{0x0101010101010101, 0x8080808080808080, 7, 0xff}
}

// order makes whole numbers in the order of the numbers.
func (l lanes) order(v uint64) uint64 { return v ^ ((v>>l.shift&l.ones)*l.full | l.high) }

// disorder undoes order.
func (l lanes) disorder(v uint64) uint64 { return v ^ ((^v>>l.shift&l.ones)*l.full | l.high) }

func (l lanes) subtract(src, base uint64) uint64 {
	a, b := l.order(src), l.order(base)
	d := ((a | l.high) - (b &^ l.high)) ^ ((a ^ ^b) & l.high)
	return d<<1&^l.ones ^ (d>>l.shift&l.ones)*l.full
}

func (l lanes) add(folded, base uint64) uint64 {
	d := folded>>1&^l.high ^ (folded&l.ones)*l.full
	b := l.order(base)
	return l.disorder(((d &^ l.high) + (b &^ l.high)) ^ ((d ^ b) & l.high))
}

// subtract puts the folded differences of src and base, which are as long, into
// dst.
func subtract(dst, src, base []byte, width int) {
	l := lanesOf(width)
	n := len(src) &^ 7
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], l.subtract(binary.LittleEndian.Uint64(src[i:]), binary.LittleEndian.Uint64(base[i:])))
	}
	if n < len(src) {
		put(dst[n:], l.subtract(get(src[n:]), get(base[n:])))
	}
}

// add undoes subtract: dst holds the folded differences.
func add(dst, base []byte, width int) {
	l := lanesOf(width)
	n := len(dst) &^ 7
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], l.add(binary.LittleEndian.Uint64(dst[i:]), binary.LittleEndian.Uint64(base[i:])))
	}
	if n < len(dst) {
		put(dst[n:], l.add(get(dst[n:]), get(base[n:])))
	}
}

// get reads fewer than 8 bytes.
func get(b []byte) uint64 {
	var all [8]byte
	copy(all[:], b)
	return binary.LittleEndian.Uint64(all[:])
}

func put(b []byte, v uint64) {
	var all [8]byte
	binary.LittleEndian.PutUint64(all[:], v)
	copy(b, all[:])
}
