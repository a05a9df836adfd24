// Package coding writes files of weights in fewer bytes, and back without a bit
// of difference.
//
// Trained weights look like noise to general compressors, but their exponents
// do not: few of the 256 occur. [Encode] puts the exponents of floating-point
// numbers together and codes them with Huffman codes; sign and mantissa are
// stored as they are. BF16 takes two thirds of its size then, FP32 and FP8 five
// sixths. Of a file that was trained on from another, it codes the differences,
// which takes a tenth to a half.
//
// # Format
//
// All numbers are little-endian. A stream begins with the eight bytes
// "MRCODED1", of which the last is the version, and the size of the decoded
// file in eight bytes. Frames follow until so many bytes are told; nothing
// follows the last. Each is independent of the others:
//
//	1 byte   type of the numbers, 128 added if they are differences
//	3 bytes  zero
//	4 bytes  decoded length, at most 1 MiB and a multiple of the type's width
//	4 bytes  length of what follows this head
//	8 bytes  offset in the base file, zero if there is none
//	         the planes
//
// Types are 0 (bytes), 1 (one-byte floats), 2 (FP16), 3 (BF16) and 4 (FP32).
// The numbers of a frame are in planes: the most significant bytes of all
// numbers first. BF16 and FP32 are turned left by one bit before, so that the
// first plane is the exponent. Differences are not turned; they are those of
// the numbers' places in their order, folded (0, -1, 1, -2 … are 0, 1, 2, 3 …).
// Each plane is in blocks of 128 KiB, the last being what is left:
//
//	1 byte   0 raw, 1 one byte repeated, 2 huff0 with table, 3 zstd
//	3 bytes  length of what follows
//
// # Trust
//
// A stream may come from anybody: lengths are checked before memory is used,
// and decoding takes a few MiB for each worker whatever a stream says. A stream
// carries no checksum. Whoever decodes one compares the digest of the result
// with one that is trusted, and has lost nothing but time if it differs.
package coding

import (
	"errors"
	"fmt"
	"runtime"
)

// ErrMalformed is wrapped by errors that say a stream is none, or not one for
// this base.
var ErrMalformed = errors.New("malformed coding")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

const (
	magic      = "MRCODED1"
	streamHead = 16
	frameHead  = 20

	// frameBytes is the most that a frame decodes to.
	frameBytes = 1 << 20
	// maxCoded is the most that a frame takes: raw, in blocks of which each
	// plane may end with a short one.
	maxCoded = frameBytes + (frameBytes/blockBytes+4)*blockHead

	// difference marks the type of a frame of differences.
	difference = 0x80

	// maxWorkers is where the writer, who is one, becomes what takes longest.
	maxWorkers = 8
)

// A Type is what numbers are, as far as it matters for coding them.
type Type byte

// The types, with their numbers in the format.
const (
	Bytes    Type = iota // of anything else
	Float8               // of any kind
	Float16              // IEEE 754
	BFloat16             // the upper half of a Float32
	Float32              // IEEE 754
)

var widths = [...]int{1, 1, 2, 2, 4}

// width is the size of a number in bytes.
func (t Type) width() int { return widths[t] }

// turned tells whether the exponent is put first by turning.
func (t Type) turned() bool { return t == BFloat16 || t == Float32 }

// TypeOf returns the type for a name of a data type as safetensors and GGUF
// have them, Bytes for names that it does not know.
func TypeOf(dtype string) Type {
	switch dtype {
	case "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return Float8
	case "F16":
		return Float16
	case "BF16":
		return BFloat16
	case "F32":
		return Float32
	}
	return Bytes
}

// workersOf returns how many frames are coded at once.
func workersOf(n int) int {
	if n > 0 {
		return n
	}
	return min(runtime.GOMAXPROCS(0), maxWorkers)
}
