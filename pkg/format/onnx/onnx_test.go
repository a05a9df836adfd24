package onnx_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/onnx"
)

func read(b []byte) (*onnx.Model, error) {
	return onnx.Read(bytes.NewReader(b), int64(len(b)))
}

func TestRead(t *testing.T) {
	data := []byte("0123456789abcdef")
	b := testmodel.ONNXFile(
		testmodel.ONNXInitializer("w", []int64{4}, data),
		testmodel.ONNXExternal("v", []int64{2, 4}, "weights/a.bin", "64", "32"),
		testmodel.ONNXExternal("u", []int64{2}, "b", "", ""),
	)
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	want := &onnx.Model{
		IRVersion: 8, Producer: "testmodel", ProducerVersion: "1", Graph: "tiny",
		Opsets:  []onnx.Opset{{Version: 17}},
		Inputs:  []onnx.Value{{Name: "x", DType: "FLOAT", Shape: []string{"N", "4"}}},
		Outputs: []onnx.Value{{Name: "y", DType: "FLOAT", Shape: []string{"N", "4"}}},
		Initializers: []onnx.Tensor{
			{Name: "w", DType: "FLOAT", Shape: []int64{4}, Offset: int64(bytes.Index(b, data)), Bytes: 16},
			{Name: "v", DType: "FLOAT", Shape: []int64{2, 4}, Offset: -1, Bytes: 32, External: &onnx.External{Location: "weights/a.bin", Offset: 64, Length: 32}},
			{Name: "u", DType: "FLOAT", Shape: []int64{2}, Offset: -1, Bytes: 8, External: &onnx.External{Location: "b", Length: -1}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	if n := got.Initializers[1].Elements(); n != 8 {
		t.Errorf("Elements = %d, want 8", n)
	}
}

// model is a ModelProto with a graph of one field.
func model(field int, content []byte) []byte {
	return testmodel.PB(nil).Varint(1, 8).Bytes(7, testmodel.PB(nil).Bytes(field, content))
}

func message(field int, content []byte) testmodel.PB { return testmodel.PB(nil).Bytes(field, content) }

// External data is found wherever a tensor can be.
func TestExternalDataOutside(t *testing.T) {
	bad := func(location string) testmodel.PB {
		return testmodel.ONNXExternal("w", []int64{1}, location, "", "")
	}
	up := bad("../x")
	tests := map[string][]byte{
		"parent":         model(5, up),
		"parent inside":  model(5, bad("a/../../x")),
		"absolute":       model(5, bad("/x")),
		"drive":          model(5, bad("C:x")),
		"backslash":      model(5, bad(`..\x`)),
		"NUL":            model(5, bad("a\x00b")),
		"sparse values":  model(15, message(1, up)),
		"sparse indices": model(15, message(2, up)),
		"constant":       model(1, message(5, message(5, up))),
		"constants":      model(1, message(5, message(10, up))),
		"sparse in node": model(1, message(5, message(22, message(1, up)))),
		"subgraph":       model(1, message(5, message(6, message(5, up)))),
		"subgraphs":      model(1, message(5, message(11, message(5, up)))),
		"sub-subgraph":   model(1, message(5, message(6, message(1, message(5, message(6, message(5, up))))))),
		"function":       append(model(2, []byte("g")), message(25, message(7, message(5, message(5, up))))...),
		"function attr":  append(model(2, []byte("g")), message(25, message(11, message(5, up)))...),
		"training":       append(model(2, []byte("g")), message(20, message(2, message(5, up)))...),
		"location later": model(5, testmodel.PB(nil).Bytes(13, testmodel.PB(nil).Text(2, "../x").Text(1, "location"))),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(b)
			if !errors.Is(err, malformed.ErrMalformed) || !strings.Contains(err.Error(), "outside the model") {
				t.Errorf("Read error = %v, want one that external data is outside", err)
			}
		})
	}
}

func TestReadRejects(t *testing.T) {
	deep := testmodel.PB("")
	for range 40 {
		deep = message(1, message(5, message(6, deep)))
	}
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty":              {nil, "no model"},
		"no graph":           {testmodel.PB(nil).Varint(1, 8), "0 graphs"},
		"two graphs":         {append(model(2, []byte("g")), model(2, []byte("h"))...), "2 graphs"},
		"no version":         {message(7, nil), "IR version 0"},
		"text":               {[]byte("this is some text"), "wire type"},
		"group":              {[]byte{0x0b}, "wire type 3"},
		"field 0":            {[]byte{0x00, 0x00}, "number 0"},
		"long varint":        {bytes.Repeat([]byte{0x88}, 11), "more than 10 bytes"},
		"cut in a varint":    {[]byte{0x08, 0x80}, "ends after"},
		"past the message":   {testmodel.PB(nil).Bytes(7, []byte{0x0a, 0x05}), "longer than its message"},
		"varint past it":     {append(testmodel.PB(nil).Bytes(7, []byte{0x08, 0x80}), 0x01), "longer than its message"},
		"graph is a number":  {testmodel.PB(nil).Varint(7, 1), "no message"},
		"deep":               {testmodel.PB(nil).Varint(1, 8).Bytes(7, deep), "deeper than 64"},
		"long name":          {model(2, bytes.Repeat([]byte("a"), 1<<17)), "no string"},
		"name not UTF-8":     {model(2, []byte("\xff")), "not UTF-8"},
		"wrong raw data":     {model(5, testmodel.ONNXInitializer("w", []int64{4}, []byte("123"))), "3 bytes of data for a shape that needs 16"},
		"negative dimension": {model(5, testmodel.ONNXInitializer("w", []int64{-1}, nil)), "impossible shape"},
		"wrapping shape":     {model(5, testmodel.ONNXInitializer("w", []int64{1 << 32, 1 << 32}, nil)), "impossible shape"},
		"many dimensions":    {model(5, testmodel.ONNXInitializer("w", make([]int64, 65), nil)), "more than 64"},
		"no location":        {model(5, testmodel.PB(nil).Varint(14, 1)), "without a location"},
		"offset is text":     {model(5, testmodel.ONNXExternal("w", nil, "a", "x", "")), "no size"},
		"negative length":    {model(5, testmodel.ONNXExternal("w", nil, "a", "0", "-1")), "no size"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.file)
			if _, ok := errors.AsType[*onnx.FormatError](err); !ok {
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
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, err := read(readFile(t, name))
			// Names that begin with o9 are controls: valid files.
			if valid := strings.HasPrefix(filepath.Base(name), "o9"); valid != (err == nil) {
				t.Errorf("Read error = %v, want one: %t", err, !valid)
			}
			if err != nil && !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
		})
	}
}

func TestReadsLittle(t *testing.T) {
	data := make([]byte, 4<<20)
	b := testmodel.ONNXFile(
		testmodel.ONNXInitializer("a", []int64{1 << 20}, data),
		testmodel.ONNXInitializer("b", []int64{1 << 20}, data),
	)
	r := &countingReader{r: bytes.NewReader(b)}
	if _, err := onnx.Read(r, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if r.reads > 3 || r.bytes > 256<<10 {
		t.Errorf("%d reads of %d bytes, want at most 3 of 256 KiB", r.reads, r.bytes)
	}
}

func TestReadPassesErrorOn(t *testing.T) {
	b := testmodel.ONNXFile()
	_, err := onnx.Read(bytes.NewReader(b), int64(len(b))+10)
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Read error = %v, want io.ErrUnexpectedEOF", err)
	}
}

// FuzzRead checks that raw data of what Read accepts lies in the file, and
// external data below its directory.
func FuzzRead(f *testing.F) {
	for _, name := range hostile(f) {
		f.Add(readFile(f, name))
	}
	f.Add(testmodel.ONNXFile(
		testmodel.ONNXInitializer("w", []int64{4}, make([]byte, 16)),
		testmodel.ONNXExternal("v", []int64{2, 4}, "a/b", "0", "32")))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := read(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
			return
		}
		for _, w := range m.Initializers {
			if w.Offset >= 0 && w.External == nil && w.Offset+w.Bytes > int64(len(b)) || w.Elements() < 0 {
				t.Errorf("%+v lies outside a file of %d bytes", w, len(b))
			}
			if w.External != nil && !filepath.IsLocal(w.External.Location) {
				t.Errorf("%+v lies outside the model", w.External)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var all []testmodel.PB
	for range 1000 {
		all = append(all, testmodel.ONNXInitializer("some.weight", []int64{4, 4}, make([]byte, 64)))
	}
	file := testmodel.ONNXFile(all...)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(file); err != nil {
			b.Fatal(err)
		}
	}
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
