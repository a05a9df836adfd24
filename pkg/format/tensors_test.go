package format_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format"
)

func TestTensors(t *testing.T) {
	tests := map[string]struct {
		write func(testing.TB, string)
		file  string
		want  []format.Tensor
	}{
		"safetensors": {testmodel.Safetensors, "model.safetensors", []format.Tensor{
			{Name: "model.embed_tokens.weight", DType: "F32", Shape: []int64{4, 4}, Bytes: 64, File: "model.safetensors"},
			{Name: "lm_head.weight", DType: "F16", Shape: []int64{2, 4}, Offset: 64, Bytes: 16, File: "model.safetensors"},
		}},
		"gguf": {testmodel.GGUF, "model-Q8_0.gguf", []format.Tensor{
			{Name: "token_embd.weight", DType: "Q8_0", Shape: []int64{2, 32}, Bytes: 68, File: "model-Q8_0.gguf"},
			{Name: "output_norm.weight", DType: "F32", Shape: []int64{4}, Offset: 96, Bytes: 16, File: "model-Q8_0.gguf"},
		}},
		"onnx": {testmodel.ONNX, "model.onnx", []format.Tensor{
			{Name: "w", DType: "F32", Shape: []int64{4}, Bytes: 16, File: "model.onnx"},
			{Name: "v", DType: "F32", Shape: []int64{2, 4}, Bytes: 32, File: "model.onnx_data"},
		}},
		"pytorch": {testmodel.TorchZip, "pytorch_model.bin", []format.Tensor{
			{Name: "w", DType: "F32", Shape: []int64{2, 2}, Offset: -1, Bytes: 16, File: "pytorch_model.bin"},
			{Name: "b", DType: "F32", Shape: []int64{2}, Offset: -1, Bytes: 8, File: "pytorch_model.bin"},
		}},
		"npy": {testmodel.Numpy, "weights.npy", []format.Tensor{
			{Name: "weights", DType: "F32", Shape: []int64{2, 2}, Bytes: 16, File: "weights.npy"},
		}},
		"npz": {testmodel.Numpy, "arrays.npz", []format.Tensor{
			{Name: "a", DType: "F64", Shape: []int64{3}, Bytes: 24, File: "arrays.npz"},
			{Name: "b", DType: "U8", Shape: []int64{2, 3}, Offset: 24, Bytes: 6, File: "arrays.npz"},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, f := range written(t, test.write) {
				if f.Path != test.file {
					continue
				}
				got, err := format.Tensors(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				checkOffsets(t, f, got)
				for i := range got {
					got[i].Offset = test.want[i].Offset
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("Tensors (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// checkOffsets checks that data begins where it is said to: the builders write
// bytes of 7*i there.
func checkOffsets(t *testing.T, f format.File, tensors []format.Tensor) {
	t.Helper()
	r, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // in memory
	for _, tensor := range tensors {
		if tensor.Offset < 0 || tensor.File != f.Path {
			continue
		}
		b := make([]byte, 3)
		if _, err := r.ReadAt(b, tensor.Offset); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]byte{0, 7, 14}, b); diff != "" {
			t.Errorf("bytes of %s at %d (-want +got):\n%s", tensor.Name, tensor.Offset, diff)
		}
	}
}

func TestTensorsErrors(t *testing.T) {
	if _, err := format.Tensors(t.Context(), memory(map[string]string{"README.md": "x"})[0]); !errors.Is(err, format.ErrUnknownFormat) {
		t.Errorf("Tensors error = %v, want ErrUnknownFormat", err)
	}
	if _, err := format.Tensors(t.Context(), memory(map[string]string{"a.gguf": "x"})[0]); !errors.Is(err, format.ErrMalformed) {
		t.Errorf("Tensors error = %v, want ErrMalformed", err)
	}
}

func TestAllTensors(t *testing.T) {
	var files []format.File
	for _, write := range []func(testing.TB, string){testmodel.GGUF, testmodel.ShardedSafetensors} {
		files = append(files, written(t, write)...)
	}
	files = append(files, memory(map[string]string{"broken.gguf": "x"})...)
	got, problems, err := format.AllTensors(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tensor := range got {
		names = append(names, tensor.File+" "+tensor.Name)
	}
	want := []string{
		"model-Q8_0.gguf token_embd.weight", "model-Q8_0.gguf output_norm.weight",
		"model-00001-of-00002.safetensors model.embed_tokens.weight", "model-00002-of-00002.safetensors lm_head.weight",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("AllTensors (-want +got):\n%s", diff)
	}
	if len(problems) != 1 || problems[0].Path != "broken.gguf" || !errors.Is(problems[0].Err, format.ErrMalformed) {
		t.Errorf("problems = %v, want that of broken.gguf", problems)
	}
	broken := errors.New("broken disk")
	files = append(files, format.File{Path: "x.gguf", Open: func(context.Context) (format.ReaderAtCloser, error) { return nil, broken }})
	if _, _, err := format.AllTensors(t.Context(), files); !errors.Is(err, broken) {
		t.Errorf("AllTensors error = %v, want that of opening", err)
	}
}

func TestPrecision(t *testing.T) {
	for dtype, want := range map[string]string{
		"F32": "float32", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3", "I8": "int8", "BOOL": "bool",
		"Q4_K": "", "": "", "f32": "",
	} {
		if got := format.Precision(dtype); got != want {
			t.Errorf("Precision(%q) = %q, want %q", dtype, got, want)
		}
	}
}
