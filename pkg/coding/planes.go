package coding

import "encoding/binary"

// A number of width bytes is split so that the most significant bytes of all
// come first: plane 0. Numbers of formats whose exponent is not their first
// byte are turned by one bit before, which puts the exponent there and the sign
// last. Numbers are little-endian.

const (
	ones16 = 0x0001000100010001 // the lowest bit of each of four 16-bit numbers
	ones32 = 0x0000000100000001
)

// split puts the numbers of src into planes of dst, which is as long.
func split(dst, src []byte, width int, turn bool) {
	switch width {
	case 2:
		split16(dst, src, turn)
	case 4:
		split32(dst, src, turn)
	default:
		copy(dst, src)
	}
}

// merge undoes split.
func merge(dst, src []byte, width int, turn bool) {
	switch width {
	case 2:
		merge16(dst, src, turn)
	case 4:
		merge32(dst, src, turn)
	default:
		copy(dst, src)
	}
}

// split16 takes four numbers at a time.
func split16(dst, src []byte, turn bool) {
	n := len(src) / 2
	hi, lo := dst[:n], dst[n:2*n]
	i := 0
	for ; i+4 <= n; i += 4 {
		v := binary.LittleEndian.Uint64(src[2*i:])
		if turn {
			v = v<<1&^ones16 | v>>15&ones16
		}
		binary.LittleEndian.PutUint32(lo[i:], even(v))
		binary.LittleEndian.PutUint32(hi[i:], even(v>>8))
	}
	for ; i < n; i++ {
		v := binary.LittleEndian.Uint16(src[2*i:])
		if turn {
			v = v<<1 | v>>15
		}
		lo[i], hi[i] = byte(v), byte(v>>8)
	}
}

func merge16(dst, src []byte, turn bool) {
	n := len(src) / 2
	hi, lo := src[:n], src[n:2*n]
	i := 0
	for ; i+4 <= n; i += 4 {
		v := spread(binary.LittleEndian.Uint32(lo[i:])) | spread(binary.LittleEndian.Uint32(hi[i:]))<<8
		if turn {
			v = v>>1&^(ones16<<15) | v&ones16<<15
		}
		binary.LittleEndian.PutUint64(dst[2*i:], v)
	}
	for ; i < n; i++ {
		v := uint16(lo[i]) | uint16(hi[i])<<8
		if turn {
			v = v>>1 | v<<15
		}
		binary.LittleEndian.PutUint16(dst[2*i:], v)
	}
}

// even gathers bytes 0, 2, 4 and 6.
func even(v uint64) uint32 {
	v &= 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return uint32(v | v>>16)
}

// spread undoes even.
func spread(b uint32) uint64 {
	v := uint64(b)
	v = (v | v<<16) & 0x0000ffff0000ffff
	return (v | v<<8) & 0x00ff00ff00ff00ff
}

// split32 takes four numbers at a time.
func split32(dst, src []byte, turn bool) {
	n := len(src) / 4
	p0, p1, p2, p3 := dst[:n], dst[n:2*n], dst[2*n:3*n], dst[3*n:4*n]
	i := 0
	for ; i+4 <= n; i += 4 {
		a, b := binary.LittleEndian.Uint64(src[4*i:]), binary.LittleEndian.Uint64(src[4*i+8:])
		if turn {
			a, b = a<<1&^ones32|a>>31&ones32, b<<1&^ones32|b>>31&ones32
		}
		// Bytes 0 and 2, and 1 and 3, of the four numbers.
		even02 := uint64(even(a)) | uint64(even(b))<<32
		odd13 := uint64(even(a>>8)) | uint64(even(b>>8))<<32
		binary.LittleEndian.PutUint32(p3[i:], even(even02))
		binary.LittleEndian.PutUint32(p1[i:], even(even02>>8))
		binary.LittleEndian.PutUint32(p2[i:], even(odd13))
		binary.LittleEndian.PutUint32(p0[i:], even(odd13>>8))
	}
	for ; i < n; i++ {
		v := binary.LittleEndian.Uint32(src[4*i:])
		if turn {
			v = v<<1 | v>>31
		}
		p0[i], p1[i], p2[i], p3[i] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
}

func merge32(dst, src []byte, turn bool) {
	n := len(src) / 4
	p0, p1, p2, p3 := src[:n], src[n:2*n], src[2*n:3*n], src[3*n:4*n]
	i := 0
	for ; i+4 <= n; i += 4 {
		even02 := spread(binary.LittleEndian.Uint32(p3[i:])) | spread(binary.LittleEndian.Uint32(p1[i:]))<<8
		odd13 := spread(binary.LittleEndian.Uint32(p2[i:])) | spread(binary.LittleEndian.Uint32(p0[i:]))<<8
		a := spread(uint32(even02)) | spread(uint32(odd13))<<8
		b := spread(uint32(even02>>32)) | spread(uint32(odd13>>32))<<8
		if turn {
			a, b = a>>1&^(ones32<<31)|a&ones32<<31, b>>1&^(ones32<<31)|b&ones32<<31
		}
		binary.LittleEndian.PutUint64(dst[4*i:], a)
		binary.LittleEndian.PutUint64(dst[4*i+8:], b)
	}
	for ; i < n; i++ {
		v := uint32(p0[i])<<24 | uint32(p1[i])<<16 | uint32(p2[i])<<8 | uint32(p3[i])
		if turn {
			v = v>>1 | v<<31
		}
		binary.LittleEndian.PutUint32(dst[4*i:], v)
	}
}
