package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// Limits of what one copy takes along.
const (
	maxClosure       = 20_000    // manifests
	maxClosureBytes  = 256 << 20 // of manifests
	maxReferrerDepth = 4         // of referrers of referrers
	maxIndexDepth    = 4         // of indexes in indexes
	closureWorkers   = 8         // requests at once while it is found out
)

// The kinds of what is attached to a version, for [CopyOptions].
const (
	WithReferrers  = "referrers"  // all manifests that refer to it, of any kind
	WithSignatures = "signatures" // signatures and attestations, also behind cosign's tags
	WithCards      = "cards"
	WithEvals      = "evals"
	WithAll        = "all"
	WithNone       = "none"
)

// WithKinds are the kinds that [CopyOptions] knows.
var WithKinds = []string{WithReferrers, WithSignatures, WithCards, WithEvals, WithAll, WithNone}

// Of sigstore's bundles.
const (
	bundleTypes         = "application/vnd.dev.sigstore.bundle"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	predicateTestResult = "https://in-toto.io/attestation/test-result/"
)

// attachedKind tells which kind a referrer is of, besides [WithReferrers]. What its
// list entry says is enough: it is about what is taken along, not about trust.
func attachedKind(desc ocispec.Descriptor) string {
	switch {
	case desc.ArtifactType == mediatypes.ArtifactCard:
		return WithCards
	case strings.HasPrefix(desc.Annotations[annotationPredicate], predicateTestResult):
		return WithEvals
	case desc.ArtifactType == "", desc.ArtifactType == ocispec.MediaTypeEmptyJSON, strings.HasPrefix(desc.ArtifactType, bundleTypes):
		return WithSignatures // cosign 2 leaves the type out
	}
	return WithReferrers
}

// wants says what of the things attached to a version is copied.
type wants map[string]bool

// any tells whether anything is.
func (w wants) any() bool { return len(w) > 0 }

func (w wants) referrer(desc ocispec.Descriptor) bool {
	return w[WithReferrers] || w[attachedKind(desc)]
}

// classic tells whether cosign's tags are.
func (w wants) classic() bool { return w[WithReferrers] || w[WithSignatures] }

// A carried place shows of what is attached only what is copied.
type carried struct {
	copySource
	with wants
}

func (c carried) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if !c.with.classic() && hidden(reference) {
		return ocispec.Descriptor{}, nil, errdef.ErrNotFound
	}
	return c.copySource.Manifest(ctx, reference)
}

func (c carried) Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	list, err := c.copySource.Referrers(ctx, desc, artifactType)
	return slices.DeleteFunc(slices.Clone(list), func(d ocispec.Descriptor) bool { return !c.with.referrer(d) }), err
}

// enough looks whether policies would allow the version, which they do, with no
// more than what is copied of it: else it would be refused where it arrives.
func (c *copying) enough(ctx context.Context, r ref.Reference, t target) error {
	rules, err := c.h.rules(ctx)
	if err != nil || rules.Skip || c.with[WithReferrers] {
		return err
	}
	t.local, t.witness = carried{t.place(), c.with}, nil
	decisions, err := c.h.decide(ctx, r, &t, rules, admitOptions{})
	if err != nil {
		return err
	}
	for i := range decisions {
		if err := decisions[i].Err(); err != nil {
			return fmt.Errorf("%w: what policies ask for must be copied: with signatures, or all: else %s: %s", ErrUsage, t.ref, err.Error())
		}
	}
	return nil
}

// parseWants reads [CopyOptions].With.
func parseWants(kinds []string) (wants, error) {
	w := make(wants)
	for _, kind := range kinds {
		switch kind {
		case WithNone:
			if len(kinds) > 1 {
				return nil, fmt.Errorf("%w: with %q, nothing else makes sense", ErrUsage, kind)
			}
			return w, nil
		case WithAll:
			w[WithReferrers] = true
		case WithReferrers, WithSignatures, WithCards, WithEvals:
			w[kind] = true
		default:
			return nil, fmt.Errorf("%w: with %q: use one of %s", ErrUsage, kind, strings.Join(WithKinds, ", "))
		}
	}
	if len(kinds) == 0 {
		w[WithReferrers] = true
	}
	return w, nil
}

// A copyNode is one manifest that is copied.
type copyNode struct {
	desc  ocispec.Descriptor
	raw   []byte
	blobs []ocispec.Descriptor // config and layers

	artifactType string
	children     []digest.Digest // of an index
	parents      []digest.Digest // versions that it names as those before it
	bases        []string        // what it says it was made of

	subject *ocispec.Descriptor // what it refers to; nil for most
	classic []string            // tags of cosign's kind that point to it
	version bool                // it was asked for, and is not just attached
}

// A copyStep is one manifest to look at.
type copyStep struct {
	reference string
	raw       []byte             // if it is known already, with desc
	desc      ocispec.Descriptor // as listed
	subject   *ocispec.Descriptor
	classic   bool // the reference is a tag that may not be there
	version   bool
	before    digest.Digest // the version that names this one as a parent
	tag       string        // of a version, as it was asked for
	pinned    bool          // a version that was admitted names it by its digest
	hops      int           // of referrers of referrers
	nest      int           // of indexes in indexes
	history   int           // how many of the versions before it are wanted
}

// A closure is all that belongs to a version, with what is attached to it.
type closure struct {
	from  copySource
	with  wants
	nodes map[digest.Digest]*copyNode
	order []*copyNode // as they were found
	bytes int64
	read  atomic.Int64 // bytes, also of manifests that are not taken
	notes []string
}

// gather finds out what belongs to the roots. Each level is asked for at once,
// and taken over in its order, so that the same source gives the same closure.
func gather(ctx context.Context, from copySource, roots []copyStep, with wants) (*closure, error) {
	c := &closure{from: from, with: with, nodes: make(map[digest.Digest]*copyNode)}
	return c, c.grow(ctx, roots)
}

// grow adds what belongs to more roots.
func (c *closure) grow(ctx context.Context, roots []copyStep) error {
	for level := roots; len(level) > 0; {
		nodes := make([]*copyNode, len(level))
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(closureWorkers)
		for i, s := range level {
			if n := c.nodes[s.desc.Digest]; n != nil && s.reference == s.desc.Digest.String() {
				nodes[i] = n
				continue
			}
			g.Go(func() (err error) {
				nodes[i], err = c.visit(gctx, s)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		next, err := c.take(ctx, level, nodes)
		if err != nil {
			return err
		}
		level = next
	}
	return nil
}

// take takes a level over, and returns the next.
func (c *closure) take(ctx context.Context, level []copyStep, nodes []*copyNode) ([]copyStep, error) {
	var fresh []int
	for i, n := range nodes {
		switch {
		case n == nil:
			if note := level[i].leftOut(); note != "" {
				c.notes = append(c.notes, note)
			}
			continue
		case c.nodes[n.desc.Digest] == nil:
			c.nodes[n.desc.Digest] = n
			c.order = append(c.order, n)
			c.bytes += n.desc.Size
			fresh = append(fresh, i)
		}
		c.nodes[n.desc.Digest].found(level[i])
	}
	if len(c.order) > maxClosure || c.bytes > maxClosureBytes {
		return nil, fmt.Errorf("more than %d manifests, or %d bytes of them, belong to it: %w", maxClosure, maxClosureBytes, errdef.ErrSizeExceedsLimit)
	}
	steps := make([][]copyStep, len(fresh))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(closureWorkers)
	for k, i := range fresh {
		g.Go(func() (err error) {
			steps[k], err = c.further(ctx, nodes[i], level[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(steps...), nil
}

// leftOut tells people of a manifest that is not there; "" if it need not be.
func (s copyStep) leftOut() string {
	switch {
	case s.before != "":
		return "the history ends at " + s.before.String() + ": its parent " + s.reference + " is not there any more"
	case s.classic:
		return ""
	}
	return "left out " + s.reference + ", which is listed as attached to " + s.subject.Digest.String() + " and is not, or cannot be read"
}

// found notes how the manifest was found.
func (n *copyNode) found(s copyStep) {
	n.version = n.version || s.version
	if s.classic && !slices.Contains(n.classic, s.reference) {
		n.classic = append(n.classic, s.reference)
	}
}

// visit fetches one manifest. It returns nil for one that is attached and not
// there, or not what the list says: nothing is lost by leaving it out, and
// anybody who may write to the repository can list such things. It does so too
// for a parent that is not there: collected versions end a history.
func (c *closure) visit(ctx context.Context, s copyStep) (*copyNode, error) {
	desc, raw := s.desc, s.raw
	if raw == nil {
		var err error
		desc, raw, err = c.from.Manifest(ctx, s.reference)
		attached := s.subject != nil
		switch {
		case (attached || s.before != "") && errors.Is(err, errdef.ErrNotFound):
			return nil, nil
		case attached && !s.classic && harmless(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", s.reference, err)
		}
		if err := c.spend(len(raw)); err != nil {
			return nil, err
		}
	}
	n := &copyNode{desc: ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: int64(len(raw))}, raw: raw}
	err := n.parse()
	if s.subject != nil && !s.classic && (err != nil || n.subject == nil || n.subject.Digest != s.subject.Digest) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", s.reference, err)
	}
	return n, nil
}

// spend counts the bytes of a manifest that was read. All of a level are in memory
// before one of them is taken or left out.
func (c *closure) spend(n int) error {
	if c.read.Add(int64(n)) > maxClosureBytes {
		return fmt.Errorf("more than %d bytes of manifests belong to it, or are said to: %w", maxClosureBytes, errdef.ErrSizeExceedsLimit)
	}
	return nil
}

// harmless tells whether err means that bytes are no manifest, rather than
// that they could not be had.
func harmless(err error) bool {
	return errors.Is(err, mediatypes.ErrMalformed) || errors.Is(err, errdef.ErrInvalidMediaType) || errors.Is(err, errdef.ErrSizeExceedsLimit)
}

// parse reads what the manifest leads to.
func (n *copyNode) parse() error {
	if isIndex(n.desc) {
		x, err := mediatypes.ParseIndex(n.raw)
		if err != nil {
			return err
		}
		for _, child := range x.Manifests {
			n.children = append(n.children, child.Digest)
		}
		n.lineage(x.Annotations)
		n.subject, n.artifactType = x.Subject, x.ArtifactType
		return nil
	}
	m, err := mediatypes.ParseManifest(n.raw)
	if err != nil {
		return err
	}
	n.blobs = append([]ocispec.Descriptor{m.Config}, m.Layers...)
	n.lineage(m.Annotations)
	n.subject, n.artifactType = m.Subject, m.ArtifactType
	return nil
}

// lineage reads where a version says that it comes from.
func (n *copyNode) lineage(a map[string]string) {
	for parent := range strings.SplitSeq(a[mediatypes.AnnotationParents], ",") {
		if dgst, err := digest.Parse(parent); err == nil {
			n.parents = append(n.parents, dgst)
		}
	}
	if name := a[ocispec.AnnotationBaseImageName]; name != "" {
		if dgst := a[ocispec.AnnotationBaseImageDigest]; dgst != "" && !strings.Contains(name, "@") {
			name += "@" + dgst
		}
		n.bases = append(n.bases, name)
	}
	inputs, _ := lineage.ParseInputs(a[mediatypes.AnnotationInputs])
	for _, e := range inputs {
		if r, ok := e.Registry(); ok && e.Relation.OfModels() {
			n.bases = append(n.bases, r.String())
		}
	}
	for name := range strings.SplitSeq(a[mediatypes.AnnotationBaseModel], ",") {
		if name != "" {
			n.bases = append(n.bases, name)
		}
	}
}

// further returns what a manifest leads to.
func (c *closure) further(ctx context.Context, n *copyNode, s copyStep) ([]copyStep, error) {
	var steps []copyStep
	if len(n.children) > 0 && s.nest >= maxIndexDepth {
		return nil, fmt.Errorf("index %s: indexes in indexes, more than %d deep: %w", n.desc.Digest, maxIndexDepth, errdef.ErrSizeExceedsLimit)
	}
	for _, child := range n.children {
		steps = append(steps, copyStep{reference: child.String(), desc: ocispec.Descriptor{Digest: child}, hops: s.hops, nest: s.nest + 1})
	}
	if s.history > 0 {
		for _, parent := range n.parents {
			steps = append(steps, copyStep{reference: parent.String(), desc: ocispec.Descriptor{Digest: parent}, version: true, before: n.desc.Digest, history: s.history - 1})
		}
	}
	if !c.with.any() || s.hops >= maxReferrerDepth {
		return steps, nil
	}
	referrers, err := c.from.Referrers(ctx, n.desc, "")
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, fmt.Errorf("list what is attached to %s: %w", n.desc.Digest, err)
	}
	for _, r := range referrers {
		if c.with.referrer(r) && r.Digest != n.desc.Digest {
			steps = append(steps, copyStep{reference: r.Digest.String(), desc: r, subject: &n.desc, hops: s.hops + 1, nest: s.nest})
		}
	}
	if c.with.classic() {
		for _, tag := range classicTags(n.desc.Digest) {
			steps = append(steps, copyStep{reference: tag, subject: &n.desc, classic: true, hops: s.hops + 1, nest: s.nest})
		}
	}
	return steps, nil
}

// classicTags are the tags under which cosign 1 and 2 keep signatures,
// attestations and bills of materials.
func classicTags(dgst digest.Digest) []string {
	if dgst.Algorithm() != digest.SHA256 {
		return nil
	}
	base := "sha256-" + dgst.Encoded()
	return []string{base + ".sig", base + ".att", base + ".sbom"}
}

// blobs returns all blobs, each once, and refuses one of which two manifests
// say different sizes.
func (c *closure) blobs() ([]ocispec.Descriptor, error) {
	seen := make(map[digest.Digest]int64)
	var all []ocispec.Descriptor
	for _, n := range c.order {
		for _, b := range n.blobs {
			size, twice := seen[b.Digest]
			if twice && size != b.Size {
				return nil, fmt.Errorf("blob %s: %d bytes in one manifest, %d in another: %w", b.Digest, size, b.Size, content.ErrInvalidDescriptorSize)
			}
			if !twice {
				seen[b.Digest] = b.Size
				all = append(all, b)
			}
		}
	}
	return all, nil
}

// plain returns the manifests that refer to nothing, and what indexes list, each
// before the index.
func (c *closure) plain() []*copyNode {
	var out []*copyNode
	seen := make(map[digest.Digest]bool)
	var add func(n *copyNode, listed bool)
	add = func(n *copyNode, listed bool) {
		if seen[n.desc.Digest] || n.subject != nil && !listed {
			return
		}
		seen[n.desc.Digest] = true
		for _, child := range n.children {
			if m := c.nodes[child]; m != nil {
				add(m, true)
			}
		}
		out = append(out, n)
	}
	for _, n := range c.order {
		for _, child := range n.children {
			if m := c.nodes[child]; m != nil {
				add(m, true)
			}
		}
		add(n, false)
	}
	return out
}

// referrers returns the manifests that refer to others, those that refer to
// versions first.
func (c *closure) referrers() []*copyNode {
	return slices.DeleteFunc(slices.Clone(c.order), func(n *copyNode) bool { return n.subject == nil })
}
