package numpy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxItem is the size of one element in bytes.
const maxItem = 1 << 31

// itemSize returns the size of an element of type descr, and sets Object if it
// is or holds a Python object.
func (a *Array) itemSize(descr any, depth int) (int64, error) {
	switch d := descr.(type) {
	case string:
		return a.simpleSize(d)
	case tuple: // (base, shape): an array in each element
		if len(d) != 2 || depth > maxNesting {
			return 0, errors.New("no subarray")
		}
		size, err := a.itemSize(d[0], depth+1)
		if err != nil {
			return 0, err
		}
		return repeat(size, d[1])
	case list: // a structure
		total := int64(0)
		for _, field := range d {
			size, err := a.fieldSize(field, depth+1)
			if err != nil {
				return 0, err
			}
			if total += size; total > maxItem {
				return 0, errors.New("an element is too large")
			}
		}
		return total, nil
	}
	return 0, errors.New("neither a string nor a list")
}

// fieldSize is that of one field of a structure: (name, type) or
// (name, type, shape).
func (a *Array) fieldSize(field any, depth int) (int64, error) {
	f, ok := field.(tuple)
	if !ok || len(f) < 2 || len(f) > 3 || depth > maxNesting {
		return 0, errors.New("no field")
	}
	size, err := a.itemSize(f[1], depth)
	if err != nil || len(f) == 2 {
		return size, err
	}
	return repeat(size, f[2])
}

// repeat multiplies size by a shape, which is a tuple or a number.
func repeat(size int64, shape any) (int64, error) {
	if n, ok := shape.(int64); ok {
		shape = tuple{n}
	}
	t, _ := shape.(tuple)
	s, ok := sizes(t)
	if !ok || t == nil {
		return 0, errors.New("no shape of a subarray")
	}
	n, ok := product(append(s, size))
	if !ok || n > maxItem {
		return 0, errors.New("an element is too large")
	}
	return n, nil
}

// simpleSize is that of a type string: byte order, kind and size, as in "<f4".
func (a *Array) simpleSize(s string) (int64, error) {
	if len(s) < 2 || !strings.ContainsRune("<>|=", rune(s[0])) {
		return 0, fmt.Errorf("unknown type %.40q", s)
	}
	kind, digits := s[1], s[2:]
	if kind == 'O' {
		a.Object = true
		return 8, nil
	}
	if kind == 'M' || kind == 'm' { // datetimes have a unit: "<M8[ns]"
		digits, _, _ = strings.Cut(digits, "[")
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !strings.ContainsRune("biufcSUVMm", rune(kind)) {
		return 0, fmt.Errorf("unknown type %.40q", s)
	}
	if kind == 'U' { // code points
		n *= 4
	}
	return int64(n), nil
}
