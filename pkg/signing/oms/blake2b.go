package oms

import (
	"hash"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/blake2b"
)

// algorithmBLAKE2b is of digests by BLAKE2b, of 64 bytes, which only statements of
// other writers have.
const algorithmBLAKE2b digest.Algorithm = hashBLAKE2b

// NewHash returns a new hash of the kind that the statement's digests are by if it
// is [Statement.BLAKE2b], and nil for SHA-256.
func (st *Statement) NewHash() hash.Hash {
	if !st.BLAKE2b {
		return nil
	}
	h, err := blake2b.New512(nil)
	if err != nil { // which only a key can cause
		return nil
	}
	return h
}

// BLAKE2b is the digest by which [Statement.Compare] knows a file of a statement that
// is [Statement.BLAKE2b], when sum is what its [Statement.NewHash] makes of the bytes.
func BLAKE2b(sum []byte) digest.Digest { return digest.NewDigestFromBytes(algorithmBLAKE2b, sum) }

// isBLAKE2b tells whether a digest is one: the package digest does not know them.
func isBLAKE2b(d digest.Digest) bool {
	text, ok := strings.CutPrefix(string(d), hashBLAKE2b+":")
	return ok && len(text) == 2*blake2b.Size && strings.Trim(text, "0123456789abcdef") == ""
}
