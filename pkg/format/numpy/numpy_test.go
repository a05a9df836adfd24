package numpy_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/numpy"
)

func read(b []byte) (*numpy.Array, error) {
	return numpy.Read(bytes.NewReader(b), int64(len(b)))
}

func readArchive(b []byte) ([]numpy.Member, error) {
	return numpy.ReadArchive(bytes.NewReader(b), int64(len(b)))
}

func TestRead(t *testing.T) {
	tests := map[string]struct {
		header string
		data   int
		want   numpy.Array
	}{
		"matrix": {
			"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24,
			numpy.Array{DType: "<f4", Shape: []int64{2, 3}, Bytes: 24},
		},
		"column order": {
			`{"fortran_order": True, "shape": (3,), "descr": ">i8"}`, 24,
			numpy.Array{DType: ">i8", Shape: []int64{3}, Fortran: true, Bytes: 24},
		},
		"scalar": {
			"{'descr': '|b1', 'fortran_order': False, 'shape': ()}", 1,
			numpy.Array{DType: "|b1", Shape: []int64{}, Bytes: 1},
		},
		"none": {
			"{'descr': '<c16', 'fortran_order': False, 'shape': (0, 5)}", 0,
			numpy.Array{DType: "<c16", Shape: []int64{0, 5}},
		},
		"text": {
			"{'descr': '<U3', 'fortran_order': False, 'shape': (2L,)}", 24,
			numpy.Array{DType: "<U3", Shape: []int64{2}, Bytes: 24},
		},
		"times": {
			"{'descr': '<M8[25us]', 'fortran_order': False, 'shape': (1,)}", 8,
			numpy.Array{DType: "<M8[25us]", Shape: []int64{1}, Bytes: 8},
		},
		"objects": {
			"{'descr': '|O', 'fortran_order': False, 'shape': (9,)}", 5,
			numpy.Array{DType: "|O", Object: true, Shape: []int64{9}, Bytes: -1},
		},
		"structure": {
			"{'descr': [('a', '<f4'), ('b', '|u1', (2, 2)), ('c', [('d', '<i2')]), ('e', ('<i2', 3))], 'fortran_order': False, 'shape': (2,)}", 32,
			numpy.Array{Shape: []int64{2}, Bytes: 32},
		},
		"structure with an object": {
			"{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (2,)}", 3,
			numpy.Array{Object: true, Shape: []int64{2}, Bytes: -1},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := testmodel.NPYRaw(test.header, make([]byte, test.data))
			got, err := read(b)
			if err != nil {
				t.Fatal(err)
			}
			test.want.DataOffset = int64(len(b) - test.data)
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	const header = "{'descr': [('ä', '<f4')], 'fortran_order': False, 'shape': (1,), }\n"
	for version, text := range map[byte]string{2: strings.ReplaceAll(header, "ä", "\xe4"), 3: header} {
		b := append([]byte("\x93NUMPY"), version, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = append(append(b, text...), 0, 0, 0, 0)
		a, err := read(b)
		if err != nil {
			t.Errorf("version %d: %v", version, err)
		} else if a.DataOffset != int64(len(b))-4 || a.Bytes != 4 {
			t.Errorf("version %d: %+v", version, a)
		}
	}
}

func TestReadRejects(t *testing.T) {
	with := func(descr, shape string) []byte {
		return testmodel.NPYRaw("{'descr': "+descr+", 'fortran_order': False, 'shape': "+shape+"}", nil)
	}
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "within the header"},
		"magic":           {[]byte("\x93NUMPZ\x01\x00\x00\x00"), "no NumPy magic"},
		"version 4":       {[]byte("\x93NUMPY\x04\x00\x00\x00\x00\x00"), "no NumPy magic"},
		"huge header":     {[]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff"), "over the limit"},
		"cut":             {[]byte("\x93NUMPY\x01\x00\xff\x00{"), "within the header"},
		"call":            {testmodel.NPYRaw("__import__('os').getcwd()", nil), "no literal"},
		"list":            {testmodel.NPYRaw("[1]", nil), "no dictionary"},
		"two values":      {testmodel.NPYRaw("{} {}", nil), "something after"},
		"NUL":             {testmodel.NPYRaw("{}\x00", nil), "something after"},
		"key missing":     {testmodel.NPYRaw("{'descr': '<f4', 'fortran_order': False}", nil), "no dictionary of three"},
		"other key":       {testmodel.NPYRaw("{'descr': '<f4', 'fortran_order': False, 'Shape': ()}", nil), "lacks"},
		"key twice":       {testmodel.NPYRaw("{'descr': '<f4', 'descr': '<f8', 'shape': ()}", nil), "twice"},
		"number as key":   {testmodel.NPYRaw("{1: 2}", nil), "no key"},
		"open dictionary": {testmodel.NPYRaw("{'a': 1", nil), "does not end"},
		"open string":     {testmodel.NPYRaw("{'a", nil), "end of a line"},
		"escape":          {testmodel.NPYRaw(`{'\x61': 1}`, nil), "escape"},
		"open tuple":      {with("'<f4'", "(1"), "brackets"},
		"deep":            {testmodel.NPYRaw(strings.Repeat("[", 1000), nil), "deeper"},
		"shape a number":  {with("'<f4'", "(3)"), "lacks"},
		"negative shape":  {with("'<f4'", "(-1,)"), "no tuple of sizes"},
		"text in shape":   {with("'<f4'", "('1',)"), "no tuple of sizes"},
		"huge number":     {with("'<f4'", "(99999999999999999999,)"), "64 bits"},
		"overflow":        {with("'<f4'", "(4294967296, 4294967296)"), "overflows"},
		"dimensions":      {with("'<f4'", "("+strings.Repeat("1,", 65)+")"), "lacks"},
		"unknown kind":    {with("'<x4'", "()"), "unknown type"},
		"no byte order":   {with("'f4'", "()"), "unknown type"},
		"short type":      {with("'<'", "()"), "unknown type"},
		"number as type":  {with("4", "()"), "neither"},
		"no field":        {with("[('a',)]", "()"), "no field"},
		"huge element":    {with("[('a', '<f8', (2147483648, 2))]", "()"), "too large"},
		"data missing":    {with("'<f4'", "(2,)"), "0 bytes of data for an array of 8"},
		"too much data":   {testmodel.NPYFile("<f4", []int64{1}, make([]byte, 5)), "5 bytes of data for an array of 4"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.file)
			if _, ok := errors.AsType[*numpy.FormatError](err); !ok {
				t.Fatalf("Read error = %v, want a *FormatError", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("Read error = %q, want it to say %q", err, test.want)
			}
		})
	}
}

func TestReadSamples(t *testing.T) {
	object, err := read(readFile(t, "testdata/hostile/p90_object.npy"))
	if err != nil || !object.Object {
		t.Errorf("an array of objects: %+v, %v", object, err)
	}
	plain, err := read(readFile(t, "testdata/hostile/b04_float.npy"))
	if err != nil || plain.Object || plain.Elements() == 0 {
		t.Errorf("an array of numbers: %+v, %v", plain, err)
	}
}

func TestReadArchive(t *testing.T) {
	a := testmodel.NPYFile("<f8", []int64{3}, []byte("012345670123456701234567"))
	b := testmodel.NPYFile("|u1", []int64{2, 3}, make([]byte, 6))
	stored := testmodel.ZipFile(testmodel.Member{Name: "a.npy", Data: a}, testmodel.Member{Name: "b.npy", Data: b})
	for name, test := range map[string]struct {
		file   []byte
		offset int64
	}{
		"stored":     {stored, int64(bytes.Index(stored, []byte("0123456701234567")))},
		"compressed": {deflated(t, map[string][]byte{"a.npy": a}), -1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readArchive(test.file)
			if err != nil {
				t.Fatal(err)
			}
			want := numpy.Member{
				Name: "a", Offset: test.offset,
				Array: numpy.Array{DType: "<f8", Shape: []int64{3}, DataOffset: 128, Bytes: 24},
			}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("first array (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadArchiveRejects(t *testing.T) {
	array := testmodel.NPYFile("|u1", []int64{1}, []byte{1})
	good := testmodel.ZipFile(testmodel.Member{Name: "a.npy", Data: array})
	tests := map[string][]byte{
		"empty":           nil,
		"no zip":          []byte(strings.Repeat("x", 200)),
		"no array":        testmodel.ZipFile(testmodel.Member{Name: "a.npy", Data: []byte("hello, this is no array")}),
		"too much inside": testmodel.ZipFile(testmodel.Member{Name: "a.npy", Data: append(array, 0)}),
		"cut":             good[:len(good)-1],
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := readArchive(b); !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("ReadArchive error = %v, want malformed", err)
			}
		})
	}
}

func TestReadPassesErrorOn(t *testing.T) {
	broken := errors.New("broken")
	if _, err := numpy.Read(failing{broken}, 100); !errors.Is(err, broken) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Read error = %v, want that of the reader", err)
	}
}

// FuzzRead checks that the data of what Read accepts ends where the file does.
func FuzzRead(f *testing.F) {
	f.Add(readFile(f, "testdata/hostile/p90_object.npy"))
	f.Add(readFile(f, "testdata/hostile/b04_float.npy"))
	f.Add(testmodel.NPYRaw("{'descr': [('a', '<f4'), ('c', [('d', ('<i2', (1,)))])], 'fortran_order': False, 'shape': (0,)}", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := read(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
			return
		}
		if !a.Object && a.DataOffset+a.Bytes != int64(len(b)) || a.Elements() < 0 {
			t.Errorf("%+v in a file of %d bytes", a, len(b))
		}
	})
}

// FuzzReadArchive checks that data of what ReadArchive accepts lies in the file.
func FuzzReadArchive(f *testing.F) {
	array := testmodel.NPYFile("|u1", []int64{1}, []byte{1})
	f.Add(testmodel.ZipFile(testmodel.Member{Name: "a.npy", Data: array}, testmodel.Member{Name: "b.npy", Data: array}))
	f.Add(deflated(f, map[string][]byte{"a.npy": array}))
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := readArchive(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("ReadArchive error = %v, want malformed", err)
			}
			return
		}
		for _, m := range members {
			if !m.Object && m.Offset >= 0 && m.Offset+m.Bytes > int64(len(b)) {
				t.Errorf("%+v lies outside a file of %d bytes", m, len(b))
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	file := testmodel.NPYFile("<f4", []int64{2, 2}, make([]byte, 16))
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(file); err != nil {
			b.Fatal(err)
		}
	}
}

func deflated(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

var _ io.ReaderAt = failing{}
