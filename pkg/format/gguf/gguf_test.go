package gguf_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/gguf"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

func read(b []byte) (*gguf.File, error) {
	return gguf.Read(bytes.NewReader(b), int64(len(b)))
}

func TestRead(t *testing.T) {
	for name, m := range map[string]testmodel.GGUFModel{
		"version 3":  {},
		"version 2":  {Version: 2},
		"big endian": {BigEndian: true},
	} {
		t.Run(name, func(t *testing.T) {
			tiny := testmodel.TinyGGUF()
			m.KV, m.Tensors = tiny.KV, tiny.Tensors
			b := testmodel.GGUFFile(m)
			got, err := read(b)
			if err != nil {
				t.Fatal(err)
			}
			want := &gguf.File{
				Header: gguf.Header{Version: cmp.Or(m.Version, 3), BigEndian: m.BigEndian, Alignment: 32},
				Tensors: []gguf.Tensor{
					{Name: "token_embd.weight", Type: 8, Dims: []int64{32, 2}, Bytes: 68},
					{Name: "output_norm.weight", Type: 0, Dims: []int64{4}, Offset: 96, Bytes: 16},
				},
			}
			want.KV, want.DataOffset = got.KV, int64(len(b))-128
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
			checkTinyHeader(t, &got.Header)
		})
	}
}

func checkTinyHeader(t *testing.T, h *gguf.Header) {
	t.Helper()
	type summary struct {
		Architecture, FileType, Template string
		Context                          int64
		Languages                        []string
	}
	got := summary{h.Architecture(), h.FileType(), h.Text("tokenizer.chat_template"), h.ContextLength(), h.List("general.languages")}
	want := summary{"llama", "Q8_0", "{{ messages }}", 4096, []string{"en", "de"}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	tokens, _ := h.Lookup("tokenizer.ggml.tokens")
	entry := gguf.KV{Key: "tokenizer.ggml.tokens", Type: gguf.Array, Elem: gguf.String, Len: 3, Offset: tokens.Offset}
	entry.Bytes = 8 + int64(len(entry.Key)) + 4 + 4 + 8 + 3*8 + int64(len("<s></s>a"))
	if diff := gocmp.Diff(entry, tokens); diff != "" {
		t.Errorf("an array (-want +got):\n%s", diff)
	}
	end := int64(24)
	for _, kv := range h.KV {
		if kv.Offset != end {
			t.Errorf("%s is at %d, want %d, where the one before ends", kv.Key, kv.Offset, end)
		}
		end += kv.Bytes
	}
}

func TestValues(t *testing.T) {
	values := []any{
		uint8(1), int8(-2), uint16(3), int16(-4), uint32(5), int32(-6), float32(7.5), true, false, "text",
		uint64(8), int64(-9), float64(10.25),
	}
	for _, big := range []bool{false, true} {
		var kvs []testmodel.KV
		for i, v := range values {
			kvs = append(kvs, testmodel.KV{Key: fmt.Sprint(i), Value: v})
		}
		f, err := read(testmodel.GGUFFile(testmodel.GGUFModel{KV: kvs, BigEndian: big}))
		if err != nil {
			t.Fatal(err)
		}
		var got []any
		for _, kv := range f.KV {
			got = append(got, kv.Value)
		}
		if diff := gocmp.Diff(values, got); diff != "" {
			t.Errorf("values, big endian %t (-want +got):\n%s", big, diff)
		}
	}
}

func TestWhatIsNotKept(t *testing.T) {
	kvs := []testmodel.KV{
		{Key: "general.tags", Value: slices.Repeat([]string{"a"}, 257)},
		{Key: "general.languages", Value: []string{"en", strings.Repeat("x", 1025), "de"}},
		{Key: "general.datasets", Value: []string{"\xff"}},
		{Key: "long", Value: strings.Repeat("x", 4<<20+1)},
		{Key: "not text", Value: "\xff"},
		{Key: "last", Value: uint8(1)},
	}
	f, err := read(testmodel.GGUFFile(testmodel.GGUFModel{KV: kvs}))
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range f.KV[:5] {
		if kv.Value != nil {
			t.Errorf("%s is kept", kv.Key)
		}
	}
	if f.KV[5].Value != uint8(1) {
		t.Errorf("what follows is %v, want 1", f.KV[5].Value)
	}
}

func TestFutureTypeIsRead(t *testing.T) {
	f, err := read(testmodel.GGUFFile(testmodel.GGUFModel{
		Tensors: []testmodel.GGUFTensor{{Name: "a", Type: 99, Dims: []uint64{3}, Data: make([]byte, 3)}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if a := f.Tensors[0]; a.Type.Known() || a.Type.String() != "type 99" || a.Bytes != -1 || a.Elements() != 3 {
		t.Errorf("tensor of a type from the future: %+v", a)
	}
}

func TestReadRejects(t *testing.T) {
	f32 := func(name string, dims ...uint64) testmodel.GGUFTensor {
		return testmodel.GGUFTensor{Name: name, Dims: dims, Data: make([]byte, 16)}
	}
	file := func(tensors ...testmodel.GGUFTensor) []byte {
		return testmodel.GGUFFile(testmodel.GGUFModel{Tensors: tensors})
	}
	kv := func(kvs ...testmodel.KV) []byte { return testmodel.GGUFFile(testmodel.GGUFModel{KV: kvs}) }
	// Offsets of the first value of a file with one entry of a key of one byte.
	const typeAt, valueAt = 24 + 8 + 1, 24 + 8 + 1 + 4
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty":              {nil, "ends after 0 of 4"},
		"version 1":          {testmodel.GGUFFile(testmodel.GGUFModel{Version: 1}), "version 1"},
		"version 4":          {testmodel.GGUFFile(testmodel.GGUFModel{Version: 4}), "version 4"},
		"only counts":        {testmodel.GGUFFile(testmodel.GGUFModel{})[:20], "ends after"},
		"key twice":          {kv(testmodel.KV{Key: "a", Value: uint8(1)}, testmodel.KV{Key: "a", Value: uint8(1)}), "there twice"},
		"key too long":       {kv(testmodel.KV{Key: strings.Repeat("a", 65536), Value: uint8(1)}), "too long"},
		"key not UTF-8":      {kv(testmodel.KV{Key: "\xff", Value: uint8(1)}), "not UTF-8"},
		"bool of 2":          {patch(kv(testmodel.KV{Key: "a", Value: true}), valueAt, 2), "a bool is 2"},
		"value of type 13":   {patch(kv(testmodel.KV{Key: "a", Value: true}), typeAt, 13), "unknown value type 13"},
		"array of arrays":    {patch(kv(testmodel.KV{Key: "a", Value: []uint8{1}}), valueAt, 9), "array of array"},
		"array of type 13":   {patch(kv(testmodel.KV{Key: "a", Value: []uint8{1}}), valueAt, 13), "array of type 13"},
		"array past end":     {patch(kv(testmodel.KV{Key: "a", Value: []uint64{1}}), valueAt+4+7, 0x20), "longer than the file"},
		"strings past end":   {patch(kv(testmodel.KV{Key: "a", Value: []string{"x"}}), valueAt+4+7, 0x20), "longer than the file"},
		"text past end":      {patch(kv(testmodel.KV{Key: "a", Value: "x"}), valueAt+7, 0x80), "longer than the file"},
		"item past end":      {patch(kv(testmodel.KV{Key: "a", Value: []string{"x"}}), valueAt+4+8+7, 0x80), "longer than the file"},
		"alignment 3":        {kv(testmodel.KV{Key: "general.alignment", Value: uint32(3)}), "no power of two"},
		"alignment 0":        {kv(testmodel.KV{Key: "general.alignment", Value: uint32(0)}), "no power of two"},
		"alignment is text":  {kv(testmodel.KV{Key: "general.alignment", Value: "32"}), "no power of two"},
		"tensor twice":       {file(f32("a", 4), f32("a", 4)), "same name"},
		"nine dimensions":    {file(f32("a", 1, 1, 1, 1, 1, 1, 1, 1, 1)), "9 dimensions"},
		"huge dimension":     {file(f32("a", 1<<63)), "too large"},
		"wraps to zero":      {file(f32("a", 1<<32, 1<<32)), "impossible"},
		"part of a block":    {file(testmodel.GGUFTensor{Name: "a", Type: 8, Dims: []uint64{16, 2}, Data: make([]byte, 34)}), "impossible"},
		"data cut":           {cut(file(f32("a", 4), f32("b", 4)), 17), "beyond the file"},
		"no data":            {file(f32("a", 400)), "beyond the file"},
		"overlap":            {file(f32("a", 16), f32("b", 4)), "overlap"},
		"offset not aligned": {patch(file(f32("a", 1)), 24+8+1+4+8+4, 1), "not aligned"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.file)
			if _, ok := errors.AsType[*gguf.FormatError](err); !ok {
				t.Fatalf("Read error = %v, want a *FormatError", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("Read error = %q, want it to say %q", err, test.want)
			}
		})
	}
}

func TestReadHostile(t *testing.T) {
	for _, name := range hostile(t) {
		b := readFile(t, name)
		t.Run(filepath.Base(name), func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := read(b)
			elapsed := time.Since(start)
			runtime.ReadMemStats(&after)
			for range 2 { // a busy machine may be late once
				start := time.Now()
				_, _ = read(b)
				elapsed = min(elapsed, time.Since(start))
			}
			// Names that begin with g9 are controls: valid files.
			if valid := strings.HasPrefix(filepath.Base(name), "g9"); valid != (err == nil) {
				t.Errorf("Read error = %v, want one: %t", err, !valid)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("allocated %d bytes, want less than 1 MiB", n)
			}
			if elapsed > 100*time.Millisecond {
				t.Errorf("took %v, want less than 100ms", elapsed)
			}
		})
	}
}

// Many tensors take memory for their places, not for their text.
func TestWalkManyTensors(t *testing.T) {
	const many = 200_000
	b := []byte("GGUF\x03\x00\x00\x00")
	b = binary.LittleEndian.AppendUint64(b, many)
	b = binary.LittleEndian.AppendUint64(b, 0)
	for i := range many {
		b = binary.LittleEndian.AppendUint64(b, 30)
		b = fmt.Appendf(b, "%030d", i)
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = append(b, make([]byte, 8+4+8)...)
	}
	b = append(b, make([]byte, 32)...)
	var base, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	count := 0
	_, err := gguf.Walk(bytes.NewReader(b), int64(len(b)), func(gguf.Tensor) error {
		if count++; count%(many/4) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			if grown := int64(now.HeapAlloc) - int64(base.HeapAlloc); grown > int64(len(b)) {
				t.Errorf("after %d tensors %d bytes are held, want less than the header's %d", count, grown, len(b))
			}
		}
		return nil
	})
	if err != nil || count != many {
		t.Errorf("Walk = %d tensors, %v", count, err)
	}
}

func TestReadsLittle(t *testing.T) {
	m := testmodel.TinyGGUF()
	// The vocabulary of a large model: 4 MB of strings and 1 MB of numbers.
	m.KV = append(m.KV,
		testmodel.KV{Key: "tokens", Value: slices.Repeat([]string{"a longer token"}, 200_000)},
		testmodel.KV{Key: "types", Value: make([]int32, 256<<10)})
	m.Tensors = append(m.Tensors, testmodel.GGUFTensor{Name: "large", Dims: []uint64{4 << 20}, Data: make([]byte, 16<<20)})
	b := testmodel.GGUFFile(m)
	r := &countingReader{r: bytes.NewReader(b)}
	if _, err := gguf.Read(r, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if r.reads > 5 || r.bytes > 10<<20 {
		t.Errorf("%d reads of %d bytes, want at most 5 of 10 MiB", r.reads, r.bytes)
	}
}

func TestReadPassesErrorOn(t *testing.T) {
	b := testmodel.GGUFFile(testmodel.GGUFModel{KV: []testmodel.KV{{Key: "a", Value: uint8(1)}}})
	_, err := gguf.Read(bytes.NewReader(b), int64(len(b))+10)
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Read error = %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestFileTypeOfGuess(t *testing.T) {
	for n, want := range map[uint32]string{15: "Q4_K_M", 1024 + 15: "Q4_K_M", 0: "F32", 999: ""} {
		f, err := read(testmodel.GGUFFile(testmodel.GGUFModel{KV: []testmodel.KV{{Key: "general.file_type", Value: n}}}))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.FileType(); got != want {
			t.Errorf("FileType of %d = %q, want %q", n, got, want)
		}
	}
}

// FuzzRead checks that the tensors of what Read accepts lie in the file and
// apart from each other.
func FuzzRead(f *testing.F) {
	for _, name := range hostile(f) {
		f.Add(readFile(f, name))
	}
	m := testmodel.TinyGGUF()
	f.Add(testmodel.GGUFFile(m))
	m.BigEndian = true
	f.Add(testmodel.GGUFFile(m))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
			return
		}
		for _, tensor := range got.Tensors {
			end := got.DataOffset + tensor.Offset + max(tensor.Bytes, 0)
			if tensor.Offset < 0 || end > int64(len(b)) || tensor.Elements() < 0 {
				t.Errorf("%+v lies outside a file of %d bytes", tensor, len(b))
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	m := testmodel.TinyGGUF()
	m.KV = append(m.KV, testmodel.KV{Key: "tokens", Value: slices.Repeat([]string{"a token"}, 100_000)})
	file := testmodel.GGUFFile(m)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(file); err != nil {
			b.Fatal(err)
		}
	}
}

// patch sets one byte.
func patch(b []byte, at int, v byte) []byte {
	b[at] = v
	return b
}

// cut takes n bytes off the end.
func cut(b []byte, n int) []byte { return b[:len(b)-n] }

func hostile(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/hostile/*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	return names
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type countingReader struct {
	r            io.ReaderAt
	reads, bytes int
}

func (c *countingReader) ReadAt(b []byte, off int64) (int, error) {
	c.reads++
	c.bytes += len(b)
	return c.r.ReadAt(b, off)
}
