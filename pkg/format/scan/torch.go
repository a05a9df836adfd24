package scan

import (
	"bytes"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// loadBytes follows torch.storage._load_from_bytes, which loads what it gets as
// a PyTorch file.
func (m *machine) loadBytes(args []value) error {
	if len(args) != 1 || args[0].kind != vBytes || m.t.at == nil || m.forked {
		m.find("pickle-call", "loads bytes that cannot be told")
		return nil
	}
	v := args[0]
	child := &input{
		path: fmt.Sprintf("%s!bytes@%d", m.in.path, v.off), name: "bytes", depth: m.in.depth + 1,
		at: io.NewSectionReader(m.t.at, v.off, int64(v.n)), size: int64(v.n), claimed: kindPickle, torch: true,
	}
	if child.depth > maxDepth {
		m.find("limit-depth", "has files in files that are nested too deep")
		return nil
	}
	return m.s.look(child)
}

// legacyMagic is the number at the start of files that torch.save wrote before
// version 1.6, as a pickle without its protocol.
var legacyMagic = []byte("\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")

// magicDigits is the number alone, which may be written in other ways.
const magicDigits = "119547037146038801333356"

// isTorchMagic tells the number, however it was written.
func (v value) isTorchMagic() bool { return v.kind == vPlain && v.n == torchMagic }

// isMagicText tells it in what Python's int takes for a number.
func isMagicText(line string) bool {
	if len(line) < 20 {
		return false
	}
	n, ok := new(big.Int).SetString(strings.Trim(line, " \t\n\r\v\f"), 0)
	return ok && n.BitLen() < 80 && n.String() == magicDigits
}

// isMagicBytes tells it in two's complement of any length.
func isMagicBytes(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, legacyMagic[2:len(legacyMagic)-1])
	return ok && len(bytes.Trim(rest, "\x00")) == 0
}

// isLegacy tells such a file by how torch.save writes it.
func isLegacy(head []byte) bool {
	return len(head) > 2 && head[0] == 0x80 && bytes.HasPrefix(head[2:], legacyMagic)
}

// legacy follows such a file: five pickles, and storages of the length that the
// fourth announces.
func (s *session) legacy(in *input) error {
	t := s.tape(in)
	var total int64
	for i := range 5 {
		m := s.machine(in, t, pickleContext{torch: true})
		err := m.run()
		s.commit(m)
		if err != nil {
			return s.broken(m, err)
		}
		if i == 3 {
			for _, st := range m.storages {
				size := storageSizes[st.class]
				if size == 0 || st.elements > 1<<50 {
					s.add(in, "torch-storage", m.at, "has a storage of %d elements of %s", st.elements, st.class)
					return nil
				}
				total += 8 + st.elements*size
			}
		}
	}
	at := t.pos
	if err := t.skip(total); err != nil {
		if isContent(err) {
			s.add(in, "torch-storage", at, "ends before its storages do")
			return nil
		}
		return err
	}
	return s.trailing(in, t, "torch-storage")
}

// storageSizes are the bytes of an element.
var storageSizes = map[string]int64{
	"ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "HalfStorage": 2, "BFloat16Storage": 2,
	"IntStorage": 4, "FloatStorage": 4, "QInt32Storage": 4, "LongStorage": 8, "DoubleStorage": 8,
	"ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1,
	"QUInt4x2Storage": 1, "QUInt2x4Storage": 1, "UntypedStorage": 1, "_UntypedStorage": 1,
}

// trailing reports bytes behind the end of all that was announced.
func (s *session) trailing(in *input, t *tape, rule string) error {
	ended, err := t.ended()
	if err == nil && !ended {
		s.add(in, rule, t.pos, "has bytes behind its end")
	}
	return err
}
