package hub

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/variant"
)

// listVariants adds what an index says of its variants. Their sizes are added
// up: what they share is counted for each.
func (v *VersionInfo) listVariants(raw []byte) {
	index, err := mediatypes.ParseIndex(raw)
	if err != nil {
		return
	}
	for _, desc := range index.Manifests {
		if one := variant.Read(desc); isModel(desc) || one.IsKnown() {
			v.Variants = append(v.Variants, one.Label())
			v.Size = sum(v.Size, one.Size)
		}
	}
	v.Created = index.Annotations[ocispec.AnnotationCreated]
}
