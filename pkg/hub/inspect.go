package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// An Inspection is what can be known of a version without fetching its
// weights. Sizes are bytes.
type Inspection struct {
	Reference    string            `json:"reference"`
	Digest       string            `json:"digest"`
	ArtifactType string            `json:"artifactType"`
	Format       string            `json:"format"` // the family of the artifact: modelpack, modelkit, …
	Size         int64             `json:"size"`
	Files        []FileInfo        `json:"files"`
	Model        ModelInfo         `json:"model"`
	Card         json.RawMessage   `json:"card"` // front matter, verbatim
	Annotations  map[string]string `json:"annotations"`
	Parents      []string          `json:"parents"`
	Signatures   int               `json:"signatures"` // attached; whose they are, verify tells
	Referrers    []ReferrerInfo    `json:"referrers"`
	Status       *State            `json:"status,omitempty"`   // nil unless something was stated
	Problems     []string          `json:"problems,omitempty"` // files that are not what they say

	// Repository is what became of the repository as a whole; nil for one in use.
	Repository *State `json:"repositoryStatus,omitempty"`

	// Inputs are what the version says that it was made of; Lineage is what was
	// found of that, if it was asked for ([Hub.InspectLineage]).
	Inputs  []InputInfo `json:"inputs,omitempty"`
	Lineage *Lineage    `json:"lineage,omitempty"`

	// Evaluations are the results that are stated of the version, in its repository
	// and where else evaluations are looked for.
	Evaluations []Evaluation `json:"evaluations,omitempty"`

	// Variants are those of a version that has several, the best first; then
	// there are no files, and Size is that of all variants.
	Variants []VariantInfo `json:"variants,omitempty"`

	parsed *card.Card
}

// CardText is the model's card without its front matter, for a terminal, or
// false when the version has none.
func (i *Inspection) CardText(w io.Writer, opts card.TextOptions) (bool, error) {
	if i.parsed == nil {
		return false, nil
	}
	return true, i.parsed.Text(w, opts)
}

// A FileInfo is one file of a version.
type FileInfo struct {
	Path      string `json:"path"`
	Kind      string `json:"kind"`
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Mode      string `json:"mode"` // octal
}

// ModelInfo is what the files say of the model. Zero values mean that they say
// nothing.
type ModelInfo struct {
	Architecture  string           `json:"architecture"`
	Parameters    int64            `json:"parameters"`
	DTypes        map[string]int64 `json:"dtypes"` // parameters by data type
	Formats       []string         `json:"formats"`
	ContextLength int64            `json:"contextLength"`
	Quantization  string           `json:"quantization"`
	Library       string           `json:"library"`
	Task          string           `json:"task"`
	CustomCode    bool             `json:"customCode"`
}

// A ReferrerInfo is something attached to a version.
type ReferrerInfo struct {
	Digest       string `json:"digest"`
	ArtifactType string `json:"artifactType"`
	Size         int64  `json:"size"`
}

// Inspect tells what the version that r resolves to is. It reads headers of
// weights by range and fetches none of them.
func (h *Hub) Inspect(ctx context.Context, r ref.Reference) (*Inspection, error) {
	want, err := h.wanted(r)
	if err != nil {
		return nil, err
	}
	whole := r
	whole.Variant = ""
	t, err := h.find(ctx, whole)
	if err != nil {
		return nil, err
	}
	if res, err := h.inspectVariants(ctx, t, want); err != nil {
		return nil, err
	} else if res != nil {
		return res, h.tellWhole(ctx, t, res)
	}
	if t, err = h.take(ctx, t, want, isModel); err != nil {
		return nil, err
	}
	res, err := h.inspectModel(ctx, r, t)
	if err != nil {
		return nil, err
	}
	h.revised(ctx, t, res)
	return res, nil
}

// inspectModel looks into one model, and meanwhile for what is attached to it and
// what became of it: none needs to know of the others.
func (h *Hub) inspectModel(ctx context.Context, r ref.Reference, t *target) (*Inspection, error) {
	var res *Inspection
	var around, became, whole Inspection
	g, all := errgroup.WithContext(ctx)
	g.Go(func() error {
		a, err := artifact.Open(all, manifestAtHand{t.repo, t}, t.desc)
		if err != nil {
			return fmt.Errorf("inspect %s: %w", t.ref, err)
		}
		res, err = h.describe(all, r, t, a)
		return err
	})
	g.Go(func() error { return h.attached(all, t, &around) })
	g.Go(func() error { return h.tellStatus(all, t, &became) })
	g.Go(func() error { return h.tellWhole(all, t, &whole) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	res.Referrers = append(res.Referrers, around.Referrers...)
	res.Signatures, res.Evaluations, res.Status = around.Signatures, around.Evaluations, became.Status
	res.Repository = whole.Repository
	return res, nil
}

// describe looks into the files, if they may be used. What a policy refuses can
// be looked at from outside: one has to find out what it is.
func (h *Hub) describe(ctx context.Context, r ref.Reference, t *target, a *artifact.Artifact) (*Inspection, error) {
	_, err := h.admit(ctx, r, t, admitOptions{checkOnly: true})
	if errors.Is(err, policy.ErrRefused) {
		res := inspection(t, a, &format.Model{}, nil)
		res.Problems = append(res.Problems, "the files were not looked into: "+err.Error())
		return res, nil
	}
	if err != nil {
		return nil, err
	}
	// Nobody can check a part of a file, so no mirror is asked for one.
	model, doc, err := a.Describe(ctx, t.repo.Origin())
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", t.ref, err)
	}
	return inspection(t, a, model, doc), nil
}

func inspection(t *target, a *artifact.Artifact, model *format.Model, doc *card.Card) *Inspection {
	res := &Inspection{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), ArtifactType: a.Manifest.ArtifactType,
		Format: string(a.Family), Files: fileInfos(a.Files), Model: modelInfo(model, doc),
		Annotations: a.Manifest.Annotations, Parents: []string{}, Referrers: []ReferrerInfo{}, Card: json.RawMessage("{}"), parsed: doc,
	}
	if res.Annotations == nil {
		res.Annotations = map[string]string{}
	}
	for _, f := range a.Files {
		res.Size += f.Size
	}
	res.Inputs = inputInfos(res.Annotations, doc)
	if parents := res.Annotations[mediatypes.AnnotationParents]; parents != "" {
		res.Parents = strings.Split(parents, ",")
	}
	for _, p := range model.Problems {
		res.Problems = append(res.Problems, p.Path+": "+p.Err.Error())
	}
	if doc == nil {
		return res
	}
	res.Card = doc.JSON()
	if doc.Problem != nil {
		res.Problems = append(res.Problems, "card: "+doc.Problem.Error())
	}
	return res
}

// revised puts the card that counts in the place of the one that t was released
// with, if it has been revised by those who publish the repository. Without them
// nothing can be told of revisions, and the inspection stays as it is.
func (h *Hub) revised(ctx context.Context, t *target, res *Inspection) {
	if !slices.ContainsFunc(res.Referrers, func(r ReferrerInfo) bool { return r.ArtifactType == mediatypes.ArtifactCard }) {
		return
	}
	rev, err := h.effectiveCard(ctx, t, nil)
	if errors.Is(err, errdef.ErrNotFound) || err == nil && rev.Seq == 0 {
		return
	}
	var doc *card.Card
	if err == nil {
		doc, err = rev.Card()
	}
	if err != nil {
		h.warn("revisions of the card of %s: %v", t.ref, err)
		return
	}
	for _, p := range rev.Problems() {
		h.warn("%s: %s", t.ref, p)
	}
	res.parsed, res.Card = doc, doc.JSON()
}

// attached adds what refers to the version. A registry that cannot list it
// makes inspection poorer, not impossible.
func (h *Hub) attached(ctx context.Context, t *target, res *Inspection) error {
	refs, err := t.repo.Referrers(ctx, t.signed, "")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		h.warn("what is attached to %s is not known: %v", t.ref, err)
		return nil
	}
	for _, d := range refs {
		res.Referrers = append(res.Referrers, ReferrerInfo{Digest: d.Digest.String(), ArtifactType: d.ArtifactType, Size: d.Size})
	}
	res.Signatures, err = signatures(ctx, t, refs)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		h.warn("signatures of %s could not be counted: %v", t.ref, err)
	}
	return h.inspectEvaluations(ctx, t, refs, res)
}

func fileInfos(files []artifact.File) []FileInfo {
	out := make([]FileInfo, len(files))
	for i, f := range files {
		out[i] = FileInfo{
			Path: f.Path, Kind: string(f.Kind), MediaType: f.MediaType, Digest: f.Digest.String(),
			Size: f.Size, Mode: fmt.Sprintf("%04o", f.Mode.Perm()),
		}
	}
	return out
}

// modelInfo joins what the files and the card say; files win, since they
// cannot be out of date.
func modelInfo(m *format.Model, c *card.Card) ModelInfo {
	info := ModelInfo{
		Architecture: m.Architecture, Parameters: m.Parameters, DTypes: m.DTypes, Formats: m.Formats,
		ContextLength: m.ContextLength, Quantization: m.Quantization, Library: m.Library, Task: m.Task, CustomCode: m.CustomCode,
	}
	if info.DTypes == nil {
		info.DTypes = map[string]int64{}
	}
	if info.Formats == nil {
		info.Formats = []string{}
	}
	if c == nil {
		return info
	}
	if c.Meta.Library != "" {
		info.Library = c.Meta.Library
	}
	if c.Meta.Task != "" {
		info.Task = c.Meta.Task
	}
	return info
}
