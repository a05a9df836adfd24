package onnx

import (
	"unicode/utf8"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
)

// A parser reads one model.
type parser struct {
	w      *window.Reader
	m      Model
	fields int // read so far
	kept   int // bytes of text
}

// The wire types of protobuf. Groups, 3 and 4, are not in use by ONNX.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// A field is one field of a message, up to its data if that has a length.
type field struct {
	number int
	wire   int
	value  uint64 // of wireVarint
	end    int64  // offset after the data, of wireBytes
}

// message walks the fields of a message that ends at end. Handle need not read
// the data of a field.
func (p *parser) message(end int64, depth int, handle func(field) error) error {
	if depth > MaxNesting {
		return p.w.Malformed("messages nest deeper than %d", MaxNesting)
	}
	for p.w.Offset() < end {
		f, err := p.field(end)
		if err != nil {
			return err
		}
		if err := handle(f); err != nil {
			return err
		}
		if f.wire == wireBytes {
			if err := p.w.Skip(f.end - p.w.Offset()); err != nil {
				return err
			}
		}
	}
	return nil
}

// nested walks the message that is the data of f.
func (p *parser) nested(f field, depth int, handle func(field) error) error {
	if f.wire != wireBytes {
		return p.w.Malformed("field %d is no message", f.number)
	}
	return p.message(f.end, depth, handle)
}

// field reads the tag of a field and its value, or the length of its data.
func (p *parser) field(end int64) (field, error) {
	if p.fields++; p.fields > maxFields {
		return field{}, p.w.Malformed("more than %d fields", maxFields)
	}
	tag, err := p.varint()
	if err != nil {
		return field{}, err
	}
	f := field{number: int(tag >> 3), wire: int(tag & 7)}
	if tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, p.w.Malformed("no field has number %d", tag>>3)
	}
	switch f.wire {
	case wireVarint:
		f.value, err = p.varint()
	case wireFixed64:
		err = p.w.Skip(8)
	case wireFixed32:
		err = p.w.Skip(4)
	case wireBytes:
		var n uint64
		if n, err = p.varint(); err == nil && (p.w.Offset() > end || n > uint64(end-p.w.Offset())) {
			err = p.w.Malformed("field %d of %d bytes is longer than its message", f.number, n)
		}
		f.end = p.w.Offset() + int64(n)
	default:
		err = p.w.Malformed("unknown wire type %d", f.wire)
	}
	if err == nil && p.w.Offset() > end {
		err = p.w.Malformed("field %d is longer than its message", f.number)
	}
	return f, err
}

func (p *parser) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := p.w.Next(1)
		if err != nil {
			return 0, err
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v, nil
		}
	}
	return 0, p.w.Malformed("a number of more than 10 bytes")
}

// text reads a string.
func (p *parser) text(f field, s *string) error {
	n := f.end - p.w.Offset()
	if f.wire != wireBytes || n > maxString {
		return p.w.Malformed("field %d is no string of at most %d bytes", f.number, maxString)
	}
	if p.kept += int(n) + 64; p.kept > maxText { // 64 is about what holds the string
		return p.w.Malformed("the names take over %d bytes", maxText)
	}
	b, err := p.w.Next(int(n))
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return p.w.Malformed("field %d is not UTF-8", f.number)
	}
	*s = string(b)
	return nil
}

// numbers reads one number, or several in packed form, and appends them.
func (p *parser) numbers(f field, limit int, to []int64) ([]int64, error) {
	if f.wire == wireVarint {
		to = append(to, int64(f.value))
	}
	for f.wire == wireBytes && p.w.Offset() < f.end && len(to) <= limit {
		v, err := p.varint()
		if err != nil {
			return nil, err
		}
		to = append(to, int64(v))
	}
	if len(to) > limit || f.wire == wireBytes && p.w.Offset() > f.end {
		return nil, p.w.Malformed("field %d has more than %d numbers or ends within one", f.number, limit)
	}
	return to, nil
}
