package hub

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A DiffSide is what [Hub.Diff] compares: a version, or a directory on this
// machine as a push would take it.
type DiffSide struct {
	Reference ref.Reference
	Directory string // in place of Reference, if not empty
}

func (s DiffSide) String() string {
	if s.Directory != "" {
		return s.Directory
	}
	return s.Reference.String()
}

// DiffOptions adjusts [Hub.Diff]. The zero value compares at every level.
type DiffOptions struct {
	diff.Options

	// Trust is whose signatures are verified. With nil, who signed is what the
	// signatures say.
	Trust *signing.Trust
}

// A DiffResult is how two versions differ.
type DiffResult struct {
	diff.Result

	FromDigest string `json:"fromDigest"` // of the version; "" of a directory
	ToDigest   string `json:"toDigest"`

	// Variants compares the models of two indexes by what they are called. The
	// levels of the result itself are empty then.
	Variants *VariantsDiff `json:"variants,omitempty"`
}

// A VariantsDiff is how two indexes of models differ. Lists are sorted by name.
type VariantsDiff struct {
	Added   []string      `json:"added"`
	Removed []string      `json:"removed"`
	Changed []VariantDiff `json:"changed"`

	Identical []string `json:"identical"` // have the same digest
}

// A VariantDiff is a model that two indexes call the same.
type VariantDiff struct {
	Variant string `json:"variant"`
	diff.Result
}

// Diff tells how to differs from from. It fetches manifests, small text files and
// headers of weights; of weights themselves only what digests and chunk indexes
// leave open, at most MaxFetch bytes, but for DiffOptions.Values.
func (h *Hub) Diff(ctx context.Context, from, to DiffSide, opts DiffOptions) (*DiffResult, error) {
	if opts.Levels == (diff.Levels{}) {
		opts.Levels = diff.All
	}
	var sides [2][]*diffTarget
	group, both := errgroup.WithContext(ctx)
	for i, s := range []DiffSide{from, to} {
		group.Go(func() (err error) {
			sides[i], err = h.diffTargets(both, s)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(sides[0]) != 1 || len(sides[1]) != 1 {
		return h.diffVariants(ctx, sides[0], sides[1], opts)
	}
	res, err := h.diffTwo(ctx, sides[0][0], sides[1][0], opts)
	if err != nil {
		return nil, err
	}
	return &DiffResult{Result: *res, FromDigest: sides[0][0].digest(), ToDigest: sides[1][0].digest()}, nil
}

// A diffTarget is one model to be compared: a version, or a directory.
type diffTarget struct {
	*target // nil of a directory
	dir     string
	asked   ref.Reference
	variant string // what an index calls it; "" without one
	index   string // digest of that index
}

func (t *diffTarget) digest() string {
	if t.target == nil {
		return ""
	}
	return t.desc.Digest.String()
}

// diffTargets resolves a side: all models of an index, unless one is wanted.
func (h *Hub) diffTargets(ctx context.Context, s DiffSide) ([]*diffTarget, error) {
	if s.Directory != "" {
		return []*diffTarget{{dir: s.Directory}}, nil
	}
	want, err := h.wanted(s.Reference)
	if err != nil {
		return nil, err
	}
	s.Reference.Variant = ""
	t, err := h.find(ctx, s.Reference)
	if err != nil {
		return nil, err
	}
	if !isIndex(t.desc) || !want.IsZero() {
		t, err = h.take(ctx, t, want, isModel)
		return []*diffTarget{{target: t, asked: s.Reference}}, err
	}
	index, err := mediatypes.ParseIndex(t.raw)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", t.ref, err)
	}
	found := listed(index, isModel)
	if len(found) == 0 {
		return nil, fmt.Errorf("choose from index %s: it holds no models: %w", t.ref, ErrNoVariant)
	}
	called, err := variantsOf(ctx, t, found)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", t.ref, err)
	}
	out := make([]*diffTarget, len(found))
	for i, m := range found {
		child := *t
		child.desc, child.raw, child.ref = m, nil, t.ref.WithDigest(m.Digest)
		out[i] = &diffTarget{target: &child, asked: s.Reference, variant: called[i].Label(), index: t.desc.Digest.String()}
	}
	return out, nil
}

// diffTwo compares two models.
func (h *Hub) diffTwo(ctx context.Context, from, to *diffTarget, opts DiffOptions) (*diff.Result, error) {
	var sides [2]*openSide
	group, both := errgroup.WithContext(ctx)
	for i, t := range []*diffTarget{from, to} {
		group.Go(func() (err error) {
			sides[i], err = h.openSide(both, t, opts)
			return err
		})
	}
	err := group.Wait()
	defer func() {
		for _, s := range sides {
			if s != nil {
				s.close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	return diff.Compare(ctx, sides[0].Side, sides[1].Side, opts.Options)
}

// openSide opens a model for comparing it.
func (h *Hub) openSide(ctx context.Context, t *diffTarget, opts DiffOptions) (*openSide, error) {
	if t.target == nil {
		return h.openDirSide(ctx, t.dir)
	}
	if t.raw == nil {
		var err error
		if t.desc, t.raw, err = t.repo.Manifest(ctx, t.desc.Digest.String()); err != nil {
			return nil, fmt.Errorf("read variant of %s: %w", t.ref, err)
		}
	}
	if _, err := h.admit(ctx, t.asked, t.target, admitOptions{}); err != nil {
		return nil, err
	}
	a, err := artifact.Open(ctx, manifestAtHand{t.repo, t.target}, t.desc)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.ref, err)
	}
	s := &openSide{Side: diff.Side{Name: t.ref.String()}, close: func() {}}
	if len(a.Config) > 0 && a.Manifest.Config.MediaType == mediatypes.ConfigModel {
		s.Config = a.Config
	}
	if s.Files, err = h.partFiles(ctx, t.target, a); err == nil {
		err = h.attachments(ctx, t.target, s, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.ref, err)
	}
	return s, nil
}

// An openSide is a side, and what ends reading it.
type openSide struct {
	diff.Side
	close func()
}

// diffCache is what each open file keeps for the next read, in bytes: there are
// many, and each is read in order.
const diffCache = 2 << 20

// partFiles lists the files of a version for reading parts of them. No mirror is
// asked for what nobody can check.
func (h *Hub) partFiles(ctx context.Context, t *target, a *artifact.Artifact) ([]diff.File, error) {
	parts, err := a.Parts(ctx, t.repo.Origin(), artifact.ReaderOptions{Cache: diffCache, Whole: wholeBytes, Indexes: h.chunkIndexes()})
	if err != nil {
		return nil, err
	}
	files := make([]diff.File, len(parts))
	for i, p := range parts {
		files[i] = diff.File{Path: p.Path, Kind: p.Kind, Size: p.Size, Digest: p.Digest}
		if p.Open != nil {
			files[i].Open = func(ctx context.Context) (diff.Reader, error) {
				r, err := p.Open(ctx)
				if err != nil {
					return nil, err // a nil *Reader must not become a Reader
				}
				return r, nil
			}
		}
	}
	return files, nil
}

// evidence lists what vouches for a version.
func (h *Hub) evidence(ctx context.Context, t *target, refs []ocispec.Descriptor, trust *signing.Trust) ([]diff.Evidence, error) {
	g := &growth{target: t, trust: trust, slots: make(chan struct{}, treeWorkers)}
	var top TreeNode
	signed, err := g.signed(ctx, &top, grown{desc: t.signed, raw: t.raw}, refs)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		h.warn("who vouches for %s is not known: %v", t.ref, err)
		return nil, nil
	}
	if g.truncated.Load() {
		h.warn("more is attached to %s than is looked at", t.ref)
	}
	nodes := make([]TreeNode, len(refs))
	for i, d := range refs {
		nodes[i] = TreeNode{Kind: kindOf(d.ArtifactType), Digest: d.Digest.String(), ArtifactType: d.ArtifactType}
	}
	list := []diff.Evidence{}
	for _, n := range merge(signed, nodes) {
		if e, ok := evidenceOf(n); ok {
			list = append(list, e)
		}
	}
	return list, nil
}

// evidenceOf makes evidence of what is attached, but for what serves the
// transfer, and the card, which is compared by itself.
func evidenceOf(n TreeNode) (diff.Evidence, bool) {
	e := diff.Evidence{Kind: n.Kind, Type: n.PredicateType, Digest: n.Digest, Created: n.Created}
	switch n.Kind {
	case "transfer-index", "variant", "card":
		return e, false
	case "other":
		e.Type = n.ArtifactType
	}
	s := n.Claims
	if n.Verified != nil {
		s, e.Verified = n.Verified, true
	}
	if s == nil {
		return e, true
	}
	e.By = s.Identity
	if e.By == "" && s.KeyFingerprint != "" {
		e.By = "key " + s.KeyFingerprint[:min(16, len(s.KeyFingerprint))]
	}
	if e.Created.IsZero() {
		e.Created = s.Time
	}
	return e, true
}

// diffVariants compares two indexes of models by what they call them. One model
// is compared with the one of an index that holds no more.
func (h *Hub) diffVariants(ctx context.Context, from, to []*diffTarget, opts DiffOptions) (*DiffResult, error) {
	for _, s := range [][]*diffTarget{from, to} {
		if s[0].index == "" {
			return nil, fmt.Errorf("compare one model with an index of several: name one of them, as in REF#NAME: %w", ErrNoVariant)
		}
	}
	v := &VariantsDiff{Added: []string{}, Removed: []string{}, Changed: []VariantDiff{}, Identical: []string{}}
	res := &DiffResult{Variants: v, FromDigest: from[0].index, ToDigest: to[0].index}
	res.From, res.To = indexRef(from[0]), indexRef(to[0])
	was := map[string]*diffTarget{}
	for _, t := range from {
		was[t.variant] = t
	}
	for _, t := range to {
		old := was[t.variant]
		delete(was, t.variant)
		switch {
		case old == nil:
			v.Added = append(v.Added, t.variant)
		case old.desc.Digest == t.desc.Digest:
			v.Identical = append(v.Identical, t.variant)
		default:
			one, err := h.diffTwo(ctx, old, t, opts)
			if err != nil {
				return nil, fmt.Errorf("compare variant %+q: %w", t.variant, err)
			}
			v.Changed = append(v.Changed, VariantDiff{Variant: t.variant, Result: *one})
		}
	}
	for _, t := range from {
		if was[t.variant] == t {
			v.Removed = append(v.Removed, t.variant)
		}
	}
	res.Different = len(v.Added)+len(v.Removed)+len(v.Changed) > 0
	return res, nil
}

// indexRef is the reference of the index that holds a model.
func indexRef(t *diffTarget) string { return t.ref.WithDigest(t.signed.Digest).String() }
