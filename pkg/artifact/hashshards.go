package artifact

import (
	"hash"

	"github.com/opencontainers/go-digest"
)

// A shardHash hashes the parts of a file, each of size bytes but the last, and
// what these hash to.
type shardHash struct {
	size, left int64 // left of the part
	part, all  hash.Hash
}

func newShardHash(size int64) *shardHash {
	return &shardHash{size: size, left: size, part: digest.Canonical.Hash(), all: digest.Canonical.Hash()}
}

// Write takes the next bytes of the file.
func (h *shardHash) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(int64(len(rest)), h.left)
		h.part.Write(rest[:n])
		rest, h.left = rest[n:], h.left-n
		if h.left == 0 {
			h.next()
		}
	}
	return len(p), nil
}

func (h *shardHash) next() {
	h.all.Write(h.part.Sum(nil))
	h.part.Reset()
	h.left = h.size
}

// sum is the digest of the parts' digests, when there is no more.
func (h *shardHash) sum() digest.Digest {
	if h.left < h.size {
		h.next()
	}
	return digest.NewDigest(digest.Canonical, h.all)
}
