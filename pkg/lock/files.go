package lock

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// A ModelFile is what a lock file knows of one file of a version.
type ModelFile struct {
	Path   string // slash-separated, below the model's root
	Size   int64  // bytes
	Digest digest.Digest
}

// FilesDigest is the digest of one line for each file,
//
//	DIGEST SPACE SIZE SPACE PATH LF
//
// in the order of the paths' bytes, then of the digests. It says the same of a
// version in whatever layers its files lie.
func FilesDigest(files []ModelFile) digest.Digest {
	sorted := slices.SortedFunc(slices.Values(files), func(a, b ModelFile) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Digest, b.Digest))
	})
	d := digest.SHA256.Digester()
	for _, f := range sorted {
		_, _ = fmt.Fprintf(d.Hash(), "%s %d %s\n", f.Digest, f.Size, f.Path) // a hash takes everything
	}
	return d.Digest()
}
