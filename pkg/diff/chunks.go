package diff

import (
	"bytes"
	"sort"

	"github.com/modelreg/modelreg/pkg/chunk"
)

// A span is a run of a tensor's bytes.
type span struct{ begin, end int64 }

// compareChunks compares n bytes at offset a of one file with those at b of
// another, by the indexes of both. They differ for sure if a chunk does that has
// no bytes but these. What chunks do not tell, since they share bytes with
// something else or are cut elsewhere, is in doubt; nothing is where they differ.
func compareChunks(x, y *chunk.Index, a, b, n int64) (differs bool, doubt []span) {
	for at := int64(0); at < n; {
		cx, okX := chunkAt(x, a+at)
		cy, okY := chunkAt(y, b+at)
		if !okX || !okY {
			return false, addSpan(doubt, span{at, n})
		}
		end := min(cx.Offset+cx.Length-a, cy.Offset+cy.Length-b, n)
		aligned := cx.Offset-a == cy.Offset-b && cx.Length == cy.Length
		switch {
		case aligned && bytes.Equal(cx.Hash, cy.Hash):
		case aligned && cx.Offset >= a && cx.Offset+cx.Length <= a+n:
			return true, nil
		default:
			doubt = addSpan(doubt, span{at, end})
		}
		at = end
	}
	return false, doubt
}

// chunkAt finds the chunk with the byte at off.
func chunkAt(x *chunk.Index, off int64) (chunk.Chunk, bool) {
	if off < 0 || off >= x.Size() {
		return chunk.Chunk{}, false
	}
	i := sort.Search(x.Len(), func(i int) bool { return x.At(i).Offset > off }) - 1
	return x.At(i), true
}

// addSpan adds a span behind others, to the last one if they touch.
func addSpan(list []span, s span) []span {
	if n := len(list); n > 0 && list[n-1].end == s.begin {
		list[n-1].end = s.end
		return list
	}
	return append(list, s)
}

// contradict tells whether two indexes cannot both be true: where the chunks are
// the same from the beginning of the files, so must be what their SHA-256 went
// through. That takes no bytes, and catches an index that hides a change without
// more care.
func contradict(x, y *chunk.Index) bool {
	alike := int64(0) // bytes from the beginning
	for i := range min(x.Len(), y.Len()) {
		cx, cy := x.At(i), y.At(i)
		if cx.Length != cy.Length || !bytes.Equal(cx.Hash, cy.Hash) {
			break
		}
		alike = cx.Offset + cx.Length
	}
	if alike == x.Size() && alike == y.Size() {
		return x.Sum256() != y.Sum256()
	}
	for i := range min(x.Pieces(), y.Pieces()) - 1 {
		if end := int64(i+1) * chunk.PieceBytes; end <= alike && x.State(i) != y.State(i) {
			return true
		}
	}
	return false
}
