package scan_test

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// An asm is a pickle that is being put together. Nothing here is ever loaded,
// and what it would do if it were is harmless.
type asm []byte

func (a asm) op(b ...byte) asm        { return append(a, b...) }
func (a asm) raw(s string) asm        { return append(a, s...) }
func (a asm) proto(n byte) asm        { return a.op(0x80, n) }
func (a asm) global(m, n string) asm  { return a.raw("c" + m + "\n" + n + "\n") }
func (a asm) put(i int) asm           { return a.raw("p" + strconv.Itoa(i) + "\n") }
func (a asm) get(i int) asm           { return a.raw("g" + strconv.Itoa(i) + "\n") }
func (a asm) binPut(i byte) asm       { return a.op('q', i) }
func (a asm) binGet(i byte) asm       { return a.op('h', i) }
func (a asm) memo() asm               { return a.op(0x94) }
func (a asm) stack() asm              { return a.op(0x93) }
func (a asm) tuple1() asm             { return a.op(0x85) }
func (a asm) tuple2() asm             { return a.op(0x86) }
func (a asm) reduce() asm             { return a.op('R') }
func (a asm) stop() []byte            { return a.op('.') }
func (a asm) short(s string) asm      { return a.op(0x8c, byte(len(s))).raw(s) }
func (a asm) text(s string) asm       { return a.sized('X', 4, s) }
func (a asm) bytes(s string) asm      { return a.sized('B', 4, s) }
func (a asm) named(m, n string) asm   { return a.short(m).short(n).stack() }
func (a asm) call(arg string) asm     { return a.text(arg).tuple1().reduce() }
func (a asm) callTwo(x, y string) asm { return a.text(x).text(y).tuple2().reduce() }

// sized appends an opcode with an argument whose length stands in n bytes.
func (a asm) sized(op byte, n int, s string) asm {
	a = append(a, op)
	return append(append(a, binary.LittleEndian.AppendUint64(nil, uint64(len(s)))[:n]...), s...)
}

// frame puts a pickle in a frame.
func frame(body []byte) []byte {
	return append(asm(nil).proto(4).sized(0x95, 8, string(body)), '.')
}

// The ways to import a name and call it.
var ways = map[string]func(module, name string) []byte{
	"global":         func(m, n string) []byte { return asm(nil).proto(2).global(m, n).call("x").stop() },
	"protocol 0":     func(m, n string) []byte { return asm(nil).global(m, n).raw("(Vx\ntR").stop() },
	"stack":          func(m, n string) []byte { return asm(nil).proto(4).named(m, n).call("x").stop() },
	"frame":          func(m, n string) []byte { return frame(asm(nil).named(m, n).call("x")) },
	"new":            func(m, n string) []byte { return asm(nil).proto(2).global(m, n).text("x").tuple1().op(0x81).stop() },
	"new with names": func(m, n string) []byte { return asm(nil).proto(4).named(m, n).raw(")}\x92").stop() },
	"instance":       func(m, n string) []byte { return asm(nil).raw("(Vx\ni" + m + "\n" + n + "\n").stop() },
	"object":         func(m, n string) []byte { return asm(nil).raw("(").global(m, n).text("x").op('o').stop() },
	"only imported":  func(m, n string) []byte { return asm(nil).proto(2).global(m, n).stop() },
	"and dropped": func(m, n string) []byte {
		return asm(nil).proto(2).global(m, n).call("x").op('0').raw("}").stop()
	},
	"duplicated": func(m, n string) []byte {
		return asm(nil).proto(4).short(m).short(n).op('2', '0').stack().op('2', '0').call("x").stop()
	},
	"memo, mixed": func(m, n string) []byte { // PUT and MEMOIZE count differently
		return asm(nil).proto(4).short(m).binPut(0).short(n).binPut(1).short("torch._utils").memo().short("_rebuild_tensor_v2").memo().
			op('0', '0', '0', '0').binGet(0).binGet(1).stack().call("x").stop()
	},
	"memo, overwritten": func(m, n string) []byte {
		return asm(nil).proto(4).short("collections").binPut(0).short("OrderedDict").binPut(1).short(m).binPut(0).short(n).binPut(1).
			op('0', '0', '0', '0').binGet(0).binGet(1).stack().call("x").stop()
	},
	"memo, long": func(m, n string) []byte {
		return asm(nil).proto(4).short(m).raw("r\xff\xff\x00\x00").short(n).raw("r\x00\xff\x00\x00").op('0', '0').
			raw("j\xff\xff\x00\x00j\x00\xff\x00\x00").stack().call("x").stop()
	},
	"memo, text": func(m, n string) []byte {
		return asm(nil).raw("V" + m + "\n").put(2).raw("0V" + n + "\n").put(3).raw("0Vtorch\n").put(0).raw("0VLongStorage\n").put(1).raw("0").
			get(2).get(3).stack().raw("(Vx\ntR").stop()
	},
	"old strings": func(m, n string) []byte {
		return asm(nil).proto(4).sized('U', 1, m).sized('T', 4, n).stack().call("x").stop()
	},
	"quoted strings": func(m, n string) []byte {
		return asm(nil).raw("S'" + m + "'\nS\"" + n + "\"\n").stack().raw("(Vx\ntR").stop()
	},
	"escaped strings": func(m, n string) []byte {
		return asm(nil).raw("V" + hex(m, `\u00%02x`) + "\nS'" + hex(n, `\x%02x`) + "'\n").stack().raw("(Vx\ntR").stop()
	},
	"octal string": func(m, n string) []byte {
		return asm(nil).raw("S'" + hex(m, `\%03o`) + "'\nV" + hex(n, `\U000000%02x`) + "\n").stack().raw("(Vx\ntR").stop()
	},
	"long string": func(m, n string) []byte {
		return asm(nil).proto(4).sized(0x8d, 8, m).sized(0x8d, 8, n).stack().call("x").stop()
	},
	"broken afterwards": func(m, n string) []byte { return asm(nil).proto(2).global(m, n).call("x").raw("\xff\xff") },
	"cut afterwards":    func(m, n string) []byte { return asm(nil).proto(2).global(m, n).call("x").raw("X\xff") },
	"empty afterwards":  func(m, n string) []byte { return asm(nil).proto(2).global(m, n).call("x").raw("0000.") },
	"second pickle": func(m, n string) []byte {
		return append([]byte("\x80\x02N."), asm(nil).global(m, n).call("x").stop()...)
	},
	"after much data": func(m, n string) []byte {
		return asm(nil).proto(2).bytes(strings.Repeat("\x00", 300<<10)).op('0').global(m, n).call("x").stop()
	},
	"after a mark": func(m, n string) []byte { return asm(nil).raw("((((").global(m, n).raw("(Vx\ntR").stop() },
	"in a list":    func(m, n string) []byte { return asm(nil).proto(2).raw("](").global(m, n).call("x").raw("e").stop() },
	"as a key":     func(m, n string) []byte { return asm(nil).proto(2).raw("}").global(m, n).call("x").raw("Ns").stop() },
	"factory": func(m, n string) []byte {
		return asm(nil).proto(2).global("collections", "defaultdict").global(m, n).tuple1().reduce().stop()
	},
	"constructor": func(m, n string) []byte {
		return asm(nil).global("copy_reg", "_reconstructor").raw("(").global(m, n).global("__builtin__", "object").raw("NtR").stop()
	},
	"rebuilt": func(m, n string) []byte {
		return asm(nil).proto(2).global("torch._tensor", "_rebuild_from_type_v2").raw("(").global(m, n).global("torch", "Tensor").text("x").tuple1().raw("}tR").stop()
	},
	"state": func(m, n string) []byte {
		return asm(nil).proto(2).global("collections", "OrderedDict").raw(")R}X\x0c\x00\x00\x00__setstate__").global(m, n).raw("sbX\x01\x00\x00\x00xb").stop()
	},
	"state of a class": func(m, n string) []byte {
		return asm(nil).proto(2).global("collections", "OrderedDict").raw("}X\x08\x00\x00\x00__call__").global(m, n).raw("sb").stop()
	},
	"float first": func(m, n string) []byte { return asm(nil).raw("}F1.0\n").global(m, n).raw("(Vx\ntR").stop() },
	"long frame": func(m, n string) []byte {
		return asm(nil).proto(4).raw("\x95\xff\xff\xff\x7f\x00\x00\x00\x00").named(m, n).call("x").stop()
	},
	"straddled frame": func(m, n string) []byte {
		return asm(nil).proto(4).raw("\x95\x03\x00\x00\x00\x00\x00\x00\x00").bytes("xxxxxxxx").named(m, n).call("x").stop()
	},
	"late protocol": func(m, n string) []byte { return asm(nil).raw("N0").proto(4).named(m, n).call("x").stop() },
	"array state": func(m, n string) []byte {
		return asm(nil).proto(2).global("numpy", "dtype").call("O8").raw("(K\x03X\x01\x00\x00\x00|NNN").global(m, n).call("x").raw("tb").stop()
	},
	"reconstructed": func(m, n string) []byte {
		return asm(nil).proto(2).global("numpy.core.multiarray", "_reconstruct").raw("(").global(m, n).raw("K\x00\x85C\x01btR").stop()
	},
	"as persistent id": func(m, n string) []byte {
		return asm(nil).proto(2).raw("(X\x07\x00\x00\x00storage").global(m, n).raw("X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ").stop()
	},
	"generator": func(m, n string) []byte {
		return asm(nil).proto(2).global("numpy.random._pickle", "__randomstate_ctor").text("x").global(m, n).tuple2().reduce().stop()
	},
	"loaded from memory": func(m, n string) []byte {
		return asm(nil).proto(3).global("torch.storage", "_load_from_bytes").bytes(string(asm(nil).proto(2).global(m, n).call("x").stop())).tuple1().reduce().stop()
	},
}

// hex writes each byte of a string in a format.
func hex(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(strings.NewReplacer("%02x", hexDigits(c, 16, 2), "%03o", hexDigits(c, 8, 3)).Replace(format))
	}
	return b.String()
}

func hexDigits(c byte, base, width int) string {
	s := strconv.FormatUint(uint64(c), base)
	return strings.Repeat("0", width-len(s)) + s
}
