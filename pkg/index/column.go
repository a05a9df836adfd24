package index

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// blockSize is how many versions are in one block of a column. An update writes
// the last block of each column.
const blockSize = 1 << 14

// Columns hold one number for each version. Those before colUpdated are the
// facets, in the order of FacetNames: the number stands for a set of values.
const (
	colUpdated = iota + 9 // seconds since 1970
	colParams
	colSize
	colMemory
	colContext
	colNameHigh // the first 8 bytes of the model's name
	colNameLow  // the next 8
	colIdentity // a hash of repository and digest
	colWords    // words in the name
	columns
)

// width is how many bytes a number of the column takes.
func width(col int) int {
	switch {
	case col < colUpdated:
		return 2
	case col == colUpdated || col == colContext:
		return 4
	case col == colWords:
		return 1
	}
	return 8
}

// valueAt returns number i of a column's block.
func valueAt(block []byte, width, i int) uint64 {
	b := block[i*width:]
	switch width {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

func appendValue(dst []byte, width int, v uint64) []byte {
	switch width {
	case 1:
		return append(dst, byte(v))
	case 2:
		return binary.LittleEndian.AppendUint16(dst, uint16(v))
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(v))
	}
	return binary.LittleEndian.AppendUint64(dst, v)
}

// identity is the number under which a version is known. Nobody can make one that
// has the number of somebody else's.
func identity(k Key) uint64 {
	sum := sha256.Sum256([]byte(k.Repository + "\x00" + k.Digest))
	return binary.BigEndian.Uint64(sum[:])
}

// numbersOf returns the columns of a record from colUpdated on.
func numbersOf(r *Record) [columns]uint64 {
	var name [16]byte
	own := strings.ToLower(lastPart(r.Repository))
	copy(name[:], own)
	updated := uint64(0)
	if !r.Updated.IsZero() {
		updated = uint64(min(max(r.Updated.Unix(), 0), 1<<32-1))
	}
	return [columns]uint64{
		colUpdated:  updated,
		colParams:   positive(r.Parameters),
		colSize:     positive(r.Size),
		colMemory:   positive(r.Memory),
		colContext:  min(positive(r.Context), 1<<32-1),
		colNameHigh: binary.BigEndian.Uint64(name[:8]),
		colNameLow:  binary.BigEndian.Uint64(name[8:]),
		colIdentity: identity(r.Key()),
		colWords:    uint64(min(max(len(tokens(own)), 1), 255)),
	}
}

func positive(n int64) uint64 { return uint64(max(n, 0)) }

// facetSets returns the values of a record for each facet, in the order of
// FacetNames.
func facetSets(r *Record) [colUpdated][]string {
	signed := "unsigned"
	switch {
	case r.Verified:
		signed = "verified"
	case r.Signed:
		signed = "signed"
	}
	status := r.Status
	if status == "" {
		status = Active
	}
	return [colUpdated][]string{
		{r.Task},
		{r.Library},
		r.Licenses,
		r.Languages,
		r.Formats,
		r.Quantizations,
		{paramsBucket(r.Parameters)},
		{signed},
		{status},
	}
}

// paramsBucket returns the range of sizes that a model is in, as a value of the
// key "params".
func paramsBucket(n int64) string {
	const b = 1_000_000_000
	switch {
	case n <= 0:
		return ""
	case n < 1*b:
		return "<1b"
	case n < 4*b:
		return "1b..4b"
	case n < 10*b:
		return "4b..10b"
	case n < 20*b:
		return "10b..20b"
	case n < 50*b:
		return "20b..50b"
	case n < 100*b:
		return "50b..100b"
	}
	return ">=100b"
}
