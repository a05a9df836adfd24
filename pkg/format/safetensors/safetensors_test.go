package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/safetensors"
)

func read(b []byte) (*safetensors.File, error) {
	return safetensors.Read(bytes.NewReader(b), int64(len(b)))
}

func TestRead(t *testing.T) {
	b := testmodel.SafetensorsFile([]testmodel.Tensor{
		{Name: "b", DType: "BF16", Shape: []int64{2, 3}, Data: make([]byte, 12)},
		{Name: "none", DType: "F32", Shape: []int64{0, 7}},
		{Name: "scalar", DType: "F64", Data: make([]byte, 8)},
		{Name: "four bits", DType: "F4", Shape: []int64{2, 2}, Data: make([]byte, 2)},
	}, map[string]string{"format": "pt"})
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	data := int64(8 + binary.LittleEndian.Uint64(b))
	want := &safetensors.File{
		Header: safetensors.Header{Metadata: map[string]string{"format": "pt"}, DataOffset: data},
		Tensors: []safetensors.Tensor{
			{Name: "b", DType: "BF16", Shape: []int64{2, 3}, Offset: data, Bytes: 12},
			{Name: "none", DType: "F32", Shape: []int64{0, 7}, Offset: data + 12},
			{Name: "scalar", DType: "F64", Shape: []int64{}, Offset: data + 12, Bytes: 8},
			{Name: "four bits", DType: "F4", Shape: []int64{2, 2}, Offset: data + 20, Bytes: 2},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	var elements []int64
	for _, tensor := range got.Tensors {
		elements = append(elements, tensor.Elements())
	}
	if diff := cmp.Diff([]int64{6, 0, 1, 4}, elements); diff != "" {
		t.Errorf("Elements (-want +got):\n%s", diff)
	}
}

func TestReadAccepts(t *testing.T) {
	tests := map[string][]byte{
		"no tensors":     raw(`{}`, 0),
		"padded":         raw(`{}      `, 0),
		"much padding":   raw(`{}`+strings.Repeat(" ", 1<<20), 0),
		"null metadata":  raw(`{"__metadata__":null}`, 0),
		"unknown member": raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{"y":[1]}}}`, 1),
		"tensor out of order": raw(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},`+
			`"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := read(b); err != nil {
				t.Errorf("Read = %v, want no error", err)
			}
		})
	}
}

func TestReadRejects(t *testing.T) {
	const one = `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty":               {nil, "ends after 0 of 8"},
		"length past the end": {binary.LittleEndian.AppendUint64(nil, 100), "longer than the file"},
		"no header":           {raw("", 0), "ends too early"},
		"no JSON":             {raw("{]", 0), "no JSON"},
		"array":               {raw("[]", 0), "no JSON object"},
		"space first":         {raw(" {}", 0), "begin with {"},
		"cut":                 {raw(`{"a":{"dtype"`, 0), "no JSON"},
		"second value":        {raw("{}{}", 0), "after the header's JSON"},
		"byte after padding":  {raw("{}"+strings.Repeat(" ", 1<<18)+"\x00", 0), "after the header's JSON"},
		"no data":             {raw(one, 0), "ends 1 bytes before"},
		"too much data":       {raw(one, 2), "1 bytes after the last"},
		"same name twice":     {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "same name"},
		"same name escaped":   {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "same name"},
		"member twice":        {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"dtype":"I8"}}`, 1), `"dtype" twice`},
		"metadata twice":      {raw(`{"__metadata__":{},"__metadata__":{}}`, 0), "two __metadata__"},
		"metadata key twice":  {raw(`{"__metadata__":{"a":"1","a":"2"}}`, 0), `"a" twice`},
		"metadata number":     {raw(`{"__metadata__":{"a":1}}`, 0), "no string"},
		"metadata list":       {raw(`{"__metadata__":[]}`, 0), "no object"},
		"unknown type":        {raw(strings.Replace(one, "U8", "Q8", 1), 1), "unknown data type"},
		"other case of type":  {raw(strings.Replace(one, "U8", "u8", 1), 1), "unknown data type"},
		"other case of key":   {raw(strings.Replace(one, "dtype", "DType", 1), 1), "lacks"},
		"no shape":            {raw(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1), "lacks"},
		"fraction":            {raw(strings.Replace(one, "[1]", "[1.0]", 1), 1), "no size"},
		"exponent":            {raw(strings.Replace(one, "[1]", "[1e0]", 1), 1), "no size"},
		"negative":            {raw(strings.Replace(one, "[1]", "[-1]", 1), 1), "no size"},
		"string for a number": {raw(strings.Replace(one, "[1]", `["1"]`, 1), 1), "no size"},
		"negative zero":       {raw(strings.Replace(one, "[0,1]", "[-0,1]", 1), 1), "no size"},
		"one offset":          {raw(strings.Replace(one, "[0,1]", "[0]", 1), 1), "not two"},
		"three offsets":       {raw(strings.Replace(one, "[0,1]", "[0,1,2]", 1), 1), "more than 2"},
		"offsets backwards":   {raw(strings.Replace(one, "[0,1]", "[1,0]", 1), 1), "before it begins"},
		"wrong length":        {raw(strings.Replace(one, "[1]", "[2]", 1), 1), "1 bytes of data for 2"},
		"many dimensions":     {raw(strings.Replace(one, "[1]", "["+strings.Repeat("1,", 64)+"1]", 1), 1), "more than 64"},
		"shape overflows":     {raw(strings.Replace(one, "[1]", "[4294967296,4294967296]", 1), 1), "overflows"},
		"half a byte":         {raw(`{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,0]}}`, 0), "end on a byte"},
		"overlap":             {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), "overlap"},
		"hole":                {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), "hole of 1"},
		"bad UTF-8":           {raw("{\"\xff\":{}}", 0), "no JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.file)
			if _, ok := errors.AsType[*safetensors.FormatError](err); !ok {
				t.Fatalf("Read error = %v, want a *FormatError", err)
			}
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("%v does not wrap ErrMalformed", err)
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
			// Names that begin with s9 are controls: valid files.
			if valid := strings.HasPrefix(filepath.Base(name), "s9"); valid != (err == nil) {
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

// A large header takes memory for its tensors' places, not for its text.
func TestWalkLargeHeader(t *testing.T) {
	const size = 16 << 20
	var header strings.Builder
	header.WriteByte('{')
	for i := 0; header.Len() < size; i++ {
		if i > 0 {
			header.WriteByte(',')
		}
		fmt.Fprintf(&header, `"%0100d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1)
	}
	header.WriteByte('}')
	n := strings.Count(header.String(), "dtype")
	b := raw(header.String(), n)
	header.Reset()

	var peak, base runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	count := 0
	_, err := safetensors.Walk(bytes.NewReader(b), int64(len(b)), func(safetensors.Tensor) error {
		if count++; count%(n/4) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&peak)
			if grown := int64(peak.HeapAlloc) - int64(base.HeapAlloc); grown > size {
				t.Errorf("after %d tensors %d bytes are held, want less than the header's %d", count, grown, size)
			}
		}
		return nil
	})
	if err != nil || count != n {
		t.Errorf("Walk = %d tensors, %v; want %d", count, err, n)
	}
}

func TestLongPieceIsRefused(t *testing.T) {
	for name, header := range map[string]string{
		"name":        `{"` + strings.Repeat("a", 10<<20) + `":{}}`,
		"white space": `{` + strings.Repeat(" ", 10<<20) + `}`,
		"metadata":    `{"__metadata__":{"a":"` + strings.Repeat("a", 10<<20) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := read(raw(header, 0)); !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
		})
	}
}

func TestReadsLittle(t *testing.T) {
	b := testmodel.SafetensorsFile([]testmodel.Tensor{
		{Name: "a", DType: "U8", Shape: []int64{1 << 20}, Data: make([]byte, 1<<20)},
	}, nil)
	r := &countingReader{r: bytes.NewReader(b)}
	if _, err := safetensors.Read(r, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if r.reads != 1 || r.bytes > 256<<10 {
		t.Errorf("%d reads of %d bytes, want 1 of at most 256 KiB", r.reads, r.bytes)
	}
}

func TestReadPassesErrorOn(t *testing.T) {
	b := testmodel.SafetensorsFile(nil, nil)
	broken := errors.New("broken")
	if _, err := safetensors.Read(failing{broken}, 1<<20); !errors.Is(err, broken) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Read error = %v, want that of the reader", err)
	}
	// The file is shorter than its size says: a fault of reading, not of format.
	_, err := safetensors.Read(bytes.NewReader(b), int64(len(b))+10)
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Read error = %v, want io.ErrUnexpectedEOF", err)
	}
	stop := errors.New("stop")
	b = testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "a", DType: "F32", Shape: []int64{0}}}, nil)
	_, err = safetensors.Walk(bytes.NewReader(b), int64(len(b)), func(safetensors.Tensor) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("Walk error = %v, want that of visit", err)
	}
}

// FuzzRead checks that what Read accepts lies in the file, fills it, and is
// read the same again.
func FuzzRead(f *testing.F) {
	for _, name := range hostile(f) {
		f.Add(readFile(f, name))
	}
	f.Add(testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "a", DType: "U8", Shape: []int64{1}, Data: []byte{1}}}, map[string]string{"a": "b"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
			return
		}
		total := got.DataOffset
		for _, tensor := range got.Tensors {
			if tensor.Offset < got.DataOffset || tensor.Bytes < 0 || tensor.Offset+tensor.Bytes > int64(len(b)) {
				t.Errorf("%+v lies outside a file of %d bytes", tensor, len(b))
			}
			total += tensor.Bytes
		}
		if total != int64(len(b)) {
			t.Errorf("header and tensors are %d bytes of %d", total, len(b))
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var tensors []testmodel.Tensor
	for i := range 1000 {
		tensors = append(tensors, testmodel.Tensor{
			Name: fmt.Sprintf("model.layers.%d.weight", i), DType: "BF16", Shape: []int64{2, 2}, Data: make([]byte, 8),
		})
	}
	file := testmodel.SafetensorsFile(tensors, nil)
	b.SetBytes(int64(binary.LittleEndian.Uint64(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(file); err != nil {
			b.Fatal(err)
		}
	}
}

// raw is a file with header and n bytes of data.
func raw(header string, n int) []byte {
	return testmodel.SafetensorsRaw([]byte(header), make([]byte, n))
}

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

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }
