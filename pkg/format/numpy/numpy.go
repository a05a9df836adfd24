// Package numpy reads the headers of NumPy's .npy files, and of .npz archives of
// them.
//
// The header of an array is a Python literal. It is parsed as one, with a small
// parser of its own, and never evaluated. Arrays of Python objects hold a
// pickle: they are told by [Array.Object], and the pickle is not looked at.
package numpy

import (
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/modelreg/modelreg/pkg/format/internal/zipdir"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of an array.
const (
	MaxHeader = 64 << 10 // bytes; NumPy itself stops at 10,000

	maxDims = 64
)

// A FormatError says why a file is no array or archive of arrays.
type FormatError = malformed.Error

// An Array is the header of a .npy file.
type Array struct {
	// DType is NumPy's string for the type of an element, such as "<f4", or
	// "" for a structure of fields.
	DType string

	// Object tells that elements are Python objects, or have fields that are.
	Object bool

	Shape   []int64
	Fortran bool // the first dimension varies fastest

	// DataOffset is where the header ends and data begins.
	DataOffset int64

	// Bytes is the size of the data by type and shape, -1 for objects.
	Bytes int64
}

// Elements returns the product of the shape, which for an array that was read
// does not overflow.
func (a *Array) Elements() int64 {
	n := int64(1)
	for _, d := range a.Shape {
		n *= d
	}
	return n
}

// Read reads the header of the .npy file that is the size bytes of r. The error
// is a [FormatError] if it is none, else that of r.
func Read(r io.ReaderAt, size int64) (*Array, error) {
	a, err := read(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, err
	}
	if !a.Object && a.DataOffset+a.Bytes != size {
		return nil, malformedAt(a.DataOffset, "%d bytes of data for an array of %d", size-a.DataOffset, a.Bytes)
	}
	return a, nil
}

// A Member is an array in an archive.
type Member struct {
	Name string // of the array, without ".npy"
	Array

	// Offset is that of the member's first byte of data in the archive, -1 if
	// it is compressed.
	Offset int64
}

// ReadArchive reads the headers of the arrays in the .npz file that is the size
// bytes of r. Members that are not arrays are an error.
func ReadArchive(r io.ReaderAt, size int64) ([]Member, error) {
	list, err := zipdir.List(r, size, "npz")
	if err != nil {
		return nil, err
	}
	members := make([]Member, 0, len(list))
	for _, m := range list {
		data, off, err := zipdir.Open(r, m, "npz")
		if err != nil {
			return nil, err
		}
		a, err := read(data)
		if err != nil {
			return nil, fmt.Errorf("member %.80q: %w", m.Name, err)
		}
		if !a.Object && a.DataOffset+a.Bytes != m.Size {
			return nil, malformedAt(m.Header, "member %.80q has %d bytes of data for an array of %d", m.Name, m.Size-a.DataOffset, a.Bytes)
		}
		if off += a.DataOffset; m.Method != zipdir.Store {
			off = -1
		}
		members = append(members, Member{Name: strings.TrimSuffix(m.Name, ".npy"), Array: *a, Offset: off})
	}
	return members, nil
}

// read reads a header (numpy.lib.format) from the start of r.
func read(r io.Reader) (*Array, error) {
	head, err := next(r, 8)
	if err != nil {
		return nil, err
	}
	if string(head[:6]) != "\x93NUMPY" || head[6] < 1 || head[6] > 3 {
		return nil, malformedAt(0, "no NumPy magic of versions 1 to 3")
	}
	var n, start int64
	if head[6] == 1 {
		b, err := next(r, 2)
		if err != nil {
			return nil, err
		}
		n, start = int64(binary.LittleEndian.Uint16(b)), 10
	} else {
		b, err := next(r, 4)
		if err != nil {
			return nil, err
		}
		n, start = int64(binary.LittleEndian.Uint32(b)), 12
	}
	if n > MaxHeader {
		return nil, malformedAt(8, "a header of %d bytes is over the limit of %d", n, MaxHeader)
	}
	text, err := next(r, int(n))
	if err != nil {
		return nil, err
	}
	a := &Array{DataOffset: start + n}
	if err := a.header(text, start, head[6]); err != nil {
		return nil, err
	}
	return a, nil
}

// header fills in a from the dictionary of the header.
func (a *Array) header(text []byte, start int64, version byte) error {
	if version < 3 && !utf8.Valid(text) { // Latin-1 until version 3
		text = latin1(text)
	}
	p := literal{text: text, start: start}
	v, err := p.document()
	if err != nil {
		return err
	}
	d, ok := v.(dict)
	if !ok || len(d) != 3 {
		return malformedAt(start, "the header is no dictionary of three")
	}
	shape, isTuple := d["shape"].(tuple)
	fortran, isBool := d["fortran_order"].(bool)
	descr, hasDescr := d["descr"]
	if !isTuple || !isBool || !hasDescr || len(shape) > maxDims {
		return malformedAt(start, "the header lacks descr, fortran_order or shape")
	}
	a.Fortran = fortran
	if a.Shape, ok = sizes(shape); !ok {
		return malformedAt(start, "the shape is no tuple of sizes")
	}
	size, err := a.itemSize(descr, 0)
	if err != nil {
		return malformedAt(start, "the type of the elements: %v", err)
	}
	a.DType, _ = descr.(string)
	n, ok := product(append(slices.Clone(a.Shape), size))
	if !ok {
		return malformedAt(start, "the shape overflows")
	}
	if a.Bytes = n; a.Object {
		a.Bytes = -1
	}
	return nil
}

// product multiplies, and reports false past 2^56.
func product(values []int64) (int64, bool) {
	n := uint64(1)
	for _, v := range values {
		hi, lo := bits.Mul64(n, uint64(v))
		if hi != 0 || lo > 1<<56 {
			return 0, false
		}
		n = lo
	}
	return int64(n), true
}

// sizes returns a tuple of whole numbers that are not negative.
func sizes(t tuple) ([]int64, bool) {
	s := make([]int64, len(t))
	for i, v := range t {
		n, ok := v.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		s[i] = n
	}
	return s, true
}

func latin1(b []byte) []byte {
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

func next(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, malformedAt(0, "the file ends within the header")
		}
		if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
			return nil, malformedAt(0, "the compressed data is damaged")
		}
		return nil, fmt.Errorf("read header: %w", err)
	}
	return b, nil
}

func malformedAt(off int64, reason string, args ...any) error {
	return &FormatError{Format: "npy", Offset: off, Reason: fmt.Sprintf(reason, args...)}
}
