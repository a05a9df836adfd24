package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"hash"
)

// PieceBytes is the length of the pieces, but for the last, that a file is
// verified in. A multiple of the block of SHA-256, whose state is then all there
// is of what came before.
const PieceBytes = 512 << 10

// Pieces returns the number of pieces.
func (x *Index) Pieces() int { return int(pieces(x.size)) }

// Memory returns how many bytes of memory the index takes.
func (x *Index) Memory() int64 {
	return int64(len(x.hashes)+len(x.states)) + 4*int64(len(x.starts.rest)) + 8*int64(len(x.starts.bases))
}

// pieces returns the number of pieces of a file of size bytes.
func pieces(size int64) int64 { return (size + PieceBytes - 1) / PieceBytes }

// Verify tells whether data is piece i of the file, counted from 0: the bytes
// from i*[PieceBytes] on.
func (x *Index) Verify(i int, data []byte) bool {
	begin := int64(i) * PieceBytes
	if i < 0 || begin >= x.size || int64(len(data)) != min(PieceBytes, x.size-begin) {
		return false
	}
	h := sha256.New()
	if i > 0 && !resume(h, x.state(i-1), begin) {
		return false
	}
	h.Write(data)
	if i == x.Pieces()-1 {
		return bytes.Equal(h.Sum(nil), x.state(i))
	}
	got, ok := state(h)
	return ok && bytes.Equal(got, x.state(i))
}

// State returns what the index says is the state of the file's SHA-256 at the end
// of piece i, counted from 0; of the last piece, the digest of the file.
func (x *Index) State(i int) [sha256.Size]byte { return [sha256.Size]byte(x.state(i)) }

func (x *Index) state(i int) []byte { return x.states[i*sha256.Size : (i+1)*sha256.Size] }

// A pieceHash is the SHA-256 of a file, and its states at the ends of pieces.
type pieceHash struct {
	hash   hash.Hash
	n      int64
	states []byte
	failed bool // the hash does not tell its state
}

func newPieceHash() pieceHash { return pieceHash{hash: sha256.New()} }

func (p *pieceHash) write(b []byte) {
	for len(b) > 0 {
		k := min(int64(len(b)), PieceBytes-p.n%PieceBytes)
		p.hash.Write(b[:k])
		p.n += k
		if p.n%PieceBytes == 0 {
			s, ok := state(p.hash)
			p.states = append(p.states, s...)
			p.failed = p.failed || !ok
		}
		b = b[k:]
	}
}

func (p *pieceHash) sum() [sha256.Size]byte { return [sha256.Size]byte(p.hash.Sum(nil)) }

// finish returns what the index holds of a file of size bytes.
func (p *pieceHash) finish(size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	if p.failed {
		return nil, errors.New("index chunks: this build's SHA-256 does not tell its state")
	}
	inner := (size - 1) / PieceBytes * sha256.Size
	return p.hash.Sum(p.states[:inner:inner]), nil
}

// How crypto/sha256 marshals a hash: the magic, H0 to H7, the block that is not
// full yet, and how many bytes there were. Hashes that are written down have had
// this form since Go 1.10, as it may not change.
const (
	marshalMagic = "sha\x03"
	marshalBytes = len(marshalMagic) + sha256.Size + sha256.BlockSize + 8
)

// state returns H0 to H7 of a SHA-256 that has been given whole blocks.
func state(h hash.Hash) ([]byte, bool) {
	a, ok := h.(encoding.BinaryAppender)
	if !ok {
		return nil, false
	}
	raw, err := a.AppendBinary(make([]byte, 0, marshalBytes))
	if err != nil || len(raw) != marshalBytes || string(raw[:len(marshalMagic)]) != marshalMagic {
		return nil, false
	}
	return raw[len(marshalMagic):][:sha256.Size], true
}

// resume gives a SHA-256 the state that it has after n bytes, a multiple of its
// block.
func resume(h hash.Hash, state []byte, n int64) bool {
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return false
	}
	raw := make([]byte, 0, marshalBytes)
	raw = append(raw, marshalMagic...)
	raw = append(raw, state...)
	raw = append(raw, make([]byte, sha256.BlockSize)...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(n))
	return u.UnmarshalBinary(raw) == nil
}
