package scan

import (
	"errors"
	"math/bits"
	"regexp"
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
	if ok && dtypePattern.MatchString(name) || m.isClass(args[0]) {
		return ""
	}
	return "with what names no type of numbers or text"
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
		return value{}
	}
	m.dtypes = append(m.dtypes, t)
	return value{kind: vDType, off: int64(len(m.dtypes) - 1)}
}

// setDType follows the state of a dtype: version, order, subdtype, names,
// fields, size of an element and more.
func (m *machine) setDType(target, state value) {
	if m.forked && !m.cloned {
		return
	}
	t := &m.dtypes[target.off]
	items, ok := m.args(state)
	if !ok || len(items) < 6 || items[5].kind != vInt {
		t.size = -1
		return
	}
	if sub := items[2]; sub.kind != vPlain || sub.n != none {
		of, isTuple := m.args(sub)
		if !isTuple || len(of) == 0 || of[0].kind != vDType {
			t.size = -1
			return
		}
		t.object = t.object || m.dtypes[of[0].off].object
	}
	n := items[5].off
	if fields := items[4]; fields.kind != vPlain || fields.n != none {
		if fields.kind != vDict || !m.dicts[fields.off].fields {
			t.size = -1
			return
		}
		d := m.dicts[fields.off]
		t.object = t.object || d.objs
		if d.extent > n || d.objs && len(items) > 7 && items[7].off&1 == 0 {
			m.find("pickle-call", "describes a type whose fields are not what it says")
		}
	}
	switch {
	case t.flex && n >= 0:
		t.size = n
	case n >= 0:
		t.size = -1
	}
}

// scalar is for what makes a number of a dtype and bytes.
func scalar(m *machine, args []value) string {
	if len(args) == 0 || len(args) > 2 || args[0].kind != vDType || m.dtypes[args[0].off].object {
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
