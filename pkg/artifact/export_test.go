package artifact

import (
	"bytes"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// ParamSize is for tests of what cannot be reached with small files.
var ParamSize = paramSize

// ParseIndex and ParseRecord are for fuzzing.
var (
	ParseIndex  = parseIndex
	ParseRecord = parseRecord
)

// ReadArchive reads an archive to its end without a disk. It returns the names
// in it and how many bytes came out.
func ReadArchive(data []byte, enc mediatypes.Encoding) (names []string, n int64, err error) {
	budget := maxEntries
	x, err := (&Artifact{}).openArchive(bytes.NewReader(data), ocispec.Descriptor{Size: int64(len(data))}, enc, &budget)
	if err != nil {
		return nil, 0, err
	}
	defer x.Close()
	for {
		m, err := x.next()
		if errors.Is(err, io.EOF) {
			return names, x.body.read, nil
		}
		if err != nil {
			return names, x.body.read, err
		}
		names = append(names, m.path)
		if _, err := io.Copy(io.Discard, x); err != nil {
			return names, x.body.read, err
		}
	}
}
