package diff

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/modelreg/modelreg/pkg/format"
)

// Values is by how much a tensor changed.
type Values struct {
	MaxAbs  float64 `json:"maxAbs"`  // the largest |new - old|
	MeanAbs float64 `json:"meanAbs"` // the mean of |new - old|

	// Relative is the norm of the difference over that of the old values; 0 if
	// they were all zero.
	Relative float64 `json:"relative"`

	// Cosine is of the angle between the old and the new values; 0 if one of
	// them is all zero.
	Cosine float64 `json:"cosine"`

	Differing int64 `json:"differing"` // elements
	Elements  int64 `json:"elements"`  // that are numbers on both sides
	NotFinite int64 `json:"notFinite"` // elements that are NaN or infinite on a side: they count for nothing else
}

// A decoder reads numbers of one type.
type decoder struct {
	width int
	at    func(p []byte) float64
}

// decoderOf returns how numbers of a type are read; without a width for types
// that are not read here, such as those of quantised weights.
func decoderOf(dtype string) decoder {
	le := binary.LittleEndian
	switch dtype {
	case "F64":
		return decoder{8, func(p []byte) float64 { return math.Float64frombits(le.Uint64(p)) }}
	case "F32":
		return decoder{4, func(p []byte) float64 { return float64(math.Float32frombits(le.Uint32(p))) }}
	case "F16":
		return decoder{2, func(p []byte) float64 { return half(le.Uint16(p)) }}
	case "BF16":
		return decoder{2, func(p []byte) float64 { return float64(math.Float32frombits(uint32(le.Uint16(p)) << 16)) }}
	case "F8_E4M3":
		return decoder{1, func(p []byte) float64 { return e4m3(p[0]) }}
	case "F8_E5M2":
		return decoder{1, func(p []byte) float64 { return half(uint16(p[0]) << 8) }}
	case "I64":
		return decoder{8, func(p []byte) float64 { return float64(int64(le.Uint64(p))) }}
	case "I32":
		return decoder{4, func(p []byte) float64 { return float64(int32(le.Uint32(p))) }}
	case "I16":
		return decoder{2, func(p []byte) float64 { return float64(int16(le.Uint16(p))) }}
	case "I8":
		return decoder{1, func(p []byte) float64 { return float64(int8(p[0])) }}
	case "U8", "BOOL":
		return decoder{1, func(p []byte) float64 { return float64(p[0]) }}
	}
	return decoder{}
}

// half reads a number of 16 bits as IEEE 754 has it.
func half(h uint16) float64 {
	sign, exp, frac := 1.0, int(h>>10&0x1f), float64(h&0x3ff)
	if h>>15 != 0 {
		sign = -1
	}
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 0x1f:
		if frac != 0 {
			return math.NaN()
		}
		return sign * math.Inf(1)
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

// e4m3 reads a number of 8 bits with four of exponent and no infinities.
func e4m3(b byte) float64 {
	sign, exp, frac := 1.0, int(b>>3&0xf), float64(b&7)
	if b>>7 != 0 {
		sign = -1
	}
	switch {
	case exp == 0xf && frac == 7:
		return math.NaN()
	case exp == 0:
		return sign * math.Ldexp(frac, -9)
	}
	return sign * math.Ldexp(8+frac, exp-10)
}

// measurable tells whether both tensors are numbers that can be read, and as
// many of them.
func measurable(from, to format.Tensor) bool {
	x, y := decoderOf(from.DType), decoderOf(to.DType)
	return x.width > 0 && y.width > 0 && from.Bytes%int64(x.width) == 0 && to.Bytes%int64(y.width) == 0 &&
		from.Bytes/int64(x.width) == to.Bytes/int64(y.width)
}

// measureOne reads both tensors, as many elements at once of one as of the
// other.
func (r *byteReader) measureOne(ctx context.Context, j job, from, to io.ReaderAt) error {
	a, b := decoderOf(j.pair.from.DType), decoderOf(j.pair.to.DType)
	count := int64(block / max(a.width, b.width))
	x, y := make([]byte, count*int64(a.width)), make([]byte, count*int64(b.width))
	total := j.pair.from.Bytes / int64(a.width)
	var s sums
	for at := int64(0); at < total; at += count {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(count, total-at)
		p, q := x[:n*int64(a.width)], y[:n*int64(b.width)]
		if err := readBoth(from, to, p, q, j.pair.from.Offset+at*int64(a.width), j.pair.to.Offset+at*int64(b.width)); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		r.read.Add(int64(len(p) + len(q)))
		for i := range n {
			s.add(a.at(p[i*int64(a.width):]), b.at(q[i*int64(b.width):]))
		}
	}
	j.pair.values = s.values()
	return nil
}

// sums are what Values is computed from.
type sums struct {
	n, differing, notFinite         int64
	largest, abs, delta, xx, yy, xy float64
}

func (s *sums) add(x, y float64) {
	d := y - x
	if math.IsNaN(d) || math.IsInf(d, 0) {
		s.notFinite++
		return
	}
	s.n++
	s.xx, s.yy, s.xy = s.xx+x*x, s.yy+y*y, s.xy+x*y
	if d == 0 {
		return
	}
	s.differing++
	d = math.Abs(d)
	s.largest = max(s.largest, d)
	s.abs += d
	s.delta += d * d
}

func (s *sums) values() *Values {
	v := &Values{MaxAbs: s.largest, Differing: s.differing, Elements: s.n, NotFinite: s.notFinite}
	if s.n > 0 {
		v.MeanAbs = finite(s.abs / float64(s.n))
	}
	if s.xx > 0 {
		v.Relative = finite(math.Sqrt(s.delta / s.xx))
	}
	if s.xx > 0 && s.yy > 0 {
		v.Cosine = finite(min(s.xy/math.Sqrt(s.xx)/math.Sqrt(s.yy), 1))
	}
	return v
}

// finite keeps what JSON has a number for.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}
