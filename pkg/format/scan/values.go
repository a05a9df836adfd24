package scan

import "strings"

// A value stands for what a loader would have on its stack. Values have no
// pointers: a pickle may make millions of them.
type value struct {
	off  int64
	n    uint32
	kind valueKind
}

type valueKind uint8

// The kinds of values. Zero is what a value of which nothing is known is.
const (
	vTainted   valueKind = iota // made by what has been reported already
	vPlain                      // None, a bool, a float, a number too long, a buffer of them
	vInt                        // off is the number
	vText                       // n bytes at off of the machine's texts
	vLongText                   // a string that is not kept
	vBytes                      // n bytes at off of the input
	vLongBytes                  // bytes too many for n, at off
	vGlobal                     // off is the index in the machine's globals
	vResult                     // of calling the global at off
	vTuple                      // n items at off of the machine's items
	vLongTuple                  // a tuple whose items are not kept
	vList
	vSet
	vDict    // off is the index in the machine's dicts
	vDType   // off is the index in the machine's dtypes
	vArray   // joblib's stand-in for an array whose bytes follow
	vStorage // of PyTorch
)

// restricted is set in n of a tuple that has, at any depth, a function that may
// be called only with certain arguments.
const restricted = 1 << 31

// What n of a vPlain tells.
const (
	none       = 1 // it is None
	torchMagic = 2 // it is the number at the start of PyTorch's old files
)

func (v value) isNone() bool { return v.kind == vPlain && v.n == none }

// A global is a name that was imported.
type global struct {
	module, name string
	entry        *entry // nil if it is not allowed
}

func (g global) String() string { return g.module + "." + g.name }

// A dict is what counts of a dictionary.
type dict struct {
	dunder bool  // has a key by which Python runs code
	other  bool  // has keys that are no plain strings
	fields bool  // all its values are pairs of a dtype and an offset
	sized  bool  // and the sizes of all dtypes are known
	objs   bool  // some of those have objects
	extent int64 // where the last of the fields ends
	array  *array
}

// A dtype is NumPy's type of an element.
type dtype struct {
	size   int64 // bytes, -1 if it cannot be told
	object bool
	flex   bool // of any size: its state tells
	used   bool // something has it, so that it must not change
}

// An array is the state of joblib's stand-in.
type array struct {
	shape, align, dtype value
	has                 uint8 // bits of what has been set
}

// The limits of a machine. Together they bound its memory to about 100 MiB. One
// that runs while another waits for it has a quarter of the other's.
const (
	maxSteps   = 100_000_000 // of all pickles in a file
	maxStack   = 1 << 20
	maxMarks   = 1 << 16
	maxMemo    = 3 << 20
	pageLen    = 1 << 10
	maxFar     = 1 << 12 // values of the memo that lie far from others
	maxTexts   = 8 << 20 // bytes of strings that are kept
	maxText    = 1 << 10 // of one of them
	maxItems   = 1 << 19 // of tuples that are kept
	maxTuple   = 256     // of one of them
	maxDicts   = 1 << 20
	maxDTypes  = 1 << 16
	maxArrays  = 1 << 17
	maxGlobals = 1 << 14
	maxName    = 1 << 10 // bytes of a module and name that are kept
	maxLine    = 64 << 10
)

// text returns the string that a value is.
func (m *machine) text(v value) (string, bool) {
	if v.kind != vText {
		return "", false
	}
	return string(m.texts[v.off:][:v.n]), true
}

// keep makes a value of a string.
func (m *machine) keep(s []byte) value {
	if len(s) > maxText || len(m.texts)+len(s) > maxTexts>>m.shift {
		return value{kind: vLongText}
	}
	v := value{kind: vText, off: int64(len(m.texts)), n: uint32(len(s))}
	m.texts = append(m.texts, s...)
	return v
}

// tuple makes a value of items.
func (m *machine) tuple(items []value) value {
	var flag uint32
	m.use(items)
	for _, v := range items {
		if m.isRestricted(v) {
			flag = restricted
		}
	}
	if len(items) > maxTuple || len(m.items)+len(items) > maxItems>>m.shift {
		return value{kind: vLongTuple, n: flag}
	}
	v := value{kind: vTuple, off: int64(len(m.items)), n: uint32(len(items)) | flag}
	m.items = append(m.items, items...)
	return v
}

// use notes that something has dtypes.
func (m *machine) use(items []value) {
	if m.forked && !m.cloned {
		return
	}
	for _, v := range items {
		if v.kind == vDType {
			m.dtypes[v.off].used = true
		}
	}
}

// args returns the items of a tuple.
func (m *machine) args(v value) ([]value, bool) {
	if v.kind != vTuple {
		return nil, false
	}
	n := int64(v.n &^ restricted)
	return m.items[v.off:][:n:n], true
}

// isRestricted tells a function that may not be handed around, or a tuple with
// one.
func (m *machine) isRestricted(v value) bool {
	switch v.kind {
	case vGlobal:
		e := m.globals[v.off].entry
		return e != nil && e.check != nil && !e.loose
	case vTuple, vLongTuple:
		return v.n&restricted != 0
	}
	return false
}

// class returns what a value that is a global, or made by one, comes from.
func (m *machine) class(v value) (global, bool) {
	if v.kind == vGlobal || v.kind == vResult {
		return m.globals[v.off], true
	}
	return global{}, false
}

// isDunder tells names that Python looks up by itself.
func isDunder(s string) bool { return strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__") }

// set follows the setting of a key.
func (m *machine) set(d *dict, key, item value) {
	name, ok := m.text(key)
	switch {
	case key.kind == vLongText || key.kind == vInt || key.kind == vPlain || key.kind == vTuple || key.kind == vLongTuple || key.kind == vBytes:
	case !ok:
		d.other = true
	case isDunder(name):
		d.dunder = true
	}
	m.setField(d, item)
	i := -1
	switch name {
	case "shape":
		i = 0
	case "numpy_array_alignment_bytes":
		i = 1
	case "dtype":
		i = 2
	}
	if !ok || i < 0 || m.forked {
		return
	}
	if d.array == nil {
		if m.arrays++; m.arrays > maxArrays {
			return
		}
		d.array = &array{}
	}
	*[]*value{&d.array.shape, &d.array.align, &d.array.dtype}[i] = item
	d.array.has |= 1 << i
}

// setField follows the setting of a value that may describe the field of a
// dtype: a tuple of a dtype and an offset.
func (m *machine) setField(d *dict, item value) {
	items, ok := m.args(item)
	if !ok || len(items) < 2 || items[0].kind != vDType || items[1].kind != vInt || items[1].off < 0 {
		d.fields = false
		return
	}
	t := m.dtypes[items[0].off]
	d.objs = d.objs || t.object
	d.sized = d.sized && t.size >= 0
	d.extent = max(d.extent, items[1].off+t.size)
}
