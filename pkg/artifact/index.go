package artifact

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The index of tar layers is itself a layer, so that it is bound to the
// manifest's digest and kept by every registry and tool. Readers that do not
// know it see one more document.
const (
	indexPath    = controlPrefix + "/index.json"
	indexVersion = "v1" // value of AnnotationTarIndex

	maxIndexEntries = maxFiles
	maxIndexBytes   = 32 << 20
)

// A tarIndex says where the files of tar layers are.
type tarIndex struct {
	Layers []indexedLayer `json:"layers"`
}

type indexedLayer struct {
	Digest digest.Digest `json:"digest"` // of the layer
	Files  []indexedFile `json:"files"`  // in the order of their offsets
}

type indexedFile struct {
	Path   string        `json:"path"`
	Offset int64         `json:"offset"` // of the file's bytes in the layer
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"` // of the file's bytes
}

// marshal encodes the index: the same one always to the same bytes.
func (x *tarIndex) marshal() ([]byte, error) {
	entries := 0
	for _, l := range x.Layers {
		entries += len(l.Files)
	}
	if entries > maxIndexEntries {
		return nil, fmt.Errorf("%w: more than %d files in archives", ErrUnsafe, maxIndexEntries)
	}
	raw, err := json.Marshal(x, json.Deterministic(true), jsontext.EscapeForHTML(false))
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	if len(raw) > maxIndexBytes {
		return nil, fmt.Errorf("%w: index of archives of %d bytes, more than %d", ErrUnsafe, len(raw), maxIndexBytes)
	}
	return raw, nil
}

// parseIndex decodes an index and checks it against the tar layers of the
// manifest: it must list exactly those, and only places inside them.
func parseIndex(raw []byte, layers map[digest.Digest]ocispec.Descriptor) (*tarIndex, error) {
	if err := checkJSON(raw, maxJSONDepth); err != nil {
		return nil, fmt.Errorf("index of archives: %w", err)
	}
	var x tarIndex
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("%w: index of archives: %w", ErrUnsafe, err)
	}
	entries := 0
	seen := make(map[digest.Digest]bool)
	for _, l := range x.Layers {
		desc, ok := layers[l.Digest]
		if !ok || seen[l.Digest] {
			return nil, fmt.Errorf("%w: index of archives lists %.80q, which is no archive of this artifact or listed twice", ErrUnsafe, l.Digest)
		}
		seen[l.Digest] = true
		if entries += len(l.Files); entries > maxIndexEntries {
			return nil, fmt.Errorf("%w: index of archives lists more than %d files", ErrUnsafe, maxIndexEntries)
		}
		if err := l.check(desc.Size); err != nil {
			return nil, fmt.Errorf("%w: index of archive %s: %w", ErrUnsafe, l.Digest, err)
		}
	}
	return &x, nil
}

// check looks at the places of the files in a layer of this size. Whether the
// files are there is seen by their digests when they are read.
func (l *indexedLayer) check(size int64) error {
	if len(l.Files) == 0 {
		return errors.New("no files")
	}
	end := int64(0)
	for _, f := range l.Files {
		if f.Digest.Validate() != nil || f.Digest.Algorithm() != digest.Canonical {
			return fmt.Errorf("%+q has no sha256 digest", f.Path)
		}
		// A header is in front of each file, and the bytes of none overlap.
		if f.Size < 0 || f.Size > size || f.Offset < end+tarBlock || f.Offset%tarBlock != 0 || f.Offset > size-f.Size {
			return fmt.Errorf("%+q is not at %d with %d bytes", f.Path, f.Offset, f.Size)
		}
		end = f.Offset + f.Size
	}
	return nil
}
