package pickle

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
)

// How the argument of an opcode is written (pickletools.opcodes).
type argument struct {
	fixed int // bytes of the argument
	lines int // lines of text
	count int // bytes of the length that precedes the argument
}

// argumentOf returns the form of an opcode's argument. It knows all opcodes of
// protocols 0 to 5.
func argumentOf(code byte) (argument, bool) {
	switch code {
	case '(', '.', '0', '1', '2', 'N', 'Q', 'R', 'a', 'b', 'd', 'e', ']', '}', ')', 'l', 'o', 's', 't', 'u',
		0x81, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94, 0x97, 0x98:
		return argument{}, true
	case 'F', 'I', 'L', 'P', 'S', 'V', 'g', 'p':
		return argument{lines: 1}, true
	case 'c', 'i':
		return argument{lines: 2}, true
	case 'K', 'h', 'q', 0x80, 0x82:
		return argument{fixed: 1}, true
	case 'M', 0x83:
		return argument{fixed: 2}, true
	case 'J', 'j', 'r', 0x84:
		return argument{fixed: 4}, true
	case 'G', 0x95:
		return argument{fixed: 8}, true
	case 'C', 'U', 0x8a, 0x8c:
		return argument{count: 1}, true
	case 'B', 'T', 'X', 0x8b:
		return argument{count: 4}, true
	case 0x8d, 0x8e, 0x96:
		return argument{count: 8}, true
	}
	return argument{}, false
}

// An op is an opcode with its argument.
type op struct {
	code  byte
	data  []byte    // of fixed or counted arguments; nil if it was passed over
	lines [2]string // of those in lines
}

// maxData is how long a counted argument may be to be looked at.
const maxData = 64 << 10

// walk reads one pickle from w, to its STOP.
func (f *File) walk(w *window.Reader) (*machine, error) {
	m, seen := newMachine(), make(map[Global]bool)
	for range maxOps {
		o, err := next(w)
		if err != nil {
			return nil, err
		}
		if o.code == 0x80 {
			if o.data[0] > 5 {
				return nil, w.Malformed("protocol %d is not known", o.data[0])
			}
			f.Protocol = max(f.Protocol, int(o.data[0]))
		}
		if !m.lost {
			m.step(o)
		}
		switch {
		case o.code == 'c' || o.code == 'i':
			f.addGlobal(Global{o.lines[0], o.lines[1]}, seen)
		case o.code == 0x93:
			if g, ok := m.top().(Global); ok {
				f.addGlobal(g, seen)
			}
		case o.code == '.':
			return m, nil
		}
	}
	return nil, w.Malformed("more than %d opcodes", maxOps)
}

func (f *File) addGlobal(g Global, seen map[Global]bool) {
	if !seen[g] && len(seen) < maxGlobals && len(g.Module)+len(g.Name) <= maxGlobal {
		seen[g] = true
		f.Globals = append(f.Globals, g)
	}
}

// next reads one opcode.
func next(w *window.Reader) (op, error) {
	b, err := w.Next(1)
	if err != nil {
		return op{}, err
	}
	o := op{code: b[0]}
	arg, known := argumentOf(o.code)
	if !known {
		return o, w.Malformed("unknown opcode 0x%02x", o.code)
	}
	for i := range arg.lines {
		if o.lines[i], err = line(w); err != nil {
			return o, err
		}
		// Names are UTF-8, text of protocol 0 is Latin-1.
		if arg.lines == 2 && !utf8.ValidString(o.lines[i]) {
			return o, w.Malformed("a name is not UTF-8")
		}
	}
	n := int64(arg.fixed)
	if arg.count > 0 {
		if n, err = length(w, arg.count); err != nil {
			return o, err
		}
	}
	if n > maxData {
		return o, w.Skip(n)
	}
	o.data, err = w.Next(int(n))
	return o, err
}

// length reads the length of a counted argument.
func length(w *window.Reader, size int) (int64, error) {
	b, err := w.Next(size)
	if err != nil {
		return 0, err
	}
	var buf [8]byte
	copy(buf[:], b)
	n := le64(buf[:])
	if n > uint64(w.Left()) {
		return 0, w.Malformed("an argument of %d bytes is longer than the file", n)
	}
	return int64(n), nil
}

// line reads to the end of a line.
func line(w *window.Reader) (string, error) {
	var text []byte
	for len(text) < maxLine {
		b, err := w.Next(1)
		if err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(text), nil
		}
		text = append(text, b[0])
	}
	return "", w.Malformed("a line is over %d bytes", maxLine)
}

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
