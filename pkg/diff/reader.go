package diff

import (
	"io"

	"github.com/modelreg/modelreg/pkg/chunk"
)

// A ReaderAtCloser is what [Local] makes a [Reader] of.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}

// Local is a file on this machine, with the index that was made of it here; nil
// without one. What does not parse is no index.
func Local(f ReaderAtCloser, index []byte) Reader {
	r := local{ReaderAtCloser: f}
	if x, err := chunk.Parse(index); err == nil {
		r.index = x
	}
	return r
}

type local struct {
	ReaderAtCloser
	index *chunk.Index
}

func (local) Verified() bool         { return true }
func (l local) Chunks() *chunk.Index { return l.index }
