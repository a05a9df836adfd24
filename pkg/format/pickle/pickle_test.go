package pickle_test

import (
	"bytes"
	"errors"
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
	"github.com/modelreg/modelreg/pkg/format/pickle"
)

func read(b []byte) (*pickle.File, error) {
	return pickle.Read(bytes.NewReader(b), int64(len(b)))
}

func TestReadArchive(t *testing.T) {
	b := testmodel.TorchFile(
		testmodel.Tensor{Name: "w", Shape: []int64{2, 2}, Data: make([]byte, 16)},
		testmodel.Tensor{Name: "b", Data: make([]byte, 4)})
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	want := &pickle.File{
		Kind: pickle.Archive, Protocol: 2,
		Globals: []pickle.Global{
			{Module: "torch._utils", Name: "_rebuild_tensor_v2"},
			{Module: "torch", Name: "FloatStorage"},
			{Module: "collections", Name: "OrderedDict"},
		},
		Members: []pickle.Member{
			{Name: "tiny/data.pkl", Size: got.Members[0].Size},
			{Name: "tiny/data/0", Size: 16, Storage: "0"},
			{Name: "tiny/data/1", Size: 4, Storage: "1"},
			{Name: "tiny/version", Size: 2},
			{Name: "tiny/byteorder", Size: 6},
		},
		Tensors: []pickle.Tensor{
			{Name: "w", Type: "FloatStorage", Shape: []int64{2, 2}, Storage: "0"},
			{Name: "b", Type: "FloatStorage", Shape: []int64{}, Storage: "1"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
}

func TestReadBare(t *testing.T) {
	tests := map[string]struct {
		pickle string
		want   pickle.File
	}{
		"none":           {"N.", pickle.File{}},
		"protocol":       {"\x80\x05\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", pickle.File{Protocol: 5}},
		"two pickles":    {"N.N.", pickle.File{Trailing: 2}},
		"global":         {"cos\ngetcwd\n)R.", pickle.File{Globals: []pickle.Global{{Module: "os", Name: "getcwd"}}}},
		"instance":       {"(ios\ngetcwd\n.", pickle.File{Globals: []pickle.Global{{Module: "os", Name: "getcwd"}}}},
		"from the stack": {"\x80\x04\x8c\x02os\x94\x8c\x06getcwd\x94\x93.", pickle.File{Protocol: 4, Globals: []pickle.Global{{Module: "os", Name: "getcwd"}}}},
		"from the memo": {
			"\x80\x04\x8c\x02os\x94\x8c\x06getcwd\x94h\x00h\x01\x93.",
			pickle.File{Protocol: 4, Globals: []pickle.Global{{Module: "os", Name: "getcwd"}}},
		},
		"from lines": {
			"S'os'\nVgetcwd\n\x93.", pickle.File{Globals: []pickle.Global{{Module: "os", Name: "getcwd"}}},
		},
		"from escapes":   {"S'o\\x73'\nV\xfc\n\x93.", pickle.File{}},
		"the same twice": {"(ca\nb\nca\nb\nt.", pickle.File{Globals: []pickle.Global{{Module: "a", Name: "b"}}}},
		"nothing to pop": {"0000.", pickle.File{}},
		"all the others": {
			"(I1\nI01\nL1L\nF1.5\nG\x00\x00\x00\x00\x00\x00\x00\x00S'a'\nVa\nP1\nT\x01\x00\x00\x00aU\x01aC\x01aB\x01\x00\x00\x00a" +
				"\x8b\x01\x00\x00\x00\x01\x82\x01\x83\x01\x00\x84\x01\x00\x00\x00\x88\x89}]l" + "(d(t\x8f(\x90(\x91]Na](e\x85" +
				"p1\ng1\nr\x02\x00\x00\x00j\x02\x00\x00\x002100.",
			pickle.File{},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := read([]byte(test.pickle))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Kind = pickle.Bare
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
		})
	}
}

// Tensors are told only for what is a plain dictionary of them.
func TestTensors(t *testing.T) {
	const (
		storage = "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
		dense   = "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + "K\x00K\x04\x85K\x01\x85\x89NtR"
		eight   = "ctorch._utils\n_rebuild_tensor_v3\n(" + storage + "K\x00K\x04\x85K\x01\x85\x89Nctorch\nfloat8_e4m3fn\nNtR"
		tooMany = "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + "K\x00K\x05\x85K\x00\x85\x89NtR"
	)
	w := []pickle.Tensor{{Name: "w", Type: "FloatStorage", Shape: []int64{4}, Storage: "0"}}
	tests := map[string]struct {
		pickle string
		want   []pickle.Tensor
	}{
		"dictionary":        {"\x80\x02}X\x01\x00\x00\x00w" + dense + "s.", w},
		"ordered":           {"\x80\x02ccollections\nOrderedDict\n)RX\x01\x00\x00\x00w" + dense + "s}b.", w},
		"from marks":        {"\x80\x02(X\x01\x00\x00\x00w" + dense + "d.", w},
		"parameter":         {"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_parameter\n(" + dense + "\x88NtRs.", w},
		"checkpoint":        {"\x80\x02}X\x05\x00\x00\x00epochK\x01sX\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00w" + dense + "ss.", w},
		"type of its own":   {"\x80\x02}X\x01\x00\x00\x00w" + eight + "s.", []pickle.Tensor{{Name: "w", Type: "float8_e4m3fn", Shape: []int64{4}, Storage: "0"}}},
		"no dictionary":     {"\x80\x02" + dense + ".", nil},
		"other values too":  {"\x80\x02}X\x01\x00\x00\x00w" + dense + "sX\x01\x00\x00\x00xK\x01s.", nil},
		"repeated elements": {"\x80\x02}X\x01\x00\x00\x00w" + tooMany + "s.", nil},
		"something below":   {"\x80\x02N}X\x01\x00\x00\x00w" + dense + "s.", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := read(testmodel.ZipFile(
				testmodel.Member{Name: "a/data.pkl", Data: []byte(test.pickle)},
				testmodel.Member{Name: "a/data/0", Data: make([]byte, 16)}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Tensors); diff != "" {
				t.Errorf("Tensors (-want +got):\n%s", diff)
			}
		})
	}
}

const legacyHead = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + "\x80\x02M\xe9\x03." + "\x80\x02}."

func legacy(elements byte, data int) []byte {
	b := legacyHead + "\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n" +
		"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04NtQK\x00K\x04\x85K\x01\x85\x89NtRs." +
		"\x80\x02]X\x01\x00\x00\x000a." + string([]byte{elements, 0, 0, 0, 0, 0, 0, 0})
	return append([]byte(b), make([]byte, data)...)
}

func TestReadLegacy(t *testing.T) {
	got, err := read(legacy(4, 16))
	if err != nil {
		t.Fatal(err)
	}
	want := []pickle.Tensor{{Name: "w", Type: "FloatStorage", Shape: []int64{4}, Storage: "0"}}
	if diff := cmp.Diff(want, got.Tensors); diff != "" || got.Kind != pickle.Legacy {
		t.Errorf("kind %q, tensors (-want +got):\n%s", got.Kind, diff)
	}
}

func TestReadRejects(t *testing.T) {
	pkl := testmodel.Member{Name: "a/data.pkl", Data: []byte("N.")}
	state := testmodel.TorchFile(testmodel.Tensor{Name: "w", Shape: []int64{2}, Data: make([]byte, 8)})
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty":                 {nil, "ends after 0 of 1"},
		"no opcode":             {[]byte("\xff"), "unknown opcode 0xff"},
		"text":                  {[]byte("hello"), "ends after"},
		"no stop":               {[]byte("N"), "ends after"},
		"protocol 6":            {[]byte("\x80\x06N."), "protocol 6"},
		"long argument":         {[]byte("X\xff\xff\xff\xffa."), "longer than the file"},
		"line does not end":     {[]byte("I1"), "ends after"},
		"endless line":          {append([]byte("I"), bytes.Repeat([]byte("1"), 1<<17)...), "over 65536"},
		"name not UTF-8":        {[]byte("c\xff\n\n."), "not UTF-8"},
		"gzip":                  {[]byte("\x1f\x8b\x08\x00"), "unknown opcode"},
		"no data.pkl":           {testmodel.ZipFile(testmodel.Member{Name: "a/b", Data: nil}), "no data.pkl"},
		"data.pkl in root":      {testmodel.ZipFile(testmodel.Member{Name: "data.pkl", Data: []byte("N.")}), "no data.pkl"},
		"two data.pkl":          {testmodel.ZipFile(pkl, testmodel.Member{Name: "b/data.pkl", Data: []byte("N.")}), "two data.pkl"},
		"tail of data.pkl":      {testmodel.ZipFile(testmodel.Member{Name: "a/data.pkl", Data: []byte("N.N")}), "after the end"},
		"member twice":          {testmodel.ZipFile(pkl, pkl), "there twice"},
		"storage of wrong size": {bytes.Replace(state, []byte("J\x02\x00\x00\x00tQ"), []byte("J\x03\x00\x00\x00tQ"), 1), "8 bytes for 3 elements"},
		"storage missing":       {bytes.ReplaceAll(state, []byte("tiny/data/0"), []byte("tiny/data/1")), "not in the archive"},
		"bytes behind zip":      {append(bytes.Clone(state), 0), "no zip directory"},
		"legacy cut":            {legacy(4, 15), "ends after"},
		"legacy tail":           {legacy(4, 17), "after the last storage"},
		"legacy wrong count":    {legacy(5, 16), "5 elements instead of 4"},
		"legacy ends early":     {[]byte(legacyHead), "ends after"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.file)
			if _, ok := errors.AsType[*pickle.FormatError](err); !ok {
				t.Fatalf("Read error = %v, want a *FormatError", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("Read error = %q, want it to say %q", err, test.want)
			}
		})
	}
}

func TestReadSamples(t *testing.T) {
	tests := map[string]string{ // what the error says, "" if the structure is sound
		"b01_state_dict.pt":        "",
		"b02_plain.pkl":            "",
		"p01_global_v0.pkl":        "",
		"p02_stack_global_v4.pkl":  "",
		"p24_binunicode8_huge.pkl": "longer than the file",
		"p51_gzip.joblib":          "unknown opcode",
		"p70_torch.pt":             "",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			b := readFile(t, filepath.Join("testdata/hostile", name))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := read(b)
			elapsed := time.Since(start)
			runtime.ReadMemStats(&after)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("Read error = %v, want %q", err, want)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 || elapsed > time.Second {
				t.Errorf("took %d bytes and %v, want at most 1 MiB and 1s", n, elapsed)
			}
		})
	}
}

// What would take more memory than there is to give is walked all the same.
func TestManyValues(t *testing.T) {
	b := append(bytes.Repeat([]byte("(]2\x94"), 200_000), "cos\ngetcwd\n."...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f, err := read(b)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Globals) != 1 || f.Trailing != 0 {
		t.Errorf("Read = %+v, want one global and the end", f)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("allocated %d bytes in all, want at most 64 MiB", n)
	}
}

func TestReadPassesErrorOn(t *testing.T) {
	_, err := pickle.Read(strings.NewReader("N"), 10)
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Read error = %v, want io.ErrUnexpectedEOF", err)
	}
}

// FuzzRead checks that tensors of what Read accepts have shapes that can be.
func FuzzRead(f *testing.F) {
	names, err := filepath.Glob("testdata/hostile/*")
	if err != nil || len(names) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, name := range names {
		f.Add(readFile(f, name))
	}
	f.Add(legacy(4, 16))
	f.Add(testmodel.TorchFile(testmodel.Tensor{Name: "w", Shape: []int64{2}, Data: make([]byte, 8)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Read error = %v, want malformed", err)
			}
			return
		}
		if got.Trailing < 0 || got.Trailing >= int64(len(b)) {
			t.Errorf("%d bytes after the end of %d", got.Trailing, len(b))
		}
		for _, tensor := range got.Tensors {
			n := int64(1)
			for _, d := range tensor.Shape {
				n *= d
			}
			if n < 0 {
				t.Errorf("%+v has %d elements", tensor, n)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	file := testmodel.TorchFile(testmodel.Tensor{Name: "w", Shape: []int64{2}, Data: make([]byte, 8)})
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(file); err != nil {
			b.Fatal(err)
		}
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
