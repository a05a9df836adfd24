package chunk_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/modelreg/modelreg/pkg/chunk"
)

func TestPiecesAreVerified(t *testing.T) {
	for name, size := range map[string]int{
		"empty": 0, "one byte": 1, "one piece": chunk.PieceBytes, "a byte more": chunk.PieceBytes + 1,
		"many": 3*chunk.PieceBytes - 7, "whole pieces": 4 * chunk.PieceBytes,
	} {
		t.Run(name, func(t *testing.T) {
			b := random(20, size)
			x := index(t, b, []int64{100})
			if got, want := x.Pieces(), (size+chunk.PieceBytes-1)/chunk.PieceBytes; got != want {
				t.Fatalf("%d pieces, want %d", got, want)
			}
			for i := range x.Pieces() {
				piece := b[i*chunk.PieceBytes : min(size, (i+1)*chunk.PieceBytes)]
				if !x.Verify(i, piece) {
					t.Errorf("piece %d is refused", i)
				}
				for _, at := range []int{0, len(piece) / 2, len(piece) - 1} {
					wrong := bytes.Clone(piece)
					wrong[at] ^= 1
					if x.Verify(i, wrong) {
						t.Errorf("piece %d with another byte %d passes", i, at)
					}
				}
				if x.Verify(i, piece[1:]) || x.Verify(i, append(bytes.Clone(piece), 0)) || x.Verify(i+1, piece) || x.Verify(i-1, piece) {
					t.Errorf("piece %d passes where it does not belong", i)
				}
			}
		})
	}
}

// An index of another file verifies none of its pieces but those before the
// first difference: a state is that of all the bytes so far.
func TestPiecesAreOfOneFile(t *testing.T) {
	a := random(21, 3*chunk.PieceBytes)
	b := bytes.Clone(a)
	b[chunk.PieceBytes] ^= 1
	x := index(t, a, nil)
	for i, want := range []bool{true, false, true} {
		if got := x.Verify(i, b[i*chunk.PieceBytes:(i+1)*chunk.PieceBytes]); got != want {
			t.Errorf("piece %d: %v, want %v", i, got, want)
		}
	}
}

func TestBuilderKnowsTheDigest(t *testing.T) {
	for _, size := range []int{0, 1, chunk.PieceBytes, 2*chunk.PieceBytes + 3} {
		b := random(22, size)
		builder := chunk.NewBuilder(int64(size), nil)
		for at := 0; at < size; at += 300_000 {
			if _, err := builder.Write(b[at:min(size, at+300_000)]); err != nil {
				t.Fatal(err)
			}
		}
		if builder.Sum256() != sha256.Sum256(b) {
			t.Errorf("wrong digest of %d bytes", size)
		}
	}
}
