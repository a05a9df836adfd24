package chunk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/chunk"
)

// random returns n bytes that are the same on every run.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// encode indexes b, written in pieces of the given size.
func encode(t testing.TB, b []byte, cuts []int64, piece int) []byte {
	t.Helper()
	builder := chunk.NewBuilder(int64(len(b)), cuts)
	for p := b; len(p) > 0; {
		n := min(piece, len(p))
		if _, err := builder.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	raw, err := builder.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func index(t testing.TB, b []byte, cuts []int64) *chunk.Index {
	t.Helper()
	x, err := chunk.Parse(encode(t, b, cuts, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestIndexIsOfTheBytes(t *testing.T) {
	tests := map[string]struct {
		size int
		cuts []int64
		want []int64 // starts; nil: not looked at
	}{
		"empty, by content":     {0, nil, []int64{}},
		"empty, by grid":        {0, []int64{}, []int64{}},
		"one byte":              {1, []int64{}, []int64{0}},
		"grid":                  {2*chunk.Grid + 1, []int64{}, []int64{0, chunk.Grid, 2 * chunk.Grid}},
		"whole chunks":          {2 * chunk.Grid, []int64{}, []int64{0, chunk.Grid}},
		"cut":                   {2 * chunk.Grid, []int64{100}, []int64{0, 100, 100 + chunk.Grid}},
		"cut on the grid":       {2 * chunk.Grid, []int64{chunk.Grid}, []int64{0, chunk.Grid}},
		"cuts that are none":    {chunk.Grid, []int64{-1, 0, 7, 7, 3, chunk.Grid, 1 << 40}, []int64{0, 7}},
		"content":               {5 << 20, nil, nil},
		"content, one chunk":    {chunk.MinLength, nil, []int64{0}},
		"content, of few bytes": {10, nil, []int64{0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := random(1, test.size)
			raw := encode(t, b, test.cuts, 1<<20)
			for _, piece := range []int{7, 4096, chunk.Grid, 3 << 20} {
				if piece == 7 && test.size > 1<<20 {
					continue
				}
				if !bytes.Equal(raw, encode(t, b, test.cuts, piece)) {
					t.Errorf("written in pieces of %d bytes the index is another", piece)
				}
			}
			x, err := chunk.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			starts := check(t, x, b)
			if test.want != nil && !cmp.Equal(test.want, starts) {
				t.Error(cmp.Diff(test.want, starts))
			}
		})
	}
}

func sum(h hash.Hash, b []byte) []byte {
	h.Write(b)
	return h.Sum(nil)
}

// check compares an index with the file and returns where its chunks start.
func check(t *testing.T, x *chunk.Index, b []byte) []int64 {
	t.Helper()
	starts := []int64{}
	at := int64(0)
	for i, c := range x.All() {
		if c.Offset != at || c.Length <= 0 || c.Length > chunk.MaxChunk {
			t.Fatalf("chunk %d: %d bytes at %d, want some at %d", i, c.Length, c.Offset, at)
		}
		at += c.Length
		if h := chunk.NewHash(); !bytes.Equal(sum(h, b[c.Offset:at]), c.Hash) {
			t.Errorf("chunk %d: wrong hash", i)
		}
		starts = append(starts, c.Offset)
	}
	if at != int64(len(b)) || x.Size() != at {
		t.Errorf("chunks of %d bytes, size %d, of a file of %d", at, x.Size(), len(b))
	}
	return starts
}

func TestContentCutsHaveTheRightLengths(t *testing.T) {
	x := index(t, random(2, 64<<20), nil)
	for i, c := range x.All() {
		if last := i == x.Len()-1; !last && c.Length < chunk.MinLength || c.Length > chunk.MaxLength {
			t.Errorf("chunk %d of %d bytes", i, c.Length)
		}
	}
	if mean := x.Size() / int64(x.Len()); mean < 200<<10 || mean > 320<<10 {
		t.Errorf("chunks of %d bytes on average", mean)
	}
	// Without anything random in it every chunk is as long as it may be.
	if x := index(t, make([]byte, 4<<20), nil); x.Len() != 8 {
		t.Errorf("zeros have %d chunks", x.Len())
	}
}

func TestContentCutsSurviveInsertion(t *testing.T) {
	b := random(3, 32<<20)
	edited := append(append(bytes.Clone(b[:1000]), "forty bytes, or thereabouts, put in here"...), b[1000:]...)
	plan := chunk.NewPlan(&index(t, edited, nil).Table)
	plan.Add(&index(t, b, nil).Table)
	if plan.Missing() > 2*chunk.MaxLength {
		t.Errorf("%d bytes of %d are missing", plan.Missing(), len(edited))
	}
}

// The format and the cuts are for ever: indexes that are in registries must be
// those that are made of the same files later.
func TestFormatIsFixed(t *testing.T) {
	tests := map[string]struct {
		cuts []int64
		want string
	}{
		"by grid":    {[]int64{1000, 300_000}, "764bdd138429843e8b927eac81f2e5fa"},
		"by content": {nil, "a317f8fa48a5df2e73e0ef0202d8c6ab"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sum := sha256.Sum256(encode(t, random(4, 2<<20), test.cuts, 1<<20))
			if got := hex.EncodeToString(sum[:16]); got != test.want {
				t.Errorf("SHA-256 of the index = %s, want %s", got, test.want)
			}
		})
	}
	if got, want := hex.EncodeToString(encode(t, []byte("abc"), []int64{1}, 3)[:11]), "4d52435802010302808010"; got != want {
		t.Errorf("index starts with %s, want %s", got, want)
	}
}

func TestBuilderRefuses(t *testing.T) {
	b := chunk.NewBuilder(3, nil)
	if _, err := b.Write([]byte("abcd")); err == nil {
		t.Error("took more bytes than the file has")
	}
	if _, err := b.Write([]byte("ab")); err != nil {
		t.Error(err)
	}
	if _, err := b.Finish(); err == nil {
		t.Error("finished before the end")
	}
}

func TestParseRefuses(t *testing.T) {
	good := encode(t, random(5, 1<<20), []int64{1000}, 1<<20)
	byLength := encode(t, random(5, 1<<20), nil, 1<<20)
	edit := func(b []byte, i int, v byte) []byte {
		b = bytes.Clone(b)
		b[i] = v
		return b
	}
	head := "MRCX\x02"
	tests := map[string][]byte{
		"empty":                nil,
		"other magic":          edit(good, 0, 'X'),
		"other version":        edit(good, 4, 1),
		"cut in another way":   edit(good, 5, 3),
		"cut short":            good[:len(good)-1],
		"no hashes":            good[:20],
		"trailing byte":        append(bytes.Clone(good), 0),
		"by length, short":     byLength[:len(byLength)-32],
		"without states":       good[:len(good)-64],
		"by length, trailing":  append(bytes.Clone(byLength), 0),
		"size too large":       []byte(head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"),
		"chunks without bytes": []byte(head + "\x01\x05\xff\xff\xff\xff\x0f"),
		"grid of nothing":      []byte(head + "\x01\x05\x01\x00\x00" + string(make([]byte, 48))),
		"grid too small":       []byte(head + "\x01\x05\x05\x01\x00" + string(make([]byte, 112))),
		"huge file, one chunk": []byte(head + "\x01\x80\x80\x80\x80\x80\x02\x01\x80\x20\x00" + string(make([]byte, 48))),
		"cut at the end":       []byte(head + "\x01\x05\x02\x80\x20\x01\x05" + string(make([]byte, 64))),
		"cut twice":            []byte(head + "\x01\x05\x03\x80\x20\x02\x02\x00" + string(make([]byte, 80))),
		"more cuts than bytes": []byte(head + "\x01\x05\x01\x80\x20\xff\xff\x03\x01" + string(make([]byte, 48))),
		"long number":          []byte(head + "\x02\x85\x00\x01\x05" + string(make([]byte, 48))),
		"length past the end":  []byte(head + "\x02\x05\x01\x06" + string(make([]byte, 48))),
		"lengths too short":    []byte(head + "\x02\x05\x01\x04" + string(make([]byte, 48))),
		"length of nothing":    []byte(head + "\x02\x05\x02\x00\x05" + string(make([]byte, 64))),
		"chunk too long":       []byte(head + "\x02\x81\x80\x80\x02\x01\x81\x80\x80\x02" + string(make([]byte, 48))),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := chunk.Parse(raw); !errors.Is(err, chunk.ErrMalformed) {
				t.Errorf("Parse error = %v, want one that wraps ErrMalformed", err)
			}
			if _, err := chunk.ReadTable(bytes.NewReader(raw), int64(len(raw))); !errors.Is(err, chunk.ErrMalformed) {
				t.Errorf("ReadTable error = %v, want one that wraps ErrMalformed", err)
			}
		})
	}
}

// What is accepted covers its file once, and takes memory as its bytes do.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, random(6, 1<<20), []int64{1000, 5000}, 1<<20))
	f.Add(encode(f, random(6, 300_000), nil, 1<<20))
	f.Add(encode(f, nil, nil, 1))
	f.Add([]byte("MRCX\x02\x01\x80\x80\x80\x80\x80\x02\x01\x80\x20\x00" + string(make([]byte, 32))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := chunk.Parse(raw)
		table, terr := chunk.ReadTable(bytes.NewReader(raw), int64(len(raw)))
		if (err == nil) != (terr == nil) {
			t.Fatalf("Parse = %v, ReadTable = %v", err, terr)
		}
		if err != nil {
			return
		}
		if !reflect.DeepEqual(table, &x.Table) {
			t.Fatal("the table is not that of the index")
		}
		if x.Len() > len(raw)/16 {
			t.Fatalf("%d chunks in %d bytes", x.Len(), len(raw))
		}
		at := int64(0)
		for i, c := range x.All() {
			if c.Offset != at || c.Length <= 0 || c.Length > chunk.MaxChunk {
				t.Fatalf("chunk %d: %d bytes at %d, want some at %d", i, c.Length, c.Offset, at)
			}
			at += c.Length
		}
		if at != x.Size() {
			t.Fatalf("chunks of %d bytes in a file of %d", at, x.Size())
		}
		if n := x.Pieces(); n > len(raw)/32 || x.Verify(n, nil) || x.Verify(-1, nil) {
			t.Fatalf("%d pieces in %d bytes, or more", n, len(raw))
		}
		plan := chunk.NewPlan(table)
		missing := x.Size() - plan.Add(table)
		for c := range plan.Recipe().Copies() {
			if c.At < 0 || c.At+c.Length > x.Size() {
				t.Fatalf("copy of %d bytes at %d from outside the file", c.Length, c.At)
			}
			missing += c.Length
		}
		if missing != x.Size() {
			t.Fatalf("%d bytes are missing or copied, of %d", missing, x.Size())
		}
	})
}

func BenchmarkBuilder(b *testing.B) {
	data := random(7, 16<<20)
	for name, cuts := range map[string][]int64{"grid": {}, "content": nil} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				builder := chunk.NewBuilder(int64(len(data)), cuts)
				for at := 0; at < len(data); at += 1 << 20 {
					if _, err := builder.Write(data[at : at+1<<20]); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := builder.Finish(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
