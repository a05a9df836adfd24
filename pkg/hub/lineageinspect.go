package hub

import (
	"context"
	"fmt"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
)

// An InputInfo is something that a version says that it was made of. Nobody has
// looked whether that is so.
type InputInfo struct {
	Relation  lineage.Relation `json:"relation"`
	Inferred  bool             `json:"inferred,omitempty"` // nobody has named the relation
	Reference string           `json:"reference"`
	Digest    string           `json:"digest"`          // "" if it is not known
	Weight    float64          `json:"weight,omitzero"` // its part in a merge
	Said      string           `json:"said"`            // where it is said: inputs, base, annotation, card, origin
	Pinned    bool             `json:"pinned"`          // by a digest or a commit
}

// inputInfos are what annotations and a card, which may be nil, say.
func inputInfos(annotations map[string]string, doc *card.Card) []InputInfo {
	var meta card.Metadata
	if doc != nil {
		meta = doc.Meta
	}
	var out []InputInfo
	for _, e := range lineage.Edges(annotations, meta) {
		out = append(out, InputInfo{
			Relation: e.Relation, Inferred: e.Inferred, Reference: e.Reference, Digest: e.Digest.String(),
			Weight: e.Weight, Said: e.Said, Pinned: e.Pinned(),
		})
	}
	return out
}

// InspectLineage adds to an inspection what the version was made of, as
// [Hub.Lineage] finds it out.
func (h *Hub) InspectLineage(ctx context.Context, res *Inspection, opts LineageOptions) error {
	r, err := ref.Parse(res.Reference)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", res.Reference, err)
	}
	res.Lineage, err = h.Lineage(ctx, r, opts)
	return err
}
