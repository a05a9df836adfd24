// Package format tells what is in the files of a model: architecture,
// parameters, precision, context length, the library that loads it.
//
// [Describe] looks at all files of a model and joins what they say; [Tensors]
// lists the tensors of one file. Both read headers, never weights: a file is
// an [io.ReaderAt], so that a model in a registry is described by a few ranged
// reads.
//
// Package format invents nothing. A field of [Model] is set only if a file says
// so, and stays at its zero value where files are silent or disagree. It
// executes nothing and passes no verdict on safety.
//
// Files are taken to be hostile. A file that does not parse becomes a
// [Problem] of the model and its other files are still described; memory is
// bounded by what is present in a file, not by what it claims.
//
// The readers of single formats, in the packages below this one, stand alone
// and can be used without it.
package format

import (
	"context"
	"errors"
	"io"

	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// ErrMalformed is wrapped by every error that says the bytes of a file are not
// of the format they should be. Errors of reading the bytes do not wrap it.
var ErrMalformed = malformed.ErrMalformed

// ErrUnknownFormat is returned by [Tensors] for a file that is of no format
// with tensors that this package reads.
var ErrUnknownFormat = errors.New("unknown format")

// A ReaderAtCloser reads the bytes of one file at any offset, from several
// goroutines.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}

// A File is one file of a model.
type File struct {
	// Path is relative to the root of the model, with slashes.
	Path string

	// Size is the length in bytes.
	Size int64

	// Format is the format that the file is believed to have, such as
	// "safetensors" or "gguf". Empty means it is told by the name.
	Format string

	// Open opens the bytes. It is called at most once for each call of a
	// function of this package, which closes what it returns.
	Open func(ctx context.Context) (ReaderAtCloser, error)
}

// A Tensor is one array of numbers in a file.
type Tensor struct {
	Name   string
	DType  string  // as the format spells it: "F32", "BF16", "Q4_K"; "" if unknown
	Shape  []int64 // outermost dimension first; empty for a scalar
	Offset int64   // of the first byte in File; -1 if the reader cannot tell
	Bytes  int64   // as stored
	File   string  // path of the file that holds the bytes
}

// A Problem is a file that could not be understood.
type Problem struct {
	Path string
	Err  error
}

// A Model is what the files of a model say about it. Zero values mean that no
// file says so.
type Model struct {
	// Architecture is the class that loads the model, such as
	// "LlamaForCausalLM", or where no configuration names one the
	// architecture of its GGUF file, such as "llama".
	Architecture string

	// Family is the type of the model, such as "llama": model_type of
	// config.json, or the architecture of its GGUF file.
	Family string

	// Parameters counts the elements of all tensors of one representation
	// of the model; see [Describe] for which.
	Parameters int64

	// DTypes counts the elements of these tensors by data type: "F32",
	// "BF16", "Q4_K". Their sum is Parameters, but for weights of GPTQ and
	// AWQ, of which one element holds several parameters, and for those of
	// other methods that pack, of which Parameters is not known.
	DTypes map[string]int64

	// DType is the data type that the configuration names, as it spells it,
	// such as "bfloat16".
	DType string

	// Formats names the formats of the weights, sorted.
	Formats []string

	// ContextLength is the longest input, in tokens.
	ContextLength int64

	// CacheBytes is what the cache of keys and values takes for each token of
	// input, in bytes, if it is kept in 16 bits: zero where the shape of the
	// attention is not told. Layers without attention are counted as if they
	// had one.
	CacheBytes int64

	// Quantization is the scheme of quantised weights: "Q4_K_M", "gptq".
	Quantization string

	// Library is the one that loads the model: "transformers", "diffusers".
	Library string

	// Task is what the model is for, as the Hugging Face Hub names it. It is
	// set only where the architecture leaves no doubt.
	Task string

	// ChatTemplate tells that a chat template comes with the model.
	ChatTemplate bool

	// CustomCode tells that loading the model runs Python code that comes
	// with it or that it names (auto_map).
	CustomCode bool

	// BaseModel is the model that an adapter is for, as the adapter names it.
	BaseModel string

	// Languages are those that a file lists, as it spells them.
	Languages []string

	// Problems are the files that do not parse, by path.
	Problems []Problem
}
