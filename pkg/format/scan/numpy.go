package scan

import (
	"errors"
	"math/bits"
	"regexp"
	"slices"
	"strconv"

	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/numpy"
)

// dtypePattern is what NumPy writes for the type of an element: order, letter,
// size.
var dtypePattern = regexp.MustCompile(`^[<>=|]?([biufcSUVOMm?])([0-9]{0,9})(\[[0-9]{0,9}[a-zA-Zμ]{1,2}\])?$`)

// dtypeCode is for numpy.dtype with the name of a type.
func dtypeCode(m *machine, args []value) string {
	if len(args) == 0 || len(args) > 3 {
		return "with other arguments than a name"
	}
	name, ok := m.text(args[0])
	if ok && dtypePattern.MatchString(name) || m.isNumber(args[0]) {
		return ""
	}
	return "with what names no type of numbers or text"
}

// isNumber tells a class that NumPy does not take for one of objects.
func (m *machine) isNumber(v value) bool {
	g, _ := m.class(v)
	switch g.module {
	case "numpy":
		return m.isClass(v) && !g.entry.class
	case "builtins", "__builtin__":
		return slices.Contains([]string{"bool", "int", "float", "complex"}, g.name)
	}
	return false
}

// shape is for arrays made of a shape and a type, and of no buffer.
func shape(_ *machine, args []value) string {
	if len(args) > 2 {
		return "with bytes for its elements"
	}
	return ""
}

// newDType makes the value of a call of numpy.dtype.
func (m *machine) newDType(args []value) value {
	t := dtype{size: -1}
	if len(args) > 0 {
		name, _ := m.text(args[0])
		if p := dtypePattern.FindStringSubmatch(name); p != nil {
			n, err := strconv.ParseInt(p[2], 10, 64)
			t.object = p[1] == "O"
			t.flex = p[1] == "V" || p[1] == "S" || p[1] == "U"
			switch {
			case p[1] == "?" && p[2] == "":
				t.size = 1
			case err != nil:
			case p[1] == "U":
				t.size = 4 * n
			default:
				t.size = n
			}
		}
	}
	if len(m.dtypes) >= maxDTypes {
		m.find("limit-steps", "has more types of elements than are kept")
		return value{}
	}
	m.dtypes = append(m.dtypes, t)
	return value{kind: vDType, off: int64(len(m.dtypes) - 1)}
}

// setDType follows the state of a dtype. One that is in use would change what
// the bytes of an array are.
func (m *machine) setDType(target, state value) {
	if m.forked && !m.cloned {
		return
	}
	t := &m.dtypes[target.off]
	items, _ := m.args(state)
	why := "describes a type by what cannot be told"
	switch {
	case state.kind == vLongTuple:
		t.size = -1
		m.find("limit-steps", "has more tuples than are kept")
		return
	case t.used:
		why = "changes a type that is in use"
	case len(items) >= 7 && items[5].kind == vInt:
		why = m.describe(t, items)
	}
	if why != "" {
		t.size = -1
		m.find("pickle-call", "%s", why)
	}
}

// describe follows version, order, subdtype, names, fields, size of an element,
// alignment and flags. It returns why they are not harmless, or "".
func (m *machine) describe(t *dtype, items []value) string {
	n := items[5].off
	fits := true
	if sub := items[2]; !sub.isNone() {
		of, _ := m.args(sub)
		if len(of) != 2 || of[0].kind != vDType {
			return "describes a type by one that cannot be told"
		}
		base := m.dtypes[of[0].off]
		count, ok := m.elements(of[1])
		t.object = t.object || base.object
		fits = ok && (base.size < 0 || count <= n/max(base.size, 1))
	}
	if fields := items[4]; !fields.isNone() {
		if fields.kind != vDict || !m.dicts[fields.off].fields {
			return "describes a type by fields that cannot be told"
		}
		d := m.dicts[fields.off]
		t.object = t.object || d.objs
		fits = fits && d.sized && d.extent <= n
	}
	if !fits || t.object && !m.ownsObjects(items) {
		return "describes a type that is not what it says"
	}
	switch {
	case t.flex && n >= 0:
		t.size = n
	case n >= 0:
		t.size = -1
	}
	return ""
}

// ownsObjects tells whether the state of a dtype with objects has the flags by
// which NumPy counts references to them, and does not take them from bytes.
// Before version 3 it sets them itself.
func (m *machine) ownsObjects(items []value) bool {
	const counted, listed = 1, 2
	if items[0].kind == vInt && items[0].off < 3 {
		return true
	}
	return len(items) > 7 && items[7].kind == vInt && items[7].off&(counted|listed) == counted|listed
}

// scalar is for what makes a number of a dtype and bytes.
func scalar(m *machine, args []value) string {
	if len(args) == 0 || len(args) > 2 || args[0].kind != vDType {
		return "without a dtype"
	}
	if t := m.dtypes[args[0].off]; t.object || t.size < 0 {
		return "without a dtype of numbers"
	}
	return ""
}

// elements multiplies a shape. It reports false where it cannot be one.
func (m *machine) elements(shape value) (int64, bool) {
	items, ok := m.args(shape)
	n := uint64(1)
	for _, v := range items {
		hi, lo := bits.Mul64(n, uint64(v.off))
		if v.kind != vInt || v.off < 0 || hi != 0 || lo > 1<<56 {
			return 0, false
		}
		n = lo
	}
	return int64(n), ok
}

// checkNumPy looks at NumPy's arrays: they have the length that their header
// says, or are a pickle.
func checkNumPy(s *session, in *input) error {
	if in.kind != kindNumPy || in.raw {
		return nil
	}
	if in.at == nil {
		s.add(in, "limit-size", 0, "is an array too large to be unpacked")
		return nil
	}
	a, err := numpy.Read(in.at, in.size)
	switch {
	case errors.Is(err, malformed.ErrMalformed):
		s.add(in, "numpy-malformed", 0, "%v", err)
		return s.pickles(in, 0, pickleContext{}) // some loaders may see one
	case err != nil:
		return err
	case a.Object:
		s.add(in, "numpy-object", 0, "holds Python objects in a pickle")
		return s.objectArray(in, a.DataOffset)
	case a.Bytes != in.size-a.DataOffset:
		s.add(in, "numpy-malformed", a.DataOffset, "has %d bytes of data instead of %d", in.size-a.DataOffset, a.Bytes)
	}
	return nil
}

// objectArray follows the pickle behind the header of an array.
func (s *session) objectArray(in *input, off int64) error {
	t := s.tape(in)
	if err := t.skip(off); err != nil {
		return err
	}
	return s.follow(in, t, pickleContext{})
}
