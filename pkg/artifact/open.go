package artifact

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// An Artifact is an opened manifest. It holds no connection, and its methods
// may be called from several goroutines.
type Artifact struct {
	Descriptor ocispec.Descriptor
	Raw        []byte // the manifest, as stored
	Manifest   ocispec.Manifest
	Family     mediatypes.Family
	Config     []byte // the config blob; nil if there is none to speak of
	Files      []File // sorted by path
}

// Open reads the manifest that desc describes.
func Open(ctx context.Context, src content.Fetcher, desc ocispec.Descriptor) (*Artifact, error) {
	return nil, errors.ErrUnsupported
}
