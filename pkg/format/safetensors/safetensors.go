// Package safetensors reads the header of safetensors files.
//
// It is as strict as the reference implementation, and stricter where that lets
// two readers see different things: names must be unique, and the tensors must
// fill the data exactly, without a gap, an overlap or trailing bytes. So every
// byte of a file that [Read] accepts is explained.
//
// Reading costs one read of 64 KiB, and for a longer header few more of what is
// left of it. Tensor data is not read, but for what that first read brings.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"math/bits"
	"slices"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of a header. The first is the format's own.
const (
	MaxHeader  = 100_000_000
	MaxTensors = 1_000_000

	minEntry    = 49       // bytes of the shortest tensor: "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}
	maxDims     = 64       // what PyTorch and NumPy can hold
	maxToken    = 8 << 20  // one string or run of white space
	maxMetadata = 16 << 20 // all of __metadata__
)

// A FormatError says why a file is no safetensors file.
type FormatError = malformed.Error

// A Tensor is one entry of the header.
type Tensor struct {
	Name   string
	DType  string // one of the format: "F32", "BF16", "F8_E4M3"
	Shape  []int64
	Offset int64 // of the first byte in the file
	Bytes  int64
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

// A Header is what a file says beside its tensors.
type Header struct {
	// Metadata is the __metadata__ of the header, nil if there is none.
	Metadata map[string]string

	// DataOffset is where the header ends and data begins.
	DataOffset int64
}

// A File is a header with its tensors, in the header's order.
type File struct {
	Header
	Tensors []Tensor
}

// bitSizes are the data types of safetensors 0.8 and their sizes.
var bitSizes = map[string]uint64{
	"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32,
	"I64": 64, "U64": 64, "F64": 64, "C64": 64,
}

// Read reads the header of the size bytes of r. The error is a [FormatError]
// if they are no valid file, else that of r.
func Read(r io.ReaderAt, size int64) (*File, error) {
	var tensors []Tensor
	h, err := Walk(r, size, func(t Tensor) error {
		tensors = append(tensors, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &File{Header: *h, Tensors: tensors}, nil
}

// Walk is [Read] without the list, for headers of a million tensors: visit is
// called with each, in the order of the header. What it has seen counts only
// once Walk has returned no error. An error of visit ends the walk.
func Walk(r io.ReaderAt, size int64, visit func(Tensor) error) (*Header, error) {
	w := window.New(r, size, "safetensors", window.Options{})
	b, err := w.Next(8)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(b)
	switch {
	case n > MaxHeader:
		return nil, malformedAt(0, "a header of %d bytes is over the limit of %d", n, MaxHeader)
	case int64(n) > w.Left():
		return nil, malformedAt(0, "a header of %d bytes is longer than the file", n)
	}
	w.Until(8 + int64(n))
	p := newParser(w, int64(n), visit)
	if err := p.header(); err != nil {
		return nil, err
	}
	if err := p.trailer(); err != nil {
		return nil, err
	}
	if err := p.contiguous(size); err != nil {
		return nil, err
	}
	return &Header{Metadata: p.metadata, DataOffset: p.data}, nil
}

// An entry is a tensor as the header spells it.
type entry struct {
	dtype      string
	shape      []int64
	begin, end int64
}

// check returns the reason why the entry cannot be, or "".
func (e *entry) check() string {
	size, ok := bitSizes[e.dtype]
	if !ok {
		return fmt.Sprintf("unknown data type %.40q", e.dtype)
	}
	n := size
	for _, d := range e.shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return "the shape overflows"
		}
		n = lo
	}
	switch {
	case n%8 != 0:
		return "the tensor does not end on a byte"
	case e.begin > e.end:
		return "the data ends before it begins"
	case uint64(e.end-e.begin) != n/8:
		return fmt.Sprintf("%d bytes of data for %d bytes of tensor", e.end-e.begin, n/8)
	}
	return ""
}

// span is where a tensor's data lies, relative to the start of data.
type span struct{ begin, end int64 }

// contiguous checks that the spans fill all bytes after the header.
func (p *parser) contiguous(size int64) error {
	slices.SortFunc(p.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	var pos int64
	for _, s := range p.spans {
		if s.begin < pos {
			return malformedAt(p.data+s.begin, "two tensors overlap")
		}
		if s.begin > pos {
			return malformedAt(p.data+pos, "a hole of %d bytes between tensors", s.begin-pos)
		}
		pos = s.end
	}
	switch left := size - p.data; {
	case pos > left:
		return malformedAt(size, "the file ends %d bytes before its tensors do", pos-left)
	case pos < left:
		return malformedAt(p.data+pos, "%d bytes after the last tensor", left-pos)
	}
	// Hashes instead of the names themselves: a header of a million names
	// is checked in 8 MB. The seed is random, so nobody can aim at a collision.
	slices.Sort(p.names)
	for i := 1; i < len(p.names); i++ {
		if p.names[i] == p.names[i-1] {
			return malformedAt(8, "two tensors have the same name")
		}
	}
	return nil
}

// trailer checks that nothing but white space follows the header's JSON.
func (p *parser) trailer() error {
	end := p.dec.InputOffset()
	b := p.dec.UnreadBuffer()
	for {
		if i := bytes.IndexFunc(b, func(r rune) bool { return r != ' ' && r != '\t' && r != '\n' && r != '\r' }); i >= 0 {
			return malformedAt(8+end+int64(i), "bytes after the header's JSON")
		}
		end += int64(len(b))
		if end >= p.length {
			return nil
		}
		var err error
		if b, err = p.w.Next(int(min(p.length-end, 1<<16))); err != nil {
			return err
		}
	}
}

func (p *parser) hash(name string) uint64 { return maphash.String(p.seed, name) }

func malformedAt(offset int64, reason string, args ...any) error {
	return &FormatError{Format: "safetensors", Offset: offset, Reason: fmt.Sprintf(reason, args...)}
}
