// Package gguf reads the header of GGUF files, versions 2 and 3, in either byte
// order.
//
// It reads metadata, but for arrays only their type and length, and the
// description of the tensors; never tensor data. What lies behind the metadata
// can only be reached through it, so a header is read from start to end, in
// steps of 256 KiB that grow to 4 MiB.
//
// Every count and length is checked against the bytes that are left before
// anything is allocated for it.
package gguf

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"io"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of a header.
const (
	MaxKV      = 65_536
	MaxTensors = 1_000_000
	MaxName    = 65_535 // of a key or a tensor, in bytes

	maxDims      = 8         // GGML has 4 and the specification leaves room
	maxKeys      = 16 << 20  // bytes of all keys
	maxText      = 4 << 20   // bytes of a string that is kept
	maxKept      = 8 << 20   // bytes of all values that are kept
	maxHeader    = 256 << 20 // bytes to be read in all; the largest vocabularies take 20 MB
	minKVSize    = 8 + 4 + 1
	minTensorLen = 8 + 4 + 4 + 8
	defaultAlign = 32
)

// A FormatError says why a file is no GGUF file.
type FormatError = malformed.Error

// A Tensor is the description of one tensor.
type Tensor struct {
	Name string
	Type Type

	// Dims has the innermost dimension first, as the file does.
	Dims []int64

	// Offset is that of the first byte, from [Header.DataOffset].
	Offset int64

	// Bytes is the size of the data, -1 if Type is not known.
	Bytes int64
}

// Elements returns the product of the dimensions, which for a tensor that was
// read does not overflow.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// A Header is what a file says beside its tensors.
type Header struct {
	Version   uint32
	BigEndian bool

	// KV is the metadata in the order of the file. Keys are unique.
	KV []KV

	// Alignment is that of tensor data.
	Alignment int64

	// DataOffset is where tensor data begins. In a file without tensors it
	// may lie past the end.
	DataOffset int64
}

// A File is a header with its tensors.
type File struct {
	Header
	Tensors []Tensor
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
// called with each, in the order of the file. What it has seen counts only once
// Walk has returned no error. An error of visit ends the walk.
func Walk(r io.ReaderAt, size int64, visit func(Tensor) error) (*Header, error) {
	p := &parser{
		w:    window.New(r, size, "gguf", window.Options{Budget: maxHeader}),
		size: size, order: binary.LittleEndian, seed: maphash.MakeSeed(),
	}
	tensors, kvs, err := p.start()
	if err != nil {
		return nil, err
	}
	if err := p.metadata(kvs); err != nil {
		return nil, err
	}
	if err := p.align(); err != nil {
		return nil, err
	}
	// So many fit into what is left of the file; growing would take twice that.
	p.names, p.spans = make([]uint64, 0, tensors), make([]span, 0, tensors)
	for range tensors {
		t, err := p.tensor()
		if err != nil {
			return nil, err
		}
		if err := visit(t); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return &p.h, nil
}

// A parser reads one header.
type parser struct {
	w     *window.Reader
	size  int64
	order binary.ByteOrder
	h     Header
	keys  int // bytes of all keys
	kept  int // bytes of all kept values
	seed  maphash.Seed
	names []uint64 // hashes
	spans []span
}

// span is where a tensor's data lies, relative to the start of data.
type span struct{ begin, end int64 }

// start reads the fixed part and returns how many tensors and entries of
// metadata follow.
func (p *parser) start() (tensors, kvs uint64, err error) {
	magic, err := p.w.Next(4)
	if err != nil {
		return 0, 0, err
	}
	if string(magic) != "GGUF" {
		return 0, 0, p.w.Malformed("no GGUF magic")
	}
	if p.h.Version, err = p.u32(); err != nil {
		return 0, 0, err
	}
	// The magic is the same in both byte orders; the version gives them away.
	if p.h.Version&0xffff == 0 {
		p.h.BigEndian, p.order = true, binary.BigEndian
		p.h.Version = bits.ReverseBytes32(p.h.Version)
	}
	if p.h.Version != 2 && p.h.Version != 3 {
		return 0, 0, p.w.Malformed("version %d is not read", p.h.Version)
	}
	if tensors, err = p.u64(); err != nil {
		return 0, 0, err
	}
	if kvs, err = p.u64(); err != nil {
		return 0, 0, err
	}
	left := uint64(p.w.Left())
	switch {
	case tensors > MaxTensors || tensors > left/minTensorLen:
		return 0, 0, p.w.Malformed("%d tensors are too many", tensors)
	case kvs > MaxKV || kvs > left/minKVSize:
		return 0, 0, p.w.Malformed("%d metadata entries are too many", kvs)
	}
	return tensors, kvs, nil
}

// align sets the alignment of the data.
func (p *parser) align() error {
	p.h.Alignment = defaultAlign
	kv, ok := p.h.Lookup("general.alignment")
	if !ok {
		return nil
	}
	n, isUint32 := kv.Value.(uint32)
	if !isUint32 || bits.OnesCount32(n) != 1 {
		return p.w.Malformed("an alignment of %v is no power of two", kv.Value)
	}
	p.h.Alignment = int64(n)
	return nil
}

// tensor reads the description of one tensor.
func (p *parser) tensor() (Tensor, error) {
	name, err := p.name()
	if err != nil {
		return Tensor{}, err
	}
	p.names = append(p.names, maphash.String(p.seed, name))
	t := Tensor{Name: name}
	if t.Dims, err = p.dims(); err != nil {
		return t, err
	}
	number, err := p.u32()
	if err != nil {
		return t, err
	}
	t.Type = Type(number)
	var ok bool
	if t.Bytes, ok = t.Type.size(t.Dims); !ok {
		return t, p.w.Malformed("tensor %.80q: dimensions %v are impossible for type %v", name, t.Dims, t.Type)
	}
	off, err := p.u64()
	if err != nil {
		return t, err
	}
	if off > uint64(p.size) || off%uint64(p.h.Alignment) != 0 {
		return t, p.w.Malformed("tensor %.80q: offset %d is beyond the file or not aligned", name, off)
	}
	t.Offset = int64(off)
	p.spans = append(p.spans, span{t.Offset, t.Offset + max(t.Bytes, 0)})
	return t, nil
}

func (p *parser) dims() ([]int64, error) {
	n, err := p.u32()
	if err != nil {
		return nil, err
	}
	if n > maxDims {
		return nil, p.w.Malformed("%d dimensions are too many", n)
	}
	dims := make([]int64, n)
	for i := range dims {
		d, err := p.u64()
		if err != nil {
			return nil, err
		}
		if d > 1<<62 {
			return nil, p.w.Malformed("a dimension of %d is too large", d)
		}
		dims[i] = int64(d)
	}
	return dims, nil
}

// finish finds the start of the data and checks the tensors against each other
// and against the file.
func (p *parser) finish() error {
	p.h.DataOffset = (p.w.Offset() + p.h.Alignment - 1) / p.h.Alignment * p.h.Alignment
	slices.SortFunc(p.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	var pos int64
	for _, s := range p.spans {
		switch {
		case s.end > p.size-p.h.DataOffset:
			return p.w.Malformed("a tensor at offset %d of the data ends beyond the file", s.begin)
		case s.begin < pos && s.end > s.begin:
			return p.w.Malformed("two tensors overlap at offset %d of the data", s.begin)
		}
		pos = max(pos, s.end)
	}
	// Hashes instead of the names themselves: a million names are checked in
	// 8 MB. The seed is random, so nobody can aim at a collision.
	slices.Sort(p.names)
	for i := 1; i < len(p.names); i++ {
		if p.names[i] == p.names[i-1] {
			return p.w.Malformed("two tensors have the same name")
		}
	}
	return nil
}

func (p *parser) u32() (uint32, error) {
	b, err := p.w.Next(4)
	if err != nil {
		return 0, err
	}
	return p.order.Uint32(b), nil
}

func (p *parser) u64() (uint64, error) {
	b, err := p.w.Next(8)
	if err != nil {
		return 0, err
	}
	return p.order.Uint64(b), nil
}

// name reads a key or the name of a tensor.
func (p *parser) name() (string, error) {
	n, err := p.u64()
	if err != nil {
		return "", err
	}
	if n > MaxName {
		return "", p.w.Malformed("a name of %d bytes is too long", n)
	}
	b, err := p.w.Next(int(n))
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", p.w.Malformed("a name is not UTF-8")
	}
	return string(b), nil
}
