package format

import (
	"context"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/gguf"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/numpy"
	"github.com/modelreg/modelreg/pkg/format/onnx"
	"github.com/modelreg/modelreg/pkg/format/pickle"
	"github.com/modelreg/modelreg/pkg/format/safetensors"
)

// extensions tell the format of a file that came without one.
var extensions = map[string]string{
	".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx",
	".pt": "pytorch", ".pth": "pytorch", ".ckpt": "pytorch",
	".npy": "numpy", ".npz": "numpy",
	".pkl": "pickle", ".pickle": "pickle",
	".h5": "keras", ".keras": "keras", ".tflite": "tflite", ".msgpack": "flax", ".nemo": "nemo",
}

// formatOf returns the format of a file by what the caller says, or by its
// name; "" for what holds no weights.
func formatOf(f File) string {
	if f.Format != "" {
		return f.Format
	}
	base := path.Base(f.Path)
	ext := path.Ext(base)
	if ext == ".bin" && (strings.HasPrefix(base, "pytorch_model") || strings.HasPrefix(base, "adapter_model") ||
		strings.HasPrefix(base, "diffusion_pytorch_model")) {
		return "pytorch"
	}
	return extensions[ext]
}

// A reader visits the tensors of an open file.
type reader func(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error)

// A header is what a file of weights says beside its tensors.
type header struct {
	gguf     *gguf.Header
	external []onnx.External
	base     int64 // what tensors' offsets count from
}

// readerOf returns the reader for a file, nil if there is none. The format
// alone does not do: that of ONNX's external data is "onnx" too.
func readerOf(f File) reader {
	ext := path.Ext(f.Path)
	switch format := formatOf(f); {
	case format == "safetensors":
		return visitSafetensors
	case format == "gguf":
		return visitGGUF
	case format == "onnx" && ext == ".onnx":
		return visitONNX
	case format == "pytorch" && slices.Contains([]string{".bin", ".pt", ".pth", ".ckpt"}, ext):
		return visitPyTorch
	case format == "numpy" && ext == ".npz":
		return visitNPZ
	case format == "numpy" && ext == ".npy":
		return visitNPY
	}
	return nil
}

// visitFile opens and reads f.
func visitFile(ctx context.Context, f File, read reader, visit func(Tensor) error) (*header, error) {
	r, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer r.Close() //nolint:errcheck // only read
	return read(r, f, func(t Tensor) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.File == "" {
			t.File = f.Path
		}
		return visit(t)
	})
}

func visitSafetensors(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error) {
	_, err := safetensors.Walk(r, f.Size, func(t safetensors.Tensor) error {
		return visit(Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Offset: t.Offset, Bytes: t.Bytes})
	})
	return &header{}, err
}

// visitGGUF gives offsets from the start of the data, which in GGUF is known
// only after the last tensor.
func visitGGUF(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error) {
	h, err := gguf.Walk(r, f.Size, func(t gguf.Tensor) error {
		dtype := ""
		if t.Type.Known() {
			dtype = t.Type.String()
		}
		shape := slices.Clone(t.Dims)
		slices.Reverse(shape)
		return visit(Tensor{Name: t.Name, DType: dtype, Shape: shape, Offset: t.Offset, Bytes: t.Bytes})
	})
	if err != nil {
		return nil, err
	}
	return &header{gguf: h, base: h.DataOffset}, nil
}

func visitONNX(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error) {
	m, err := onnx.Read(r, f.Size)
	if err != nil {
		return nil, err
	}
	h := &header{}
	for _, init := range m.Initializers {
		t := Tensor{Name: init.Name, DType: onnxTypes[init.DType], Shape: init.Shape, Offset: init.Offset, Bytes: init.Bytes}
		if e := init.External; e != nil {
			h.external = append(h.external, *e)
			t.File, t.Offset = path.Join(path.Dir(f.Path), e.Location), e.Offset
		}
		if err := visit(t); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func visitPyTorch(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error) {
	file, err := pickle.Read(r, f.Size)
	if err != nil {
		return nil, err
	}
	for _, item := range file.Tensors {
		// Where a storage lies is told in front of it, at the price of a read
		// for every tensor.
		t := Tensor{Name: item.Name, DType: torchTypes[item.Type], Shape: item.Shape, Offset: -1, Bytes: -1}
		if size := torchSizes[t.DType]; size > 0 && t.elements() <= math.MaxInt64/size {
			t.Bytes = t.elements() * size
		}
		if err := visit(t); err != nil {
			return nil, err
		}
	}
	return &header{}, nil
}

func visitNPY(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error) {
	a, err := numpy.Read(r, f.Size)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(path.Base(f.Path), ".npy")
	return &header{}, visit(Tensor{Name: name, DType: numpyType(a.DType), Shape: a.Shape, Offset: a.DataOffset, Bytes: a.Bytes})
}

func visitNPZ(r ReaderAtCloser, f File, visit func(Tensor) error) (*header, error) {
	members, err := numpy.ReadArchive(r, f.Size)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if err := visit(Tensor{Name: m.Name, DType: numpyType(m.DType), Shape: m.Shape, Offset: m.Offset, Bytes: m.Bytes}); err != nil {
			return nil, err
		}
	}
	return &header{}, nil
}

// elements returns the product of a shape, which the readers have checked.
func (t Tensor) elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// malformedFile is a malformed file that no single reader can tell.
func malformedFile(format, reason string, args ...any) error {
	return &malformed.Error{Format: format, Reason: fmt.Sprintf(reason, args...)}
}
