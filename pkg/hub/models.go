package hub

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// maxModels bounds the manifests of an index that are decided on.
const maxModels = 256

// models are what is decided on where what models hold matters: of an index each
// model that it lists, whose signature is that of the index as in a pull, and
// otherwise t alone. A model is one by what the index says or by its own
// manifest, so that none gets by under another name; where there is none, all
// that is listed is decided on.
func (t *target) models(ctx context.Context) ([]*target, error) {
	if !isIndex(t.desc) {
		return []*target{t}, nil
	}
	index, err := mediatypes.ParseIndex(t.raw)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", t.ref, err)
	}
	if n := len(index.Manifests); n > maxModels {
		return nil, fmt.Errorf("index %s lists %d manifests, and at most %d are decided on: %w", t.ref, n, maxModels, errdef.ErrSizeExceedsLimit)
	}
	var all, models []*target
	for _, listed := range index.Manifests {
		child := *t
		child.desc, child.raw, err = t.place().Manifest(ctx, listed.Digest.String())
		if errors.Is(err, errdef.ErrNotFound) && !isModel(listed) {
			continue // what is not there is not used
		}
		if err != nil {
			return nil, fmt.Errorf("read %s, which index %s lists: %w", listed.Digest, t.ref, err)
		}
		child.ref = t.ref.WithDigest(child.desc.Digest)
		all = append(all, &child)
		if isModel(listed) || holdsModel(&child) {
			models = append(models, &child)
		}
	}
	switch {
	case len(models) > 0:
		return models, nil
	case len(all) > 0:
		return all, nil
	}
	return []*target{t}, nil
}

// isModel tells whether an index says that what it lists is a model.
func isModel(m ocispec.Descriptor) bool {
	return m.ArtifactType == mediatypes.ArtifactModel || m.Annotations[mediatypes.AnnotationModelcarManifest] == "modelpack"
}

// holdsModel tells whether what an index lists is a model by its manifest, or may
// be another index of some. Container images are run, and not loaded.
func holdsModel(t *target) bool {
	if isIndex(t.desc) {
		return true
	}
	m, err := mediatypes.ParseManifest(t.raw)
	if err != nil {
		return true
	}
	family, ok := mediatypes.Detect(m)
	return ok && family != mediatypes.Image
}
