package gguf

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// A ValueType is the type of a metadata value.
type ValueType uint32

// The value types, with their numbers in the file.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueNames = [...]string{
	"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64", "float64",
}

// valueSizes are those of the types that have one.
var valueSizes = [...]int{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

// String returns the name of the specification.
func (t ValueType) String() string {
	if int(t) < len(valueNames) {
		return valueNames[t]
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// A KV is one entry of metadata.
type KV struct {
	Key  string
	Type ValueType

	// Value is the value as the Go type that corresponds to Type. It is nil
	// for arrays, which are not kept, but that short lists of strings below
	// "general." are a []string; and for strings over 4 MiB or not UTF-8.
	Value any

	// Elem and Len are the type and number of the elements of an array.
	Elem ValueType
	Len  uint64

	// Offset and Bytes say where in the file the entry lies, its key
	// included. Entries follow each other without a gap.
	Offset, Bytes int64
}

// The arrays of strings that are kept: lists such as general.languages.
const (
	maxListLen  = 256
	maxListItem = 1024
)

// Lookup returns the entry of key.
func (h *Header) Lookup(key string) (KV, bool) {
	for _, kv := range h.KV {
		if kv.Key == key {
			return kv, true
		}
	}
	return KV{}, false
}

// Text returns the value of key if it is a string, else "".
func (h *Header) Text(key string) string {
	kv, _ := h.Lookup(key)
	s, _ := kv.Value.(string)
	return s
}

// List returns the value of key if it is a list that was kept, else nil.
func (h *Header) List(key string) []string {
	kv, _ := h.Lookup(key)
	list, _ := kv.Value.([]string)
	return list
}

// Int returns the value of key if it is a whole number that an int64 holds.
func (h *Header) Int(key string) (int64, bool) {
	kv, _ := h.Lookup(key)
	switch v := kv.Value.(type) {
	case uint8:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}

// Architecture returns general.architecture, such as "llama".
func (h *Header) Architecture() string { return h.Text("general.architecture") }

// ContextLength returns the context length of the architecture, 0 if the file
// does not say.
func (h *Header) ContextLength() int64 {
	n, _ := h.Int(h.Architecture() + ".context_length")
	return max(n, 0)
}

// metadata reads n entries.
func (p *parser) metadata(n uint64) error {
	seen := make(map[string]bool)
	for range n {
		kv, err := p.kv()
		if err != nil {
			return err
		}
		if p.keys += len(kv.Key); p.keys > maxKeys {
			return p.w.Malformed("the keys take over %d bytes", maxKeys)
		}
		if seen[kv.Key] {
			return p.w.Malformed("key %.80q is there twice", kv.Key)
		}
		seen[kv.Key] = true
		p.h.KV = append(p.h.KV, kv)
	}
	return nil
}

func (p *parser) kv() (KV, error) {
	start := p.w.Offset()
	key, err := p.name()
	if err != nil {
		return KV{}, err
	}
	number, err := p.u32()
	if err != nil {
		return KV{}, err
	}
	kv := KV{Key: key, Type: ValueType(number), Offset: start}
	switch kv.Type {
	case String:
		var text string
		var ok bool
		if text, ok, err = p.text(); ok {
			kv.Value = text
		}
	case Array:
		err = p.array(&kv)
	default:
		kv.Value, err = p.number(kv.Type)
	}
	kv.Bytes = p.w.Offset() - start
	return kv, err
}

// number reads a value of fixed size.
func (p *parser) number(t ValueType) (any, error) {
	size, ok := t.size()
	if !ok {
		return nil, p.w.Malformed("unknown value %v", t)
	}
	b, err := p.w.Next(size)
	if err != nil {
		return nil, err
	}
	switch t {
	case Uint8:
		return b[0], nil
	case Int8:
		return int8(b[0]), nil
	case Uint16:
		return p.order.Uint16(b), nil
	case Int16:
		return int16(p.order.Uint16(b)), nil
	case Uint32:
		return p.order.Uint32(b), nil
	case Int32:
		return int32(p.order.Uint32(b)), nil
	case Float32:
		return math.Float32frombits(p.order.Uint32(b)), nil
	case Uint64:
		return p.order.Uint64(b), nil
	case Int64:
		return int64(p.order.Uint64(b)), nil
	case Float64:
		return math.Float64frombits(p.order.Uint64(b)), nil
	}
	if b[0] > 1 {
		return nil, p.w.Malformed("a bool is %d", b[0])
	}
	return b[0] == 1, nil
}

// size is the size of a value in bytes, if it is fixed.
func (t ValueType) size() (int, bool) {
	if int(t) >= len(valueSizes) || valueSizes[t] == 0 {
		return 0, false
	}
	return valueSizes[t], true
}

// text reads a string, and tells whether it is one to keep.
func (p *parser) text() (string, bool, error) {
	n, err := p.textLen()
	if err != nil {
		return "", false, err
	}
	if n > int64(min(maxKept-p.kept, maxText)) {
		return "", false, p.w.Skip(n)
	}
	b, err := p.w.Next(int(n))
	if err != nil || !utf8.Valid(b) {
		return "", false, err
	}
	p.kept += int(n)
	return string(b), true, nil
}

// array reads the type and length of an array, and goes past it.
func (p *parser) array(kv *KV) error {
	number, err := p.u32()
	if err != nil {
		return err
	}
	kv.Elem = ValueType(number)
	if kv.Len, err = p.u64(); err != nil {
		return err
	}
	left := uint64(p.w.Left())
	if size, ok := kv.Elem.size(); ok {
		if kv.Len > left/uint64(size) {
			return p.w.Malformed("an array of %d values is longer than the file", kv.Len)
		}
		return p.w.Skip(int64(kv.Len) * int64(size))
	}
	if kv.Elem != String {
		return p.w.Malformed("an array of %v is not read", kv.Elem)
	}
	// Each string takes 8 bytes for its length alone.
	if kv.Len > left/8 {
		return p.w.Malformed("an array of %d strings is longer than the file", kv.Len)
	}
	if kv.Len <= maxListLen && strings.HasPrefix(kv.Key, "general.") {
		return p.list(kv)
	}
	for range kv.Len {
		n, err := p.textLen()
		if err != nil {
			return err
		}
		if err := p.w.Skip(n); err != nil {
			return err
		}
	}
	return nil
}

// list keeps an array of strings, unless one is too long to be an item of a
// list.
func (p *parser) list(kv *KV) error {
	list, keep := make([]string, 0, kv.Len), true
	for range kv.Len {
		n, err := p.textLen()
		if err != nil {
			return err
		}
		if keep = keep && n <= int64(min(maxListItem, maxKept-p.kept)); !keep {
			if err := p.w.Skip(n); err != nil {
				return err
			}
			continue
		}
		b, err := p.w.Next(int(n))
		if err != nil {
			return err
		}
		p.kept += int(n) + 16 // a string's own two words
		keep = utf8.Valid(b)
		list = append(list, string(b))
	}
	if keep {
		kv.Value = list
	}
	return nil
}

// textLen reads the length of a string.
func (p *parser) textLen() (int64, error) {
	n, err := p.u64()
	if err == nil && n > uint64(p.w.Left()) {
		err = p.w.Malformed("a string of %d bytes is longer than the file", n)
	}
	return int64(n), err
}
