// Package onnx reads the structure of ONNX models: who made it, opsets, inputs,
// outputs and initializers.
//
// It walks the protobuf messages of a file itself and goes past tensor data
// without reading it. Every tensor of a model is looked at, those in nodes,
// subgraphs, functions and training graphs too: where data lies in another
// file, its location must stay below the directory of the model, or the model
// is malformed.
//
// The numbers in comments are those of onnx.proto.
package onnx

import (
	"io"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of a model.
const (
	MaxNesting      = 64
	MaxInitializers = 200_000

	maxFields = 20_000_000 // of all messages; a large graph has some hundred thousand
	maxText   = 16 << 20   // bytes of all names that are kept
	maxString = 64 << 10   // bytes of one of them
	maxDims   = 64
	maxValues = 10_000 // inputs, outputs
	maxOpsets = 1_000  // imports
	firstRead = 64 << 10
	maxRead   = 1 << 30 // bytes read in all; protobuf ends at 2 GiB
)

// A FormatError says why a file is no ONNX model.
type FormatError = malformed.Error

// A Model is what a file says beside its nodes.
type Model struct {
	IRVersion       int64
	Producer        string
	ProducerVersion string
	Domain          string
	Opsets          []Opset
	Graph           string // its name
	Inputs, Outputs []Value

	// Initializers are the tensors of the main graph, in its order. Those of
	// subgraphs and the constants of nodes are not among them.
	Initializers []Tensor
}

// An Opset is a set of operators that a model needs. The empty domain is
// ONNX's own.
type Opset struct {
	Domain  string
	Version int64
}

// A Value is an input or output.
type Value struct {
	Name string

	// DType is empty if the value is not a tensor.
	DType string

	// Shape has the dimensions in digits or as the name of a variable, and
	// "" for one that is not known.
	Shape []string
}

// A Tensor is an initializer.
type Tensor struct {
	Name  string
	DType string // as in onnx.proto: "FLOAT", "BFLOAT16"; "" if unknown
	Shape []int64

	// Offset and Bytes tell where raw data lies in the file. Offset is -1 if
	// the data is in another file, or not raw but a list of numbers. Bytes
	// follows from type and shape then, and is -1 if the size of an element
	// is not known.
	Offset, Bytes int64

	// External tells where the data lies if it is in another file.
	External *External
}

// Elements returns the product of the shape, which for a tensor that was read
// does not overflow.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// An External is a place in another file.
type External struct {
	Location string // relative to the directory of the model, with slashes
	Offset   int64
	Length   int64 // -1 means not told
}

// Read reads the structure of the size bytes of r. The error is a
// [FormatError] if they are no valid model, else that of r.
func Read(r io.ReaderAt, size int64) (*Model, error) {
	p := &parser{w: window.New(r, size, "onnx", window.Options{First: firstRead, Budget: maxRead})}
	graphs := 0
	err := p.message(size, 0, func(f field) error {
		switch f.number {
		case 1: // ir_version
			p.m.IRVersion = int64(f.value)
		case 2: // producer_name
			return p.text(f, &p.m.Producer)
		case 3: // producer_version
			return p.text(f, &p.m.ProducerVersion)
		case 4: // domain
			return p.text(f, &p.m.Domain)
		case 7: // graph
			graphs++
			return p.graph(f)
		case 8: // opset_import
			return p.opset(f)
		case 20: // training_info
			return p.training(f, 1)
		case 25: // functions
			return p.function(f, 1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Protobuf would merge two graphs into one; not every reader does.
	if p.m.IRVersion <= 0 || graphs != 1 {
		return nil, p.w.Malformed("%d graphs and IR version %d are no model", graphs, p.m.IRVersion)
	}
	return &p.m, nil
}
