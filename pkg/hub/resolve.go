package hub

import (
	"context"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// ResolveResult says what a reference stands for now.
type ResolveResult struct {
	Reference    string `json:"reference"`
	Repository   string `json:"repository"` // host/name
	Tag          string `json:"tag"`
	Digest       string `json:"digest"`
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Size         int64  `json:"size"` // bytes of the layers

	// Variant is what was taken of a version that has several, if one was asked
	// for.
	Variant *ChosenVariant `json:"variant,omitempty"`
}

// Resolve tells which digest r stands for: of a version that has several
// variants that of its index, unless one of them is asked for.
func (h *Hub) Resolve(ctx context.Context, r ref.Reference) (*ResolveResult, error) {
	find := h.find
	if r.Variant != "" || !h.opts.Want.IsZero() {
		find = h.model
	}
	t, err := find(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := h.heed(ctx, asked(r, t), t, nil); err != nil {
		return nil, err
	}
	res := &ResolveResult{
		Reference: t.ref.String(), Repository: t.ref.Name(), Tag: t.ref.Tag, Digest: t.desc.Digest.String(),
		MediaType: t.desc.MediaType, Variant: t.chosen(),
	}
	if m, err := mediatypes.ParseManifest(t.raw); err == nil { // an index has no layers to add
		res.ArtifactType = m.ArtifactType
		for _, l := range m.Layers {
			res.Size += l.Size
		}
	} else if index, err := mediatypes.ParseIndex(t.raw); err == nil {
		res.ArtifactType = index.ArtifactType
	}
	return res, nil
}
