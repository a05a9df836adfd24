package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/variant"
)

// inspectVariants tells what variants a version has; nil when one is asked for,
// or there is nothing to choose from.
func (h *Hub) inspectVariants(ctx context.Context, t *target, want variant.Want) (*Inspection, error) {
	if want.Selects() || !isIndex(t.desc) {
		return nil, nil
	}
	_, choice, err := h.pick(ctx, t, want, isModel)
	if _, none := errors.AsType[*variant.NoneError](err); err != nil && !none {
		return nil, fmt.Errorf("inspect %s: %w", t.ref, err)
	}
	if len(choice.Rows) < 2 {
		return nil, nil
	}
	index, err := mediatypes.ParseIndex(t.raw)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", t.ref, err)
	}
	res := &Inspection{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), ArtifactType: index.ArtifactType, Format: "index",
		Files: []FileInfo{}, Model: indexInfo(index.Annotations), Annotations: index.Annotations, Parents: []string{},
		Referrers: []ReferrerInfo{}, Card: json.RawMessage("{}"), Variants: variantInfos(choice),
	}
	if res.Annotations == nil {
		res.Annotations = map[string]string{}
	}
	res.Inputs = inputInfos(res.Annotations, nil)
	if parents := res.Annotations[mediatypes.AnnotationParents]; parents != "" {
		res.Parents = strings.Split(parents, ",")
	}
	for _, v := range res.Variants {
		res.Size = sum(res.Size, v.Size)
	}
	return res, h.attached(ctx, t, res)
}

// indexInfo is what the variants have in common.
func indexInfo(a map[string]string) ModelInfo {
	info := ModelInfo{
		Architecture: a[mediatypes.AnnotationArchitecture], Parameters: number(a[mediatypes.AnnotationParameters]), DTypes: map[string]int64{},
		Formats: split(a[mediatypes.AnnotationFormats]), ContextLength: number(a[mediatypes.AnnotationContextLength]),
		Library: a[mediatypes.AnnotationLibrary], Task: a[mediatypes.AnnotationTask], CustomCode: a[mediatypes.AnnotationCode] == "true",
	}
	if info.Formats == nil {
		info.Formats = []string{}
	}
	return info
}
