package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/variant"
)

const (
	// maxUnknown bounds the manifests that are read because an index says
	// nothing of them.
	maxUnknown = 64

	variantWorkers = 8
)

// model resolves r to the manifest of one model, choosing from an index.
func (h *Hub) model(ctx context.Context, r ref.Reference) (*target, error) {
	return h.choose(ctx, r, isModel)
}

// named is model for what must not depend on the machine that does it, such as a
// report that is going to be signed: of several variants one must be asked for.
func (h *Hub) named(ctx context.Context, r ref.Reference) (*target, error) {
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
	if isIndex(t.desc) && want.IsZero() {
		index, err := mediatypes.ParseIndex(t.raw)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.ref, err)
		}
		if n := len(listed(index, isModel)); n > 1 {
			return nil, fmt.Errorf("choose from %s: %w: it has %d variants: say which, as %s#NAME", t.ref, ErrNoVariant, n, r)
		}
	}
	return h.take(ctx, t, want, isModel)
}

// asked resolves r to a version, or to the variant of it that r names.
func (h *Hub) asked(ctx context.Context, r ref.Reference) (*target, error) {
	if r.Variant == "" {
		return h.find(ctx, r)
	}
	return h.named(ctx, r)
}

// any resolves r to one manifest of whatever kind.
func (h *Hub) any(ctx context.Context, r ref.Reference) (*target, error) {
	return h.choose(ctx, r, func(ocispec.Descriptor) bool { return true })
}

// locked resolves what a lock file has, with the variant that it has.
func (h *Hub) locked(ctx context.Context, l *Locked) (*target, error) {
	r := l.Pinned()
	r.Variant = ""
	t, err := h.find(ctx, r)
	if err != nil || !isIndex(t.desc) {
		return t, err
	}
	t, err = h.fromIndex(ctx, t, variant.Want{Digest: l.Target()}, isModel)
	if errors.Is(err, ErrNoVariant) {
		return nil, &lock.DriftError{Model: l.Name, What: "variant", Locked: l.Target().String(), Found: "not in " + l.Digest.String()}
	}
	return t, err
}

// choose resolves r, and takes from an index the variant that is wanted. Where
// something is asked for, a version without variants must be that, too.
func (h *Hub) choose(ctx context.Context, r ref.Reference, fits func(ocispec.Descriptor) bool) (*target, error) {
	want, err := h.wanted(r)
	if err != nil {
		return nil, err
	}
	r.Variant = ""
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	return h.take(ctx, t, want, fits)
}

// take is choose for what was resolved already.
func (h *Hub) take(ctx context.Context, t *target, want variant.Want, fits func(ocispec.Descriptor) bool) (*target, error) {
	if isIndex(t.desc) {
		return h.fromIndex(ctx, t, want, fits)
	}
	if want.IsZero() {
		return t, nil
	}
	choice, err := variant.Choose([]variant.Variant{ofManifest(t.desc, t.raw)}, want)
	if err != nil {
		return nil, fmt.Errorf("choose from %s, which has no variants: %w", t.ref, noVariant{err})
	}
	t.choice = &choice
	return t, nil
}

// A noVariant is an error of package variant, as one that wraps [ErrNoVariant].
type noVariant struct{ error }

func (e noVariant) Unwrap() []error { return []error{ErrNoVariant, e.error} }

// wanted joins what the reference says with what everything is asked for.
func (h *Hub) wanted(r ref.Reference) (variant.Want, error) {
	want := h.opts.Want
	if r.Variant == "" {
		return want, nil
	}
	more, err := variant.ParseWant(r.Variant)
	if err == nil {
		want, err = want.And(more)
	}
	if err != nil {
		return want, fmt.Errorf("%w: %s: %w", ErrUsage, r, err)
	}
	return want, nil
}

// fromIndex takes from an index the variant that is wanted, and reads it.
func (h *Hub) fromIndex(ctx context.Context, t *target, want variant.Want, fits func(ocispec.Descriptor) bool) (*target, error) {
	found, choice, err := h.pick(ctx, t, want, fits)
	if len(choice.Rows) > 1 && h.opts.Chose != nil {
		h.opts.Chose(t.ref, choice)
	}
	if err != nil {
		return nil, fmt.Errorf("choose from %s: %w", t.ref, err)
	}
	child := found[choice.Index]
	if t.desc, t.raw, err = t.repo.Manifest(ctx, child.Digest.String()); err != nil {
		return nil, fmt.Errorf("read variant of %s: %w", t.ref, err)
	}
	t.ref, t.choice = t.ref.WithDigest(t.desc.Digest), &choice
	return t, nil
}

// pick chooses from an index, and returns the descriptors that were chosen from.
func (h *Hub) pick(ctx context.Context, t *target, want variant.Want, fits func(ocispec.Descriptor) bool) ([]ocispec.Descriptor, variant.Choice, error) {
	none := variant.Choice{Index: -1}
	index, err := mediatypes.ParseIndex(t.raw)
	if err != nil {
		return nil, none, err
	}
	found := listed(index, fits)
	if len(found) == 0 {
		return nil, none, fmt.Errorf("%w: none of the %d manifests in it says that it is a model; name one by digest", ErrNoVariant, len(index.Manifests))
	}
	all, err := variantsOf(ctx, t, found)
	if err != nil {
		return nil, none, err
	}
	if want.Memory == 0 && len(all) > 1 && !want.Leaves(all) && h.opts.Machine != nil {
		want.Machine = h.opts.Machine(ctx)
	}
	choice, err := variant.Choose(all, want)
	switch {
	case err != nil:
		return nil, choice, noVariant{err}
	case len(all) > 1 && want.IsZero() && !choice.Variant.IsKnown():
		return nil, none, fmt.Errorf("%w: it holds %d models, of which nothing tells them apart; name one by digest", ErrNoVariant, len(all))
	}
	return found, choice, nil
}

// listed are the models of an index: those that fit, or of many that do, such as
// images and attestations, those that are models. Each is there once.
func listed(index ocispec.Index, fits func(ocispec.Descriptor) bool) []ocispec.Descriptor {
	seen := map[digest.Digest]bool{}
	all := slices.DeleteFunc(index.Manifests, func(m ocispec.Descriptor) bool {
		again := seen[m.Digest]
		seen[m.Digest] = true
		return again || !fits(m)
	})
	models := slices.DeleteFunc(slices.Clone(all), func(m ocispec.Descriptor) bool { return !isModel(m) })
	if len(models) > 0 {
		return models
	}
	return all
}

// variantsOf tells what descriptors of an index are. The manifests of those of
// which it says nothing are read, unless there is but one.
func variantsOf(ctx context.Context, t *target, found []ocispec.Descriptor) ([]variant.Variant, error) {
	all := make([]variant.Variant, len(found))
	unknown := 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(variantWorkers)
	for i, desc := range found {
		all[i] = variant.Read(desc)
		if all[i].IsKnown() || isIndex(desc) {
			continue
		}
		if unknown++; unknown > maxUnknown {
			continue
		}
		g.Go(func() error {
			full, raw, err := t.place().Manifest(gctx, desc.Digest.String())
			if err != nil {
				return fmt.Errorf("read %s, which is in it: %w", desc.Digest, err)
			}
			all[i] = ofManifest(full, raw)
			return nil
		})
	}
	return all, g.Wait()
}

// ofManifest derives a variant from what a manifest alone says.
func ofManifest(desc ocispec.Descriptor, raw []byte) variant.Variant {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return variant.Variant{Digest: desc.Digest}
	}
	f := variant.Facts{
		Formats: split(m.Annotations[mediatypes.AnnotationFormats]), Library: m.Annotations[mediatypes.AnnotationLibrary],
		Quantization: m.Annotations[mediatypes.AnnotationQuantization], Precision: m.Annotations[mediatypes.AnnotationPrecision],
		Parameters:    number(m.Annotations[mediatypes.AnnotationParameters]),
		ContextLength: number(m.Annotations[mediatypes.AnnotationContextLength]),
	}
	files := make([]mediatypes.File, 0, len(m.Layers))
	for _, l := range m.Layers {
		f.Size = sum(f.Size, l.Size)
		if layer, ok := mediatypes.ParseLayer(l.MediaType); ok && layer.Kind == mediatypes.KindWeight {
			f.Weights = sum(f.Weights, l.Size)
		}
		files = append(files, mediatypes.File{Path: l.Annotations[mediatypes.AnnotationFilepath], Size: l.Size})
	}
	if len(f.Formats) == 0 {
		for _, class := range mediatypes.Classify(files) {
			if class.Format != "" && !slices.Contains(f.Formats, class.Format) {
				f.Formats = append(f.Formats, class.Format)
			}
		}
	}
	v := variant.Of(f)
	v.Digest = desc.Digest
	return v
}

// number reads a decimal in an annotation; 0 for anything else.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// A ChosenVariant is the variant of a version that was taken. Sizes are bytes.
type ChosenVariant struct {
	VariantInfo
	Index      string        `json:"index"`      // digest of the version that it was chosen from
	Considered []VariantInfo `json:"considered"` // all variants, the best first
}

// A VariantInfo is one variant of a version.
type VariantInfo struct {
	Name     string   `json:"name"`
	Format   string   `json:"format"`
	Quant    string   `json:"quant"`
	DType    string   `json:"dtype"`
	Bits     float64  `json:"bits"` // for each weight
	Digest   string   `json:"digest"`
	Size     int64    `json:"size"`   // of all files
	MinMem   int64    `json:"minMem"` // an estimate of what it needs to run
	Device   string   `json:"device"`
	Runtimes []string `json:"runtimes"`
	Chosen   bool     `json:"chosen"`
	Fits     bool     `json:"fits"`
	Reason   string   `json:"reason"` // in words: why it was taken, or not
}

func variantInfo(row variant.Row) VariantInfo {
	v := row.Variant
	info := VariantInfo{
		Name: v.Name, Format: v.Format, Quant: v.Quant, DType: v.DType, Bits: v.Bits, Digest: v.Digest.String(), Size: v.Size,
		MinMem: v.MinMem, Device: v.Device, Runtimes: []string{}, Chosen: row.Chosen, Fits: row.Fits, Reason: row.Reason,
	}
	for _, name := range variant.Runtimes() {
		if v.Loads(name) {
			info.Runtimes = append(info.Runtimes, name)
		}
	}
	return info
}

func variantInfos(choice variant.Choice) []VariantInfo {
	all := make([]VariantInfo, len(choice.Rows))
	for i, row := range choice.Rows {
		all[i] = variantInfo(row)
	}
	return all
}

// chosen is the variant that was taken; nil where there was nothing to choose.
func (t *target) chosen() *ChosenVariant {
	if t.choice == nil || len(t.choice.Rows) < 2 {
		return nil
	}
	v := variant.Row{Variant: t.choice.Variant, Chosen: true, Fits: true, Reason: t.choice.Reason}
	return &ChosenVariant{VariantInfo: variantInfo(v), Index: t.signed.Digest.String(), Considered: variantInfos(*t.choice)}
}

// describeVariant says which of a version's variants was chosen, as far as that
// is known.
func describeVariant(t *target, a *artifact.Artifact) string {
	if t.choice == nil || !t.choice.Variant.IsKnown() {
		return ofManifest(a.Descriptor, t.raw).String()
	}
	return t.choice.Variant.String()
}
