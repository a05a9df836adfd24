package artifact

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// ReadIndexes fetches the chunk indexes that layers name, for [PushIndexes] to
// keep them for another version with the same layers.
func ReadIndexes(ctx context.Context, src content.Fetcher, layers []ocispec.Descriptor) ([]ChunkIndex, error) {
	var found []ChunkIndex
	for _, l := range layers {
		desc, ok := indexRef(l)
		if !ok {
			continue
		}
		raw, err := content.FetchAll(ctx, src, desc)
		if err != nil {
			return nil, fmt.Errorf("read index of %s: %w", l.Digest, err)
		}
		found = append(found, ChunkIndex{Layer: l.Digest, Desc: desc, Raw: raw})
	}
	return found, nil
}
