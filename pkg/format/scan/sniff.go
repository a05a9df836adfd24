package scan

import (
	"bytes"
	"encoding/binary"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A kind is a format, as far as scanning makes a difference.
type kind string

// The kinds.
const (
	kindEmpty       kind = "empty file"
	kindText        kind = "text" // UTF-8 without control characters, JSON and the like too
	kindUnknown     kind = "data" // none of the others
	kindPickle      kind = "pickle"
	kindZip         kind = "zip archive"
	kindTar         kind = "tar archive"
	kindGzip        kind = "gzip"
	kindBzip2       kind = "bzip2"
	kindXZ          kind = "xz"
	kindLZMA        kind = "lzma"
	kindZlib        kind = "zlib"
	kindLZ4         kind = "lz4"
	kindZstd        kind = "zstd"
	kindNumPy       kind = "NumPy array"
	kindSafetensors kind = "safetensors"
	kindGGUF        kind = "GGUF"
	kindHDF5        kind = "HDF5"
	kind7z          kind = "7z archive"
	kindRar         kind = "rar archive"
	kindOther       kind = "archive" // of other kinds that are not opened
	kindELF         kind = "ELF program"
	kindPE          kind = "PE program"
	kindMachO       kind = "Mach-O program"
	kindScript      kind = "script"
)

// magics are the beginnings by which formats tell themselves.
var magics = []struct {
	magic string
	kind  kind
}{
	{"PK\x03\x04", kindZip},
	{"PK\x05\x06", kindZip}, // an empty one
	{"PK\x07\x08", kindZip}, // one of several parts
	{"\x1f\x8b", kindGzip},
	{"BZh", kindBzip2},
	{"\xfd7zXZ\x00", kindXZ},
	{"\x5d\x00\x00", kindLZMA},
	{"\x04\x22\x4d\x18", kindLZ4},
	{"\x28\xb5\x2f\xfd", kindZstd},
	{"\x93NUMPY", kindNumPy},
	{"GGUF", kindGGUF},
	{"\x89HDF\r\n\x1a\n", kindHDF5},
	{"7z\xbc\xaf\x27\x1c", kind7z},
	{"Rar!\x1a\x07", kindRar},
	{"ZF0x", kindOther}, // what joblib wrote before 0.10
	{"\x1f\x9d", kindOther},
	{"\x1f\xa0", kindOther},
	{"LZIP", kindOther},
	{"MSCF\x00\x00\x00\x00", kindOther},
	{"!<arch>\n", kindOther},
	{"\x7fELF", kindELF},
	{"\xfe\xed\xfa\xce", kindMachO},
	{"\xfe\xed\xfa\xcf", kindMachO},
	{"\xce\xfa\xed\xfe", kindMachO},
	{"\xcf\xfa\xed\xfe", kindMachO},
	{"\xca\xfe\xba\xbe", kindMachO}, // and Java's classes
}

// certain are the kinds that tell themselves by so many bytes that numbers do
// not by chance.
var certain = []kind{kindZip, kindTar, kindNumPy, kindHDF5, kindXZ, kindLZ4, kindZstd, kind7z, kindRar, kindELF, kindMachO, kindGGUF}

// sniff returns what the first bytes of an input say that it is. A pickle
// without a protocol is text or data until it has been followed.
func sniff(head []byte) kind {
	if len(head) == 0 {
		return kindEmpty
	}
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind
		}
	}
	switch {
	case isTar(head):
		return kindTar
	case isSafetensors(head): // the length of a header may look like a protocol
		return kindSafetensors
	case head[0] == 0x80 && len(head) > 1 && head[1] <= maxProtocol:
		return kindPickle
	case isLZMA(head):
		return kindLZMA
	case isZlib(head):
		return kindZlib
	case isPE(head):
		return kindPE
	case bytes.HasPrefix(head, []byte("#!/")) || bytes.HasPrefix(head, []byte("#! /")):
		return kindScript
	case isText(head):
		return kindText
	}
	return kindUnknown
}

// isTar tells a tar header by its magic, or by its checksum, which the oldest
// ones have too. Python takes sums of signed bytes, and numbers in many forms.
func isTar(head []byte) bool {
	if len(head) < 512 {
		return false
	}
	if string(head[257:262]) == "ustar" {
		return true
	}
	want, ok := tarNumber(head[148:156])
	var sum, signed int64
	for i, c := range head[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
		signed += int64(int8(c))
	}
	return ok && (sum == want || signed == want) && sum > 8*' '
}

// tarNumber reads a number of a header: octal digits as Python's int has them,
// or big-endian behind a marking byte.
func tarNumber(b []byte) (int64, bool) {
	if b[0] == 0x80 {
		var n int64
		for _, c := range b[1:] {
			n = n<<8 | int64(c)
		}
		return n, true
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	text := strings.ReplaceAll(strings.TrimSpace(string(b)), "_", "")
	text = strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(strings.TrimPrefix(text, "+")), "0o"), "+")
	n, err := strconv.ParseInt(text, 8, 64)
	return n, err == nil
}

// isLZMA tells the header of LZMA alone, which has no magic: properties as all
// tools write them, the size of a dictionary, the size of what is packed, and a
// zero. A dictionary of a size that tools write is enough.
func isLZMA(head []byte) bool {
	const maxSize = 1 << 38 // what xz takes for one
	if len(head) < 14 || head[0] != 0x5d || head[1] != 0 || head[13] != 0 {
		return false
	}
	dictionary, size := le32(head[1:]), binary.LittleEndian.Uint64(head[5:])
	rest := dictionary & (dictionary - 1) // without the lowest bit
	return rest == 0 || rest == (dictionary&-dictionary)<<1 || size < maxSize || size == math.MaxUint64
}

// isZlib tells the header of RFC 1950.
func isZlib(head []byte) bool {
	return len(head) > 2 && head[0] == 0x78 && head[1]&0x20 == 0 && binary.BigEndian.Uint16(head)%31 == 0
}

func isPE(head []byte) bool {
	if len(head) < 64 || string(head[:2]) != "MZ" {
		return false
	}
	at := int64(binary.LittleEndian.Uint32(head[60:]))
	if at+4 > int64(len(head)) {
		return at < 1<<20 && !isText(head)
	}
	return string(head[at:][:4]) == "PE\x00\x00"
}

func isSafetensors(head []byte) bool {
	return len(head) > 9 && binary.LittleEndian.Uint64(head) < 1<<32 && head[8] == '{'
}

// isText tells UTF-8 without control characters. The last character may be cut.
func isText(head []byte) bool {
	if bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\v\f\r\x1b", r) }) {
		return false
	}
	for cut := range min(utf8.UTFMax, len(head)) {
		if utf8.Valid(head[:len(head)-cut]) {
			return true
		}
	}
	return false
}

// claims are what names say. A name that says nothing here is not held to
// anything.
var claims = map[string]kind{
	".pkl": kindPickle, ".pickle": kindPickle, ".p": kindPickle, ".pk": kindPickle, ".dill": kindPickle,
	".joblib": kindPickle, ".pt": kindPickle, ".pth": kindPickle, ".ckpt": kindPickle, ".pt2": kindZip,
	".npz": kindZip, ".keras": kindZip, ".skops": kindZip, ".zip": kindZip, ".mar": kindZip,
	".npy": kindNumPy, ".safetensors": kindSafetensors, ".gguf": kindGGUF,
	".h5": kindHDF5, ".hdf5": kindHDF5, ".tar": kindTar, ".nemo": kindTar,
	".gz": kindGzip, ".tgz": kindGzip, ".bz2": kindBzip2, ".xz": kindXZ, ".lzma": kindLZMA, ".lz4": kindLZ4, ".zst": kindZstd,
}

// pickled are names of PyTorch's pickles with an extension that says nothing.
var pickled = []string{"*pytorch_model*.bin", "*adapter_model*.bin", "*training_args.bin", "*optimizer.bin", "*scheduler.bin", "*random_states_*.pkl"}

// claim returns the format that a name in lower case says, or "".
func claim(base string) kind {
	if k, ok := claims[path.Ext(base)]; ok {
		return k
	}
	if slices.ContainsFunc(pickled, func(p string) bool { ok, _ := path.Match(p, base); return ok }) {
		return kindPickle
	}
	return ""
}

// carriers are the formats in which the loaders of what a name claims may find
// it. Others than the claimed are for what is packed once more.
var carriers = map[kind][]kind{
	kindPickle: {kindZip, kindTar, kindGzip, kindBzip2, kindXZ, kindLZMA, kindZlib, kindLZ4, kindZstd},
	kindTar:    {kindGzip, kindZstd},
}
