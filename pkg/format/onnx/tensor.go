package onnx

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// dtype is a TensorProto.DataType. Elements of less than a byte are packed;
// bits is 0 where raw data does not have a fixed size.
type dtype struct {
	name string
	bits uint64
}

var dtypes = map[int64]dtype{
	1: {"FLOAT", 32}, 2: {"UINT8", 8}, 3: {"INT8", 8}, 4: {"UINT16", 16}, 5: {"INT16", 16},
	6: {"INT32", 32}, 7: {"INT64", 64}, 8: {"STRING", 0}, 9: {"BOOL", 8}, 10: {"FLOAT16", 16},
	11: {"DOUBLE", 64}, 12: {"UINT32", 32}, 13: {"UINT64", 64}, 14: {"COMPLEX64", 64},
	15: {"COMPLEX128", 128}, 16: {"BFLOAT16", 16}, 17: {"FLOAT8E4M3FN", 8}, 18: {"FLOAT8E4M3FNUZ", 8},
	19: {"FLOAT8E5M2", 8}, 20: {"FLOAT8E5M2FNUZ", 8}, 21: {"UINT4", 4}, 22: {"INT4", 4},
	23: {"FLOAT4E2M1", 4}, 24: {"FLOAT8E8M0", 8}, 25: {"UINT2", 2}, 26: {"INT2", 2},
	27: {"FLOAT6E2M3", 0}, 28: {"FLOAT6E3M2", 0},
}

// initializer is a TensorProto of the main graph.
func (p *parser) initializer(f field, depth int) error {
	if len(p.m.Initializers) == MaxInitializers {
		return p.w.Malformed("more than %d initializers", MaxInitializers)
	}
	t, err := p.tensor(f, depth, true)
	if err == nil {
		p.m.Initializers = append(p.m.Initializers, t)
	}
	return err
}

// tensorOnly is a TensorProto of which only the place of its data matters.
func (p *parser) tensorOnly(f field, depth int) error {
	_, err := p.tensor(f, depth, false)
	return err
}

// tensor reads a TensorProto, with its name if that is to be kept.
func (p *parser) tensor(f field, depth int, named bool) (Tensor, error) {
	t := Tensor{Offset: -1, Bytes: -1}
	var raw rawTensor
	err := p.nested(f, depth, func(f field) (err error) {
		switch f.number {
		case 1: // dims
			t.Shape, err = p.numbers(f, maxDims, t.Shape)
		case 2: // data_type
			raw.dtype = int64(f.value)
		case 3: // segment
			raw.segment = true
		case 8: // name
			if named {
				err = p.text(f, &t.Name)
			}
		case 9: // raw_data
			t.Offset, t.Bytes = p.w.Offset(), f.end-p.w.Offset()
		case 13: // external_data
			if t.External == nil {
				t.External = &External{Length: -1}
			}
			err = p.external(f, depth+1, t.External)
		case 14: // data_location
			raw.external = f.value == 1
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if err := p.place(&t, raw); err != nil {
		return t, err
	}
	return t, p.complete(&t, raw)
}

// place sees to it that the data is in one place: external data in its file.
func (p *parser) place(t *Tensor, raw rawTensor) error {
	if t.External == nil && !raw.external {
		return nil
	}
	if t.External == nil || t.External.Location == "" {
		return p.w.Malformed("tensor %.80q has external data without a location", t.Name)
	}
	t.Offset, t.Bytes = -1, -1
	return nil
}

// A rawTensor is what a TensorProto says that a [Tensor] says in other words.
type rawTensor struct {
	dtype    int64
	segment  bool // part of the data only
	external bool
}

// complete fills in type and size, and checks the size of raw data.
func (p *parser) complete(t *Tensor, raw rawTensor) error {
	n := uint64(1)
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if d < 0 || hi != 0 || lo > 1<<56 {
			return p.w.Malformed("tensor %.80q has an impossible shape %v", t.Name, t.Shape)
		}
		n = lo
	}
	known := dtypes[raw.dtype]
	t.DType = known.name
	if known.bits == 0 || raw.segment {
		return nil
	}
	size := int64((n*known.bits + 7) / 8)
	if t.Offset >= 0 && t.Bytes != size {
		return p.w.Malformed("tensor %.80q has %d bytes of data for a shape that needs %d", t.Name, t.Bytes, size)
	}
	t.Bytes = size
	return nil
}

// external reads a StringStringEntryProto of external_data.
func (p *parser) external(f field, depth int, e *External) error {
	var key, value string
	err := p.nested(f, depth, func(f field) error {
		switch f.number {
		case 1:
			return p.text(f, &key)
		case 2:
			return p.text(f, &value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch key {
	case "location":
		if outside(value) {
			return p.w.Malformed("external data lies outside the model: %.200q", value)
		}
		e.Location = value
	case "offset":
		e.Offset, err = p.size(value)
	case "length":
		e.Length, err = p.size(value)
	}
	return err
}

func (p *parser) size(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, p.w.Malformed("external data at %.40q is no size", s)
	}
	return n, nil
}

// outside tells whether a location can leave the directory of the model, on
// any system: it is absolute, has a drive, a backslash, or a ".." element.
func outside(location string) bool {
	return location == "" || location[0] == '/' ||
		strings.ContainsAny(location, "\\:\x00") ||
		slices.Contains(strings.Split(location, "/"), "..")
}
