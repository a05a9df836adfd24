package gguf

import (
	"fmt"
	"math/bits"
)

// A Type is the number of a GGML tensor type.
type Type uint32

// layout is how a type lies in memory: elements come in blocks.
type layout struct {
	name         string
	block, bytes uint64
}

// layouts are the types of ggml.h, with those that it has removed since files
// were made of them. The numbers 4 and 5 went before there was GGUF.
var layouts = map[Type]layout{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 30: {"BF16", 1, 2}, 28: {"F64", 1, 8},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 40},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 29: {"IQ1_M", 256, 56},
	31: {"Q4_0_4_4", 32, 18}, 32: {"Q4_0_4_8", 32, 18}, 33: {"Q4_0_8_8", 32, 18},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
	36: {"IQ4_NL_4_4", 32, 18}, 37: {"IQ4_NL_4_8", 32, 18}, 38: {"IQ4_NL_8_8", 32, 18},
	39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18},
}

// String returns the name of ggml.h without its prefix, or the number of a type
// that is not known.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Known tells whether the layout of the type is known.
func (t Type) Known() bool {
	_, ok := layouts[t]
	return ok
}

// size returns the bytes of a tensor, -1 if the type is not known. It reports
// false if there can be no such tensor.
func (t Type) size(dims []int64) (int64, bool) {
	n := uint64(1)
	for _, d := range dims {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return 0, false
		}
		n = lo
	}
	l, ok := layouts[t]
	if !ok {
		return -1, true
	}
	row := uint64(1)
	if len(dims) > 0 {
		row = uint64(dims[0])
	}
	// Blocks do not run over the end of a row.
	if row%l.block != 0 {
		return 0, false
	}
	hi, size := bits.Mul64(n/l.block, l.bytes)
	return int64(size), hi == 0 && size <= 1<<62
}

// fileTypes are the values of general.file_type (llama.h, llama_ftype), those
// removed included.
var fileTypes = map[int64]string{
	0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 4: "Q4_1_SOME_F16", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
	10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M",
	16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S",
	22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
	28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
	33: "Q4_0_4_4", 34: "Q4_0_4_8", 35: "Q4_0_8_8", 36: "TQ1_0", 37: "TQ2_0",
	38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}

// guessed is the bit that llama.cpp sets in a file type it inferred itself.
const guessed = 1024

// FileType returns the name of general.file_type, such as "Q4_K_M", or "" if
// the file does not say or says what is not known.
func (h *Header) FileType() string {
	n, ok := h.Int("general.file_type")
	if !ok {
		return ""
	}
	return fileTypes[n&^guessed]
}
