package coding_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/pkg/coding"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbers makes n numbers of a normal distribution, with some that are special.
func numbers(t coding.Type, n int, sigma float64) []byte {
	r := rand.New(rand.NewPCG(uint64(t), uint64(n)))
	var b []byte
	for i := range n {
		f := float32(r.NormFloat64() * sigma)
		if i%1000 == 999 {
			f = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, 1e-45}[i/1000%6]
		}
		bits := math.Float32bits(f)
		switch t {
		case coding.Float32:
			b = binary.LittleEndian.AppendUint32(b, bits)
		case coding.BFloat16, coding.Float16:
			b = binary.LittleEndian.AppendUint16(b, uint16(bits>>16))
		default:
			b = append(b, byte(bits>>24))
		}
	}
	return b
}

func encode(t testing.TB, data []byte, regions []coding.Region, opts coding.EncodeOptions) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := coding.Encode(t.Context(), &out, iotest.HalfReader(bytes.NewReader(data)), int64(len(data)), regions, opts); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decode(t testing.TB, coded []byte, size int, base []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	err := coding.Decode(t.Context(), &out, iotest.HalfReader(bytes.NewReader(coded)), int64(size), coding.DecodeOptions{Base: readerAt(base), Workers: 2})
	return out.Bytes(), err
}

func readerAt(b []byte) io.ReaderAt {
	if b == nil {
		return nil
	}
	return bytes.NewReader(b)
}

func TestRoundTrip(t *testing.T) {
	sizes := []int{0, 1, 3, 7, 8, 9, 1000, 1<<17 - 1, 1<<18 + 5, 1<<20 + 3}
	for kind := coding.Bytes; kind <= coding.Float32; kind++ {
		for _, n := range sizes {
			data := numbers(kind, n, 0.02)
			for odd := range 2 { // half a number at the end
				data = append(data, make([]byte, odd)...)
				t.Run(fmt.Sprintf("type %d, %d bytes", kind, len(data)), func(t *testing.T) {
					regions := []coding.Region{{Length: int64(len(data)), Type: kind}}
					coded := encode(t, data, regions, coding.EncodeOptions{})
					got, err := decode(t, coded, len(data), nil)
					if err != nil || !bytes.Equal(got, data) {
						t.Fatalf("Decode = %d bytes, %v; want the %d that were encoded", len(got), err, len(data))
					}
					if again := encode(t, data, regions, coding.EncodeOptions{Workers: 3}); !bytes.Equal(again, coded) {
						t.Error("with other workers the coding differs")
					}
				})
			}
		}
	}
}

// What a coding is for: the ratios that are promised.
func TestRatio(t *testing.T) {
	const n = 1 << 20
	for kind, most := range map[coding.Type]float64{coding.BFloat16: 0.68, coding.Float32: 0.85, coding.Bytes: 1.001} {
		data := numbers(kind, n, 0.02)
		if kind == coding.Bytes {
			rand.NewChaCha8([32]byte{}).Read(data) //nolint:errcheck // cannot fail
		}
		coded := encode(t, data, []coding.Region{{Length: int64(len(data)), Type: kind}}, coding.EncodeOptions{})
		if ratio := float64(len(coded)) / float64(len(data)); ratio > most {
			t.Errorf("type %d is coded in %.3f of its size, want %.3f", kind, ratio, most)
		}
	}
}

// tuned is what becomes of BF16 numbers by training them on a little.
func tuned(data []byte, sigma float64) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	out := bytes.Clone(data)
	for i := 0; i+2 <= len(out); i += 2 {
		v := math.Float32frombits(uint32(binary.LittleEndian.Uint16(out[i:])) << 16)
		bits := math.Float32bits(v + float32(r.NormFloat64()*sigma))
		binary.LittleEndian.PutUint16(out[i:], uint16((bits+0x7fff+bits>>16&1)>>16))
	}
	return out
}

func TestDifference(t *testing.T) {
	base := numbers(coding.BFloat16, 1<<19, 0.02)
	for sigma, most := range map[float64]float64{0: 0.001, 0.02 * 0.001: 0.15, 0.02 * 0.01: 0.35} {
		data := tuned(base, sigma)
		shifted := append([]byte("a header"), base...)
		regions := []coding.Region{{Length: int64(len(data)), Type: coding.BFloat16, HasBase: true, Base: 8}}
		coded := encode(t, data, regions, coding.EncodeOptions{Base: readerAt(shifted)})
		if ratio := float64(len(coded)) / float64(len(data)); ratio > most {
			t.Errorf("at %v the coding takes %.3f, want %.3f", sigma, ratio, most)
		}
		if got, err := decode(t, coded, len(data), shifted); err != nil || !bytes.Equal(got, data) {
			t.Errorf("at %v Decode = %d bytes, %v", sigma, len(got), err)
		}
		for name, wrong := range map[string][]byte{"no": nil, "a shorter": base[:len(base)-1]} {
			if _, err := decode(t, coded, len(data), wrong); !errors.Is(err, coding.ErrMalformed) {
				t.Errorf("with %s base Decode = %v, want ErrMalformed", name, err)
			}
		}
		if got, err := decode(t, coded, len(data), append([]byte("another "), tuned(base, 0.01)...)); err == nil && bytes.Equal(got, data) {
			t.Error("with another base the result is the same")
		}
	}
	// Numbers that have nothing to do with the base are coded without it.
	other := numbers(coding.BFloat16, 1<<19, 3)
	r := []coding.Region{{Length: int64(len(other)), Type: coding.BFloat16, HasBase: true}}
	with := encode(t, other, r, coding.EncodeOptions{Base: readerAt(base)})
	r[0].HasBase = false
	if without := encode(t, other, r, coding.EncodeOptions{}); len(with) > len(without) {
		t.Errorf("a base that does not fit makes the coding %d bytes instead of %d", len(with), len(without))
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := map[string][]coding.Region{
		"beyond the file": {{Offset: 4, Length: 7}},
		"overlap":         {{Length: 6}, {Offset: 5, Length: 2}},
		"negative":        {{Offset: -1, Length: 2}},
		"unknown type":    {{Length: 4, Type: 5}},
		"no base":         {{Length: 4, HasBase: true}},
		"overflow":        {{Offset: 2, Length: math.MaxInt64}},
	}
	for name, regions := range tests {
		t.Run(name, func(t *testing.T) {
			if err := coding.Encode(t.Context(), io.Discard, bytes.NewReader(make([]byte, 10)), 10, regions, coding.EncodeOptions{}); err == nil {
				t.Error("Encode takes it")
			}
		})
	}
	if err := coding.Encode(t.Context(), io.Discard, bytes.NewReader(nil), 10, nil, coding.EncodeOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short file: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	data := numbers(coding.BFloat16, 1<<17, 0.02)
	good := encode(t, data, []coding.Region{{Length: int64(len(data)), Type: coding.BFloat16}}, coding.EncodeOptions{})
	edit := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	tests := map[string][]byte{
		"empty":                nil,
		"only a head":          good[:16],
		"no magic":             edit(0, 'X'),
		"version 2":            edit(7, '2'),
		"another size":         edit(8, 1),
		"unknown type":         edit(16, 5),
		"something in the gap": edit(17, 1),
		"frame too long":       edit(20, 0, 0, 0x10, 1),
		"frame of nothing":     edit(20, 0, 0, 0, 0),
		"half a number":        edit(20, 1, 0, 4, 0),
		"takes too much":       edit(24, 0xff, 0xff, 0xff, 0xff),
		"base without need":    edit(28, 1),
		"difference, no base":  edit(16, 3|0x80),
		"unknown block":        edit(36, 9),
		"raw, and too short":   edit(36, 0),
		"block too long":       edit(37, 0xff, 0xff, 0xff),
		"damaged table":        edit(40, 0xff, 0xff),
		"cut":                  good[:len(good)-1],
		"more at the end":      append(bytes.Clone(good), 0),
	}
	for name, coded := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := decode(t, coded, len(data), nil); !errors.Is(err, coding.ErrMalformed) {
				t.Errorf("Decode = %v, want ErrMalformed", err)
			}
		})
	}
}

// A failingWriter takes some bytes.
type failingWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestStops(t *testing.T) {
	data := make([]byte, 20<<20)
	coded := encode(t, data, nil, coding.EncodeOptions{})
	errBroken := errors.New("broken")
	if err := coding.Encode(t.Context(), &failingWriter{1000}, bytes.NewReader(numbers(coding.Float32, 1<<20, 1)), 4<<20, nil, coding.EncodeOptions{}); !errors.Is(err, errFull) {
		t.Errorf("Encode to a full disk = %v", err)
	}
	if err := coding.Decode(t.Context(), &failingWriter{2 << 20}, bytes.NewReader(coded), int64(len(data)), coding.DecodeOptions{}); !errors.Is(err, errFull) {
		t.Errorf("Decode to a full disk = %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(coded[:100]), iotest.ErrReader(errBroken))
	if err := coding.Decode(t.Context(), io.Discard, broken, int64(len(data)), coding.DecodeOptions{}); !errors.Is(err, errBroken) || errors.Is(err, coding.ErrMalformed) {
		t.Errorf("Decode of a broken connection = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := coding.Decode(ctx, io.Discard, bytes.NewReader(coded), int64(len(data)), coding.DecodeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Decode after cancel = %v", err)
	}
}

// Whatever a stream is, decoding it gives the promised size or an error.
func FuzzDecode(f *testing.F) {
	base := numbers(coding.BFloat16, 300, 0.02)
	for kind := coding.Bytes; kind <= coding.Float32; kind++ {
		data := numbers(kind, 600, 0.02)
		f.Add(encode(f, data, []coding.Region{{Offset: 4, Length: int64(len(data) - 4), Type: kind}}, coding.EncodeOptions{}), uint32(len(data)))
		data = numbers(kind, 64, 0.02)
		f.Add(encode(f, data, []coding.Region{{Length: int64(len(data)), Type: kind, HasBase: true}}, coding.EncodeOptions{Base: readerAt(base)}), uint32(len(data)))
	}
	repeated := make([]byte, 5000)
	repeated[77], repeated[99] = 1, 2 // for zstd
	f.Add(encode(f, repeated, nil, coding.EncodeOptions{}), uint32(len(repeated)))
	f.Fuzz(func(t *testing.T, coded []byte, size uint32) {
		got, err := decode(t, coded, int(size), base)
		if err != nil && !errors.Is(err, coding.ErrMalformed) {
			t.Errorf("Decode = %v", err)
		}
		if err == nil && len(got) != int(size) || len(got) > int(size) {
			t.Errorf("Decode = %d bytes, %v; want %d", len(got), err, size)
		}
	})
}

// Whatever bytes are encoded come back.
func FuzzRoundTrip(f *testing.F) {
	f.Add(numbers(coding.Float32, 100, 1), byte(4), uint16(8), uint16(300), true)
	f.Fuzz(func(t *testing.T, data []byte, kind byte, offset, length uint16, hasBase bool) {
		r := coding.Region{Type: coding.Type(kind % 5), HasBase: hasBase}
		r.Offset = min(int64(offset), int64(len(data)))
		r.Length = min(int64(length), int64(len(data))-r.Offset)
		base := append(bytes.Clone(data[len(data)/2:]), data...)
		coded := encode(t, data, []coding.Region{r}, coding.EncodeOptions{Base: readerAt(base)})
		if got, err := decode(t, coded, len(data), base); err != nil || !bytes.Equal(got, data) {
			t.Errorf("Decode = %d bytes, %v; want what was encoded", len(got), err)
		}
	})
}

func BenchmarkBF16(b *testing.B) {
	data := numbers(coding.BFloat16, 8<<20, 0.02)
	other := tuned(data, 0.02*0.001)
	whole := coding.Region{Length: int64(len(data)), Type: coding.BFloat16}
	diff := whole
	diff.HasBase = true
	for name, r := range map[string]coding.Region{"exponents": whole, "difference": diff} {
		opts := coding.EncodeOptions{Workers: 1, Base: bytes.NewReader(data)}
		b.Run("encode/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := coding.Encode(b.Context(), io.Discard, bytes.NewReader(other), int64(len(data)), []coding.Region{r}, opts); err != nil {
					b.Fatal(err)
				}
			}
		})
		var coded bytes.Buffer
		if err := coding.Encode(b.Context(), &coded, bytes.NewReader(other), int64(len(data)), []coding.Region{r}, opts); err != nil {
			b.Fatal(err)
		}
		b.Run("decode/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := coding.Decode(b.Context(), io.Discard, bytes.NewReader(coded.Bytes()), int64(len(data)), coding.DecodeOptions{Workers: 1, Base: opts.Base}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
