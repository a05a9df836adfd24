package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// Origin is what [Unpack] has kept in a directory about what it unpacked there.
// Whoever can write to the directory may have changed it.
type Origin struct {
	// Reference is what UnpackOptions said.
	Reference string

	// Descriptor is that of Manifest, computed from its bytes.
	Descriptor ocispec.Descriptor
	Manifest   []byte

	// Selection is of the files that were asked for.
	Selection Selection

	// Evidence is what UnpackOptions said, nil if it said nothing.
	Evidence []byte
}

// ReadOrigin reads what Unpack has kept in a directory. Without anything there
// the error wraps fs.ErrNotExist; what is there and is not of its form wraps
// [ErrUnsafe].
func ReadOrigin(dir string) (*Origin, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	manifest, err := readControl(root, ManifestFile, mediatypes.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	r, err := readRecord(root, RecordFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	o := &Origin{Reference: r.Reference, Manifest: manifest, Selection: r.selection()}
	o.Descriptor = ocispec.Descriptor{MediaType: r.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	if a := r.Digest.Algorithm(); a == digest.SHA512 {
		o.Descriptor.Digest = a.FromBytes(manifest)
	}
	o.Evidence, err = readControl(root, EvidenceFile, MaxEvidenceBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return o, nil
}

func readControl(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%w: %s is larger than %d bytes", ErrUnsafe, name, limit)
	}
	return raw, err
}

// evidenceKept tells whether the target has the evidence that is to be in it.
func (u *unpacker) evidenceKept() bool {
	if u.opts.Evidence == nil {
		return true
	}
	f, err := openRegular(u.target.parent, u.target.base+"/"+EvidenceFile)
	if err != nil {
		return false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(len(u.opts.Evidence))+1))
	return err == nil && bytes.Equal(raw, u.opts.Evidence)
}
