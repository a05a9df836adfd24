package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A machine does with stand-ins what a loader of pickles does with objects. It
// knows all opcodes and follows stack, marks and memo exactly; where it differs
// from a loader it refuses.
type machine struct {
	s   *session
	in  *input
	t   *tape
	ctx pickleContext

	stack   []value
	marks   []int
	memo    []*page
	put     int // how many are set: where MEMOIZE puts the next
	texts   []byte
	items   []value
	globals []global
	names   map[[2]string]int64
	dicts   []dict
	dtypes  []dtype

	// Of a PyTorch file: the storages that it names, by key.
	storages map[string]storage

	at      int64 // offset of the opcode
	frame   int64 // offset of the end of the frame, 0 outside of frames
	proto   int
	found   map[string]int // findings by rule
	ops     int64
	pending []Finding
	imports int  // names imported
	calls   int  // calls and changes of state
	twofold bool // has bytes that are opcodes to others
	forked  bool // follows what bytes would be to another loader
	cloned  bool // and has dicts and dtypes of its own
	overlay map[uint32]value
	stopped bool
	depth   int // of pickles in pickles
	shift   int // of the limits, by how many machines wait for this one
	arrays  int // of which something is known
}

// pickleContext is what a pickle lies in.
type pickleContext struct {
	torch bool // persistent ids are PyTorch's storages
}

// A storage is the memory of a tensor, as a persistent id has it.
type storage struct {
	class    string
	elements int64
}

// Why a machine stops before the end.
var (
	// errStrict is for what a loader might do and the machine does not.
	errStrict = errors.New("not followed")

	// errFault is for what every loader stops at.
	errFault = errors.New("no pickle")

	// errLimit is for too much.
	errLimit = errors.New("over the limit")
)

func (m *machine) fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFault, fmt.Sprintf(format, args...))
}

func (m *machine) strict(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errStrict, fmt.Sprintf(format, args...))
}

func (m *machine) limit(what string) error { return fmt.Errorf("%w: %s", errLimit, what) }

// find notes a finding, which counts once the bytes are taken for a pickle. Of
// each rule there are enough, so that many of one do not hide another.
func (m *machine) find(rule, format string, args ...any) {
	if m.found[rule] > maxFindings {
		return
	}
	if m.found == nil {
		m.found = make(map[string]int)
	}
	m.found[rule]++
	m.pending = append(m.pending, Finding{Rule: rule, Offset: m.at, Message: fmt.Sprintf(format, args...)})
}

// run follows one pickle to its STOP.
func (m *machine) run() error {
	m.s.live++
	defer func() { m.s.live-- }()
	for {
		if m.ops++; m.s.steps+1 > maxSteps {
			return m.limit("too many steps")
		}
		m.s.steps++
		m.at = m.t.pos
		b, err := m.t.next(1)
		if err != nil {
			return err
		}
		if b[0] == opStop {
			if err := m.need(1); err != nil {
				return err
			}
			m.stopped = true
			return m.checkFrame()
		}
		if err := m.step(b[0]); err != nil {
			return err
		}
		if m.forked && !m.cloned && m.imports+m.calls > 0 {
			return nil // it is known what it would be
		}
		if err := m.checkFrame(); err != nil {
			return err
		}
	}
}

// checkFrame tells an opcode that reaches over the end of its frame, which some
// loaders read in another way than others.
func (m *machine) checkFrame() error {
	if m.frame == 0 || m.t.pos < m.frame {
		return nil
	}
	if m.t.pos > m.frame && m.at < m.frame {
		return m.strict("an opcode reaches over the end of its frame")
	}
	m.frame = 0
	return nil
}

// step follows one opcode.
func (m *machine) step(code byte) error {
	arg := arguments[code]
	switch {
	case !arg.known:
		return m.fault("unknown opcode 0x%02x", code)
	case arg.lines > 0:
		return m.lines(code)
	case arg.count > 0:
		return m.counted(code, int(arg.count))
	case arg.fixed > 0:
		b, err := m.t.next(int(arg.fixed))
		if err != nil {
			return err
		}
		return m.fixed(code, b)
	}
	return m.plain(code)
}

// lines follows opcodes of protocol 0.
func (m *machine) lines(code byte) error {
	line, whole, err := m.t.line(maxLine)
	if err != nil {
		return err
	}
	switch code {
	case opInt:
		return m.push(number(line))
	case opLong:
		return m.push(number(strings.TrimSuffix(line, "L")))
	case opFloat:
		return m.push(value{kind: vPlain})
	case opString, opUnicode:
		switch {
		case !whole:
			return m.push(value{kind: vLongText})
		case code == opString:
			return m.push(m.quoted(line))
		}
		return m.push(m.escaped(line))
	case opPersID:
		if !m.in.mayBePickle() { // what stops loaders that do not expect one
			return m.fault("has a persistent id")
		}
		m.find("pickle-opcode", "has a persistent id %.80q", line)
		return m.push(value{})
	case opGet, opPut:
		return m.memoText(code, line)
	}
	name, wholeName, err := m.t.line(maxLine)
	if err != nil {
		return err
	}
	return m.named(code, line, name, whole && wholeName)
}

// named follows GLOBAL and INST.
func (m *machine) named(code byte, module, name string, whole bool) error {
	if module == "" {
		return m.fault("imports from no module")
	}
	if !whole || !utf8.ValidString(module) || !utf8.ValidString(name) {
		return m.fault("a name is too long or not UTF-8")
	}
	if code == opInst {
		return m.inst(module, name)
	}
	v, err := m.load(module, name)
	if err != nil {
		return err
	}
	return m.push(v)
}

// number is the value of INT, a number or, so written, a bool, and of LONG.
func number(line string) value {
	if n, err := strconv.ParseInt(line, 10, 64); err == nil && line != "00" && line != "01" {
		return value{kind: vInt, off: n}
	}
	if isMagicText(line) {
		return value{kind: vPlain, n: torchMagic}
	}
	return value{kind: vPlain}
}

// counted follows opcodes whose argument has its length before it.
func (m *machine) counted(code byte, width int) error {
	b, err := m.t.next(width)
	if err != nil {
		return err
	}
	var buf [8]byte
	copy(buf[:], b)
	n := binary.LittleEndian.Uint64(buf[:])
	if width == 4 && code != opBinBytes && code != opBinUnicode && int32(n) < 0 {
		return m.fault("an argument of negative length")
	}
	if !m.t.fits(n) {
		return errShort
	}
	switch code {
	case opShortBinBytes, opBinBytes, opBinBytes8, opByteArray8:
		v := value{kind: vBytes, off: m.t.pos, n: uint32(n)}
		if n >= restricted {
			v.kind = vLongBytes
		}
		if err := m.t.skip(int64(n)); err != nil {
			return err
		}
		return m.push(v)
	}
	if n > maxText {
		if err := m.t.skip(int64(n)); err != nil {
			return err
		}
		if code == opLong1 || code == opLong4 {
			return m.push(value{kind: vPlain})
		}
		return m.push(value{kind: vLongText})
	}
	data, err := m.t.next(int(n))
	if err != nil {
		return err
	}
	switch code {
	case opLong1, opLong4:
		return m.push(long(data))
	case opBinString, opShortBinString:
		if !isASCII(data) {
			return m.push(value{kind: vLongText})
		}
	}
	return m.push(m.keep(data))
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// long is the value of a two's complement number of any length.
func long(data []byte) value {
	n := len(data)
	if isMagicBytes(data) {
		return value{kind: vPlain, n: torchMagic}
	}
	if n > 8 {
		return value{kind: vPlain}
	}
	if n == 0 {
		return value{kind: vInt}
	}
	var b [8]byte
	copy(b[8-n:], data)
	return value{kind: vInt, off: int64(binary.LittleEndian.Uint64(b[:])) >> (8 * (8 - n))}
}

// fixed follows opcodes with an argument of so many bytes.
func (m *machine) fixed(code byte, b []byte) error {
	switch code {
	case opBinInt1:
		return m.push(value{kind: vInt, off: int64(b[0])})
	case opBinInt2:
		return m.push(value{kind: vInt, off: int64(binary.LittleEndian.Uint16(b))})
	case opBinInt:
		return m.push(value{kind: vInt, off: int64(int32(binary.LittleEndian.Uint32(b)))})
	case opBinFloat:
		return m.push(value{kind: vPlain})
	case opBinGet:
		return m.get(uint32(b[0]))
	case opLongBinGet:
		return m.get(binary.LittleEndian.Uint32(b))
	case opBinPut:
		return m.set32(uint32(b[0]))
	case opLongBinPut:
		return m.set32(binary.LittleEndian.Uint32(b))
	case opProto:
		return m.protocol(int(b[0]))
	case opFrame:
		return m.startFrame(binary.LittleEndian.Uint64(b))
	}
	// EXT: what a code stands for is in a registry of the loader.
	m.imports++
	m.find("pickle-opcode", "imports by an extension code (0x%02x)", code)
	return m.push(value{})
}

// maxProtocol is the last protocol of pickles that there is.
const maxProtocol = 5

func (m *machine) protocol(n int) error {
	if n > maxProtocol {
		return m.fault("protocol %d is not known", n)
	}
	if m.ops > 1 {
		m.find("pickle-opcode", "has a protocol in the middle")
	}
	m.proto = n
	return nil
}

func (m *machine) startFrame(n uint64) error {
	if m.frame > m.at {
		return m.strict("a frame begins in another")
	}
	if !m.t.fits(n) { // some loaders do not mind
		m.find("pickle-broken", "has a frame that is longer than the file")
		return nil
	}
	if n > 0 {
		m.frame = m.t.pos + int64(n)
	}
	return nil
}

// plain follows opcodes without an argument that neither build nor call.
func (m *machine) plain(code byte) error {
	switch code {
	case opMark:
		if len(m.marks) >= maxMarks>>m.shift {
			return m.limit("too many marks")
		}
		m.marks = append(m.marks, len(m.stack))
		return nil
	case opPop:
		if len(m.marks) > 0 && len(m.stack) == m.marks[len(m.marks)-1] {
			m.marks = m.marks[:len(m.marks)-1]
			return nil
		}
		_, err := m.pop()
		return err
	case opPopMark:
		_, err := m.popMark()
		return err
	case opDup:
		v, err := m.top()
		if err != nil {
			return err
		}
		return m.push(v)
	case opNone:
		return m.push(value{kind: vPlain, n: none})
	case opNewTrue, opNewFalse:
		return m.push(value{kind: vPlain})
	case opMemoize:
		return m.set32(uint32(m.put))
	case opNextBuffer:
		m.find("pickle-opcode", "takes a buffer from outside of the file")
		return m.push(value{})
	case opReadOnly:
		return m.need(1)
	}
	return m.collect(code)
}

// need checks that n values can be popped.
func (m *machine) need(n int) error {
	if len(m.stack)-m.fence() < n {
		return m.fault("takes from an empty stack")
	}
	return nil
}

// fence is the height below which nothing can be popped.
func (m *machine) fence() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) push(v value) error {
	if len(m.stack) >= maxStack>>m.shift {
		return m.limit("the stack is too high")
	}
	m.stack = append(m.stack, v)
	return nil
}

func (m *machine) pop() (value, error) {
	if err := m.need(1); err != nil {
		return value{}, err
	}
	n := len(m.stack) - 1
	v := m.stack[n]
	m.cut(n)
	return v, nil
}

// cut takes all above the n lowest values off the stack. A fork must not write
// where the other machine has its values.
func (m *machine) cut(n int) {
	if m.forked {
		m.stack = m.stack[:n:n]
		return
	}
	m.stack = m.stack[:n]
}

func (m *machine) top() (value, error) {
	if err := m.need(1); err != nil {
		return value{}, err
	}
	return m.stack[len(m.stack)-1], nil
}

// popMark takes all down to the last mark. The values are good until the next
// push.
func (m *machine) popMark() ([]value, error) {
	n := len(m.marks) - 1
	if n < 0 {
		return nil, m.fault("has no mark")
	}
	at := m.marks[n]
	items := m.stack[at:len(m.stack):len(m.stack)]
	m.marks = m.marks[:n:n]
	m.cut(at)
	return items, nil
}
