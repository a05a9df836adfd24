package diff_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A blob is a file in memory, whose index may be there, or may lie.
type blob struct {
	*bytes.Reader
	index *chunk.Index
	read  *atomic.Int64
}

func (b blob) Close() error         { return nil }
func (b blob) Verified() bool       { return b.index != nil }
func (b blob) Chunks() *chunk.Index { return b.index }

func (b blob) ReadAt(p []byte, off int64) (int, error) {
	b.read.Add(int64(len(p)))
	return b.Reader.ReadAt(p, off)
}

// A maker makes sides of a comparison.
type maker struct {
	t    testing.TB
	read atomic.Int64 // bytes, of all files
}

func (m *maker) file(path string, data, index []byte) diff.File {
	m.t.Helper()
	var x *chunk.Index
	if index != nil {
		var err error
		if x, err = chunk.Parse(index); err != nil {
			m.t.Fatal(err)
		}
	}
	kind := mediatypes.KindWeight
	if !strings.Contains(path, "safetensors") {
		kind = mediatypes.KindDoc
	}
	return diff.File{
		Path: path, Kind: kind, Size: int64(len(data)), Digest: digest.FromBytes(data),
		Open: func(context.Context) (diff.Reader, error) { return blob{bytes.NewReader(data), x, &m.read}, nil },
	}
}

func (m *maker) text(path, text string) diff.File { return m.file(path, []byte(text), nil) }

// weights is a file of tensors with the index that a push makes of it.
func (m *maker) weights(path string, tensors ...testmodel.Tensor) diff.File {
	data := testmodel.SafetensorsFile(tensors, nil)
	return m.file(path, data, indexOf(m.t, data, tensors))
}

// plain is the same without an index.
func (m *maker) plain(path string, tensors ...testmodel.Tensor) diff.File {
	return m.file(path, testmodel.SafetensorsFile(tensors, nil), nil)
}

// indexOf cuts a file as package artifact does.
func indexOf(t testing.TB, data []byte, tensors []testmodel.Tensor) []byte {
	t.Helper()
	at := int64(8 + binary.LittleEndian.Uint64(data))
	var cuts []int64
	last := int64(64 << 10)
	for _, x := range tensors {
		if n := int64(len(x.Data)); n >= 64<<10 || last >= 64<<10 {
			cuts = append(cuts, at)
		}
		last = int64(len(x.Data))
		at += last
	}
	b := chunk.NewBuilder(int64(len(data)), cuts)
	if _, err := b.Write(data); err != nil {
		t.Fatal(err)
	}
	index, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// tensor is one of n float32 whose values depend on the seed.
func tensor(name string, n int, seed float32) testmodel.Tensor {
	data := make([]byte, 0, 4*n)
	for i := range n {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(seed+float32(i)/1024))
	}
	return testmodel.Tensor{Name: name, DType: "F32", Shape: []int64{int64(n)}, Data: data}
}

// with returns a tensor with one element changed.
func with(t testmodel.Tensor, at int, value float32) testmodel.Tensor {
	t.Data = slices.Clone(t.Data)
	binary.LittleEndian.PutUint32(t.Data[4*at:], math.Float32bits(value))
	return t
}

func compare(t *testing.T, a, b []diff.File, opts diff.Options) *diff.Result {
	t.Helper()
	if opts.Levels == (diff.Levels{}) {
		opts.Levels = diff.Levels{Tensors: true}
	}
	res, err := diff.Compare(t.Context(), diff.Side{Name: "a", Files: a}, diff.Side{Name: "b", Files: b}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func names[T any](list []T, name func(T) string) string {
	var out []string
	for _, x := range list {
		out = append(out, name(x))
	}
	return strings.Join(out, " ")
}

// said is what a comparison said of each tensor, in a line.
func said(t *diff.Tensors) string {
	changed := func(c diff.TensorChange) string { return c.Name + ":" + c.Evidence }
	info := func(i diff.TensorInfo) string { return i.Name }
	return fmt.Sprintf("same %d, changed [%s] reshaped [%s] retyped [%s] unknown [%s] moved [%s] added [%s] removed [%s]", t.Identical,
		names(t.Changed, changed), names(t.Reshaped, changed), names(t.Retyped, changed), names(t.Unknown, changed),
		names(t.Moved, func(c diff.TensorChange) string { return c.Name }), names(t.Added, info), names(t.Removed, info))
}

const big = 200_000 // elements of a tensor of several chunks

func TestTensors(t *testing.T) {
	m := &maker{t: t}
	x, y, small, tiny := tensor("x", big, 1), tensor("y", big, 2), tensor("small", 100, 3), tensor("tiny", 10, 4)
	retyped := x
	retyped.DType, retyped.Shape = "BF16", []int64{2 * big}
	reshaped := x
	reshaped.Shape = []int64{2, big / 2}
	halves := with(x, 0, 9)
	halves.DType, halves.Shape = "I32", []int64{big}
	type files = []diff.File
	tests := map[string]struct {
		from, to files
		opts     diff.Options
		want     string
		read     [2]int64 // bytes of tensors that may be read: at least, at most
	}{
		"nothing":    {nil, nil, diff.Options{}, "same 0, changed [] reshaped [] retyped [] unknown [] moved [] added [] removed []", [2]int64{}},
		"same files": {files{m.weights("a.safetensors", x, y)}, files{m.weights("a.safetensors", x, y)}, diff.Options{}, "same 2, changed [] reshaped [] retyped [] unknown [] moved [] added [] removed []", [2]int64{}},
		"the same file twice": {
			files{m.weights("a.safetensors", x, y), m.weights("copy/a.safetensors", x, y)},
			files{m.weights("a.safetensors", x, y), m.weights("copy/a.safetensors", x, y)},
			diff.Options{},
			"same 4, changed [] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{},
		},
		"the same file once more": {
			files{m.weights("a.safetensors", x)},
			files{m.weights("a.safetensors", x), m.weights("copy/a.safetensors", x)},
			diff.Options{},
			"same 1, changed [] reshaped [] retyped [] unknown [] moved [] added [x] removed []",
			[2]int64{},
		},
		"by index": {
			files{m.weights("a.safetensors", x, y)},
			files{m.weights("a.safetensors", with(x, 150_000, 0), y)},
			diff.Options{},
			"same 1, changed [x:index] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{},
		},
		"another header and order": {
			files{m.weights("a.safetensors", x, y)},
			files{m.weights("a.safetensors", tensor("first", big, 7), y, x)},
			diff.Options{},
			"same 2, changed [] reshaped [] retyped [] unknown [] moved [] added [first] removed []",
			[2]int64{},
		},
		"other shards": {
			files{m.weights("a-1.safetensors", x, y)},
			files{m.weights("b-1.safetensors", y), m.weights("b-2.safetensors", with(x, 0, 0))},
			diff.Options{},
			"same 1, changed [x:index] reshaped [] retyped [] unknown [] moved [y x] added [] removed []",
			[2]int64{},
		},
		"small ones share a chunk": {
			files{m.weights("a.safetensors", x, small, tiny)},
			files{m.weights("a.safetensors", x, with(small, 5, 0), tiny)},
			diff.Options{},
			"same 2, changed [small:bytes] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{800, 1000},
		},
		"the one beside a changed one is read": {
			files{m.weights("a.safetensors", x, small, tiny)},
			files{m.weights("a.safetensors", x, small, with(tiny, 5, 0))},
			diff.Options{},
			"same 2, changed [tiny:bytes] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{800, 1000},
		},
		"beside another neighbour": {
			files{m.weights("a.safetensors", x, small)},
			files{m.weights("a.safetensors", x, tiny, small)},
			diff.Options{},
			"same 2, changed [] reshaped [] retyped [] unknown [] moved [] added [tiny] removed []",
			[2]int64{800, 800},
		},
		"no index": {
			files{m.plain("a.safetensors", x, y)},
			files{m.plain("a.safetensors", with(x, 150_000, 0), y)},
			diff.Options{},
			"same 1, changed [x:bytes] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{8 * big, 16 * big},
		},
		"believes no index": {
			files{m.weights("a.safetensors", x, y)},
			files{m.weights("a.safetensors", with(x, 150_000, 0), y)},
			diff.Options{Bytes: true},
			"same 1, changed [x:bytes] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{8 * big, 16 * big},
		},
		"nothing may be fetched": {
			files{m.plain("a.safetensors", x, small)},
			files{m.plain("a.safetensors", with(x, 0, 0), with(small, 0, 0))},
			diff.Options{MaxFetch: -1},
			"same 0, changed [] reshaped [] retyped [] unknown [x: small:] moved [] added [] removed []",
			[2]int64{},
		},
		"what is small comes first": {
			files{m.plain("a.safetensors", x, small)},
			files{m.plain("a.safetensors", with(x, 0, 0), with(small, 0, 0))},
			diff.Options{MaxFetch: 1000},
			"same 0, changed [small:bytes] reshaped [] retyped [] unknown [x:] moved [] added [] removed []",
			[2]int64{800, 800},
		},
		"shape and type": {
			files{m.weights("a.safetensors", x, y)},
			files{m.weights("a.safetensors", reshaped, tensor("y", 10, 2))},
			diff.Options{},
			"same 0, changed [] reshaped [x: y:] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{},
		},
		"type": {
			files{m.weights("a.safetensors", x)},
			files{m.weights("a.safetensors", halves)},
			diff.Options{},
			"same 0, changed [] reshaped [] retyped [x:] unknown [] moved [] added [] removed []",
			[2]int64{},
		},
		"parts of one name": {
			files{m.weights("unet/a.safetensors", x), m.weights("vae/a.safetensors", tensor("x", big, 5))},
			files{m.weights("unet/b.safetensors", x), m.weights("vae/b.safetensors", tensor("x", big, 6))},
			diff.Options{},
			"same 1, changed [x:index] reshaped [] retyped [] unknown [] moved [x x] added [] removed []",
			[2]int64{},
		},
		"no values": {
			files{m.weights("a.safetensors", tensor("none", 0, 0), x)},
			files{m.weights("a.safetensors", tensor("none", 0, 0), with(x, 0, 3))},
			diff.Options{},
			"same 1, changed [x:index] reshaped [] retyped [] unknown [] moved [] added [] removed []",
			[2]int64{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := compare(t, tt.from, tt.to, tt.opts).Tensors
			if d := cmp.Diff(tt.want, said(got)); d != "" {
				t.Error(d)
			}
			if got.ReadBytes < tt.read[0] || got.ReadBytes > tt.read[1] {
				t.Errorf("%d bytes of tensors were read, want %d to %d", got.ReadBytes, tt.read[0], tt.read[1])
			}
		})
	}
}

// An index that hides a change is found out where that needs no bytes, and by
// --bytes always.
func TestLyingIndex(t *testing.T) {
	m := &maker{t: t}
	x, y := tensor("x", big, 1), tensor("y", big, 2)
	honest := m.weights("a.safetensors", x, y)
	data := testmodel.SafetensorsFile([]testmodel.Tensor{with(x, 0, 100), y}, nil)
	was := testmodel.SafetensorsFile([]testmodel.Tensor{x, y}, nil)
	lie := indexOf(t, was, []testmodel.Tensor{x, y})
	sum := digest.FromBytes(data)
	raw := []byte(sum.Encoded())
	// The digest at the end is the one thing that is compared with the file.
	for i := range 32 {
		lie[len(lie)-32+i] = unhex(raw[2*i])<<4 | unhex(raw[2*i+1])
	}
	res := compare(t, []diff.File{honest}, []diff.File{m.file("a.safetensors", data, lie)}, diff.Options{})
	if got := said(res.Tensors); !strings.Contains(got, "changed [x:bytes]") || len(res.Problems) != 1 {
		t.Errorf("%s, problems %q", got, res.Problems)
	}
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func TestValues(t *testing.T) {
	m := &maker{t: t}
	x := tensor("x", big, 1)
	changed := with(with(with(x, 0, 1.5), 1, float32(math.NaN())), 1024, 2.25) // was 1 + 1
	res := compare(t, []diff.File{m.weights("a.safetensors", x, tensor("y", 8, 0))}, []diff.File{m.weights("a.safetensors", changed, tensor("y", 8, 0))}, diff.Options{Values: true})
	if len(res.Tensors.Changed) != 1 {
		t.Fatal(said(res.Tensors))
	}
	v := res.Tensors.Changed[0].Values
	if v == nil || v.MaxAbs != 0.5 || v.Differing != 2 || v.NotFinite != 1 || v.Elements != big-1 || v.Cosine < 0.99999 || v.Cosine > 1 || v.MeanAbs != 0.75/(big-1) {
		t.Errorf("values = %+v", v)
	}
	if g := res.Tensors.Groups[0]; g.Values == nil || g.Values.MaxAbs != 0.5 {
		t.Errorf("group = %+v", g)
	}
}

// Types are decoded as those who write them do.
func TestValuesOfTypes(t *testing.T) {
	m := &maker{t: t}
	one := map[string][]byte{
		"F64": {0, 0, 0, 0, 0, 0, 0xf8, 0x3f}, "F32": {0, 0, 0xc0, 0x3f}, "F16": {0, 0x3e}, "BF16": {0xc0, 0x3f},
		"F8_E4M3": {0x3c}, "F8_E5M2": {0x3e},
	} // 1.5 each
	for from, a := range one {
		for to, b := range one {
			x := testmodel.Tensor{Name: "x", DType: from, Shape: []int64{2}, Data: append(bytes.Repeat([]byte{0}, len(a)), a...)}
			y := testmodel.Tensor{Name: "x", DType: to, Shape: []int64{2}, Data: append(slices.Clone(b), b...)}
			got := compare(t, []diff.File{m.plain("a.safetensors", x)}, []diff.File{m.plain("a.safetensors", y)}, diff.Options{Values: true}).Tensors
			list := append(got.Changed, got.Retyped...)
			if len(list) != 1 || list[0].Values == nil || list[0].Values.MaxAbs != 1.5 || list[0].Values.Differing != 1 {
				t.Errorf("%s to %s: %+v", from, to, list)
			}
		}
	}
}

func TestFiles(t *testing.T) {
	m := &maker{t: t}
	long := strings.Repeat("line one\nline two\n", 20)
	from := []diff.File{m.text("LICENSE.txt", "mit"), m.text("run.py", long), m.text("gone.bin", "x"), m.text("notes.md", "a\nb\n"), m.text("empty", ""), m.text("same", "s")}
	to := []diff.File{m.text("LICENSE", "mit"), m.text("main.py", long+"one more\n"), m.text("new.bin", "y"), m.text("notes.md", "a\nc\n"), m.text("void", ""), m.text("same", "s")}
	res := compare(t, from, to, diff.Options{Levels: diff.Levels{Files: true}})
	f := res.Files
	path := func(i diff.FileInfo) string { return i.Path }
	got := fmt.Sprintf("added %s; removed %s; changed %s; renamed %s; identical %d",
		names(f.Added, path), names(f.Removed, path),
		names(f.Changed, func(c diff.FileChange) string { return fmt.Sprintf("%s +%d -%d", c.Path, c.Text.Added, c.Text.Removed) }),
		names(f.Renamed, func(r diff.FileRename) string { return fmt.Sprintf("%s>%s %.2f", r.From.Path, r.To.Path, r.Similarity) }), f.Identical)
	want := "added new.bin void; removed empty gone.bin; changed notes.md +1 -1; renamed LICENSE.txt>LICENSE 1.00 run.py>main.py 0.99; identical 1"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !res.Different || compare(t, from, from, diff.Options{Levels: diff.All}).Different {
		t.Error("different is wrong")
	}
}

// Whatever stands in a file, the rest is compared.
func TestMalformed(t *testing.T) {
	m := &maker{t: t}
	from := []diff.File{m.text("bad.safetensors", "nonsense"), m.text("config.json", `{"a": NaN}`), m.text("tokenizer.json", "{"), m.text("README.md", "---\n: :\n  - x\n---\nbody\n"), {Path: "closed.tar", Size: 5}}
	to := []diff.File{m.text("bad.safetensors", "rubbish"), m.text("config.json", `{"a": 1}`), m.text("tokenizer.json", "{}"), m.text("README.md", "new\n"), m.weights("good.safetensors", tensor("x", 10, 1))}
	res := compare(t, from, to, diff.Options{Levels: diff.All})
	if len(res.Problems) < 4 || len(res.Tensors.Added) != 1 || len(res.Config) != 2 || len(res.Card) == 0 {
		t.Errorf("problems %q, config %+v, card %+v, tensors %s", res.Problems, res.Config, res.Card, said(res.Tensors))
	}
}

// Nothing but the error of reading comes out of a broken source.
func TestUnreadable(t *testing.T) {
	m := &maker{t: t}
	broken := errors.New("broken")
	f := m.plain("a.safetensors", tensor("x", 10, 1))
	f.Open = func(context.Context) (diff.Reader, error) { return nil, broken }
	_, err := diff.Compare(t.Context(), diff.Side{Files: []diff.File{f}}, diff.Side{}, diff.Options{})
	if !errors.Is(err, broken) {
		t.Errorf("error = %v", err)
	}
}
