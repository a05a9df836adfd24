package pickle

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// A machine follows a pickle as a loader would, but with stand-ins for values:
// string, int64, Global, tuple, *dict, storage, tensor, list for those it has a
// use for, nil for all others.
//
// A pickle that needs more than maxValues of them, or that does what no pickler
// does, makes it lost: it then knows nothing, which is not an error.
type machine struct {
	stack    []any
	memo     map[uint32]any
	values   int
	storages map[string]storage
	lost     bool
}

type (
	mark  struct{}
	tuple []any
	list  struct{ items []any }
	dict  struct{ keys, values []any }

	storage struct {
		typ, key string
		elements int64
	}
	tensor struct {
		storage storage
		typ     string
		shape   []int64
	}
)

// maxValues bounds the memory of a machine: a value takes up to 50 bytes.
const maxValues = 400_000

func newMachine() *machine {
	return &machine{memo: make(map[uint32]any), storages: make(map[string]storage)}
}

func (m *machine) giveUp() {
	*m = machine{lost: true}
}

// use counts n values.
func (m *machine) use(n int) bool {
	if m.values += n; m.values > maxValues {
		m.giveUp()
	}
	return !m.lost
}

func (m *machine) push(v any) {
	if m.use(1) {
		m.stack = append(m.stack, v)
	}
}

// pop takes the top of the stack.
func (m *machine) pop() any {
	if len(m.stack) == 0 {
		m.giveUp()
		return nil
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v
}

func (m *machine) top() any {
	if len(m.stack) == 0 {
		return nil
	}
	return m.stack[len(m.stack)-1]
}

// popMark takes all down to the last mark.
func (m *machine) popMark() []any {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if _, ok := m.stack[i].(mark); ok {
			items := append([]any(nil), m.stack[i+1:]...)
			m.stack = m.stack[:i]
			return items
		}
	}
	m.giveUp()
	return nil
}

// step follows one opcode. What it does not know it treats as what makes some
// value of those on the stack, which loses names but not its way.
func (m *machine) step(o op) {
	switch o.code {
	case '(':
		m.push(mark{})
	case '0':
		m.pop()
	case '1':
		m.popMark()
	case '2':
		m.push(m.top())
	case 'N', 'F', 'I', 'L', 'G', 'P', 'C', 'B', 0x8b, 0x8e, 0x96, 0x97, 0x82, 0x83, 0x84:
		m.push(nil)
	case 'J', 'K', 'M', 0x8a, 0x88, 0x89:
		m.push(number(o))
	case 'S', 'V':
		m.push(plain(o.lines[0], o.code == 'S'))
	case 'T', 'U', 'X', 0x8c, 0x8d:
		m.text(o)
	case 'c':
		m.push(Global{o.lines[0], o.lines[1]})
	case 0x93:
		name, module := m.pop(), m.pop()
		m.push(global(module, name))
	case 'p', 'q', 'r', 0x94, 'g', 'h', 'j':
		m.remember(o)
	default:
		m.collect(o)
	}
}

// collect follows the opcodes that make and fill containers.
func (m *machine) collect(o op) {
	switch o.code {
	case ')':
		m.push(tuple{})
	case 't':
		m.push(tuple(m.popMark()))
	case 0x85, 0x86, 0x87:
		m.tuple(int(o.code) - 0x84)
	case ']':
		m.push(&list{})
	case 'l':
		m.push(&list{m.popMark()})
	case 'a':
		m.extend([]any{m.pop()})
	case 'e':
		m.extend(m.popMark())
	case '}':
		m.push(&dict{})
	case 'd':
		items := m.popMark()
		m.push(&dict{})
		m.setItems(items)
	case 's':
		value, key := m.pop(), m.pop()
		m.setItems([]any{key, value})
	case 'u':
		m.setItems(m.popMark())
	case 0x8f: // EMPTY_SET
		m.push(nil)
	case 0x90: // ADDITEMS
		m.popMark()
	default:
		m.apply(o)
	}
}

// apply follows the opcodes that call something.
func (m *machine) apply(o op) {
	switch o.code {
	case 'b': // BUILD: what it changes stays
		m.pop()
	case 0x91, 'o', 'i': // FROZENSET, OBJ, INST
		m.popMark()
		m.push(nil)
	case 'Q':
		m.push(m.persistent(m.pop()))
	case 'R', 0x81:
		args, callee := m.pop(), m.pop()
		m.push(m.call(callee, args))
	case 0x92: // NEWOBJ_EX
		m.pop()
		m.pop()
		m.pop()
		m.push(nil)
	}
}

func (m *machine) text(o op) {
	if o.data == nil || !m.use(len(o.data)/16) {
		m.push(nil)
		return
	}
	m.push(string(o.data))
}

func (m *machine) tuple(n int) {
	if len(m.stack) < n {
		m.giveUp()
		return
	}
	items := append(tuple(nil), m.stack[len(m.stack)-n:]...)
	m.stack = m.stack[:len(m.stack)-n]
	m.push(items)
}

func (m *machine) extend(items []any) {
	if l, ok := m.top().(*list); ok && m.use(len(items)) {
		l.items = append(l.items, items...)
	}
}

func (m *machine) setItems(items []any) {
	d, ok := m.top().(*dict)
	if !ok || len(items)%2 != 0 || !m.use(len(items)) {
		return
	}
	for i := 0; i < len(items); i += 2 {
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
}

// remember follows what writes and reads the memo.
func (m *machine) remember(o op) {
	index := uint32(len(m.memo))
	switch o.code {
	case 'p', 'g':
		n, err := strconv.ParseUint(o.lines[0], 10, 32)
		if err != nil {
			m.giveUp()
			return
		}
		index = uint32(n)
	case 'q', 'h':
		index = uint32(o.data[0])
	case 'r', 'j':
		index = binary.LittleEndian.Uint32(o.data)
	}
	switch o.code {
	case 'g', 'h', 'j':
		m.push(m.memo[index])
	default:
		if m.use(1) {
			m.memo[index] = m.top()
		}
	}
}

func number(o op) any {
	switch o.code {
	case 'J':
		return int64(int32(binary.LittleEndian.Uint32(o.data)))
	case 'K':
		return int64(o.data[0])
	case 'M':
		return int64(binary.LittleEndian.Uint16(o.data))
	case 0x8a: // two's complement of any length
		if n := len(o.data); n > 0 && n <= 8 {
			var b [8]byte
			copy(b[8-n:], o.data)
			return int64(le64(b[:])) >> (8 * (8 - n))
		}
	}
	return nil
}

// plain returns the text of a line, without quotes if it has them, or nil if it
// has escapes or letters beyond ASCII.
func plain(s string, quoted bool) any {
	if quoted {
		if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
			return nil
		}
		s = s[1 : len(s)-1]
	}
	for _, c := range []byte(s) {
		if c == '\\' || c >= 0x80 {
			return nil
		}
	}
	return s
}

func global(module, name any) any {
	m, ok1 := module.(string)
	n, ok2 := name.(string)
	if !ok1 || !ok2 {
		return nil
	}
	return Global{m, n}
}

// product multiplies a shape, and reports false where it cannot be one.
func product(shape []int64) (int64, bool) {
	n := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if d < 0 || hi != 0 || lo > 1<<56 {
			return 0, false
		}
		n = lo
	}
	return int64(n), true
}
