package artifact

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A Plan is a layer that is going to be made.
type Plan struct {
	Path string // of the file, or the name of the archive
	Size int64  // bytes
}

// preflight looks for what would make a push fail in the end, before the files
// are read.
func (p *packer) preflight() error {
	if len(p.layers) >= mediatypes.MaxLayers { // one more may come for the index
		return fmt.Errorf("%w: %d layers, more than a manifest may list (%d)", ErrUnsafe, len(p.layers), mediatypes.MaxLayers-1)
	}
	// Digests all have the same length.
	zero := digest.Canonical.FromBytes(nil)
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}}
	var plan []Plan
	for _, l := range p.layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: mediatypes.LayerType(l.kind, l.encoding), Digest: zero, Size: l.body.size, Annotations: l.annotations(),
		})
		plan = append(plan, Plan{Path: l.title, Size: l.body.size})
	}
	raw, err := encodeJSON(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := p.checkManifest(raw); err != nil || p.opts.Check == nil {
		return err
	}
	return p.opts.Check(plan)
}

// checkManifest refuses a manifest that is larger than registries take.
func (p *packer) checkManifest(raw []byte) error {
	if len(raw) > mediatypes.MaxManifestBytes {
		return fmt.Errorf("%w: %d files make a manifest of %d bytes, more than registries take (%d)",
			ErrUnsafe, len(p.files), len(raw), mediatypes.MaxManifestBytes)
	}
	return nil
}
