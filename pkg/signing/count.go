package signing

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
)

// Count returns how many signatures are attached to desc in either layout,
// without checking any: something to show, never to trust. The referrers are
// those that the registry lists for desc.
func Count(ctx context.Context, repo Reader, desc ocispec.Descriptor, referrers []ocispec.Descriptor) (int, error) {
	n := 0
	for _, r := range referrers {
		if mayHoldBundle(r) && r.Annotations[annotationPred] == predicateSign {
			n++
		}
	}
	_, image, err := readClassic(ctx, repo, Target{Descriptor: desc})
	if image == nil {
		if err != nil && isOwnFault(err) {
			err = nil
		}
		return n, err
	}
	for _, layer := range image.manifest.Layers {
		if layer.MediaType == cosigntypes.SimpleSigningMediaType {
			n++
		}
	}
	return n, nil
}
