package scan

// The opcodes of protocols 0 to 5, as pickletools names them.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opBinBytes       = 'B'
	opShortBinBytes  = 'C'
	opFloat          = 'F'
	opBinFloat       = 'G'
	opInt            = 'I'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opLong           = 'L'
	opBinInt2        = 'M'
	opNone           = 'N'
	opPersID         = 'P'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opString         = 'S'
	opBinString      = 'T'
	opShortBinString = 'U'
	opUnicode        = 'V'
	opBinUnicode     = 'X'
	opEmptyList      = ']'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opDict           = 'd'
	opAppends        = 'e'
	opGet            = 'g'
	opBinGet         = 'h'
	opInst           = 'i'
	opLongBinGet     = 'j'
	opList           = 'l'
	opObj            = 'o'
	opPut            = 'p'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opSetItems       = 'u'
	opEmptyDict      = '}'
	opEmptyTuple     = ')'
	opProto          = 0x80
	opNewObj         = 0x81
	opExt1           = 0x82
	opExt2           = 0x83
	opExt4           = 0x84
	opTuple1         = 0x85
	opTuple2         = 0x86
	opTuple3         = 0x87
	opNewTrue        = 0x88
	opNewFalse       = 0x89
	opLong1          = 0x8a
	opLong4          = 0x8b
	opShortBinUnic   = 0x8c
	opBinUnicode8    = 0x8d
	opBinBytes8      = 0x8e
	opEmptySet       = 0x8f
	opAddItems       = 0x90
	opFrozenSet      = 0x91
	opNewObjEx       = 0x92
	opStackGlobal    = 0x93
	opMemoize        = 0x94
	opFrame          = 0x95
	opByteArray8     = 0x96
	opNextBuffer     = 0x97
	opReadOnly       = 0x98
)

// How the argument of an opcode is written.
type argument struct {
	known bool
	fixed uint8 // bytes of the argument
	lines uint8 // lines of text
	count uint8 // bytes of the length that precedes the argument
}

// arguments has all 68 opcodes.
var arguments = [256]argument{
	opMark: {known: true}, opStop: {known: true}, opPop: {known: true}, opPopMark: {known: true}, opDup: {known: true},
	opNone: {known: true}, opBinPersID: {known: true}, opReduce: {known: true}, opEmptyList: {known: true},
	opAppend: {known: true}, opBuild: {known: true}, opDict: {known: true}, opAppends: {known: true},
	opList: {known: true}, opObj: {known: true}, opSetItem: {known: true}, opTuple: {known: true},
	opSetItems: {known: true}, opEmptyDict: {known: true}, opEmptyTuple: {known: true}, opNewObj: {known: true},
	opTuple1: {known: true}, opTuple2: {known: true}, opTuple3: {known: true}, opNewTrue: {known: true},
	opNewFalse: {known: true}, opEmptySet: {known: true}, opAddItems: {known: true}, opFrozenSet: {known: true},
	opNewObjEx: {known: true}, opStackGlobal: {known: true}, opMemoize: {known: true}, opNextBuffer: {known: true},
	opReadOnly: {known: true},

	opFloat: {known: true, lines: 1}, opInt: {known: true, lines: 1}, opLong: {known: true, lines: 1},
	opPersID: {known: true, lines: 1}, opString: {known: true, lines: 1}, opUnicode: {known: true, lines: 1},
	opGet: {known: true, lines: 1}, opPut: {known: true, lines: 1},
	opGlobal: {known: true, lines: 2}, opInst: {known: true, lines: 2},

	opBinInt1: {known: true, fixed: 1}, opBinGet: {known: true, fixed: 1}, opBinPut: {known: true, fixed: 1},
	opProto: {known: true, fixed: 1}, opExt1: {known: true, fixed: 1},
	opBinInt2: {known: true, fixed: 2}, opExt2: {known: true, fixed: 2},
	opBinInt: {known: true, fixed: 4}, opLongBinGet: {known: true, fixed: 4}, opLongBinPut: {known: true, fixed: 4},
	opExt4:     {known: true, fixed: 4},
	opBinFloat: {known: true, fixed: 8}, opFrame: {known: true, fixed: 8},

	opShortBinBytes: {known: true, count: 1}, opShortBinString: {known: true, count: 1}, opLong1: {known: true, count: 1},
	opShortBinUnic: {known: true, count: 1},
	opBinBytes:     {known: true, count: 4}, opBinString: {known: true, count: 4}, opBinUnicode: {known: true, count: 4},
	opLong4:       {known: true, count: 4},
	opBinUnicode8: {known: true, count: 8}, opBinBytes8: {known: true, count: 8}, opByteArray8: {known: true, count: 8},
}
