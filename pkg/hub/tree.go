package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// Limits of a tree.
const (
	MaxTreeNodes = 1000
	MaxTreeDepth = 8
	treeWorkers  = 4               // nodes that are looked at at once
	treeDuration = 5 * time.Minute // of one call of Tree
)

// A Tree is a version with all that is attached to it.
type Tree struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`

	// Truncated says that there is more than the limits let us look at.
	Truncated bool `json:"truncated"`

	Root TreeNode `json:"tree"`
}

// A TreeNode is a version, or something attached to what is above it. But for
// Verified, it is what the thing says of itself.
type TreeNode struct {
	// Kind is "model", "index", "signature", "attestation", "model-signing",
	// "transfer-index", "variant", "card", "sbom", or "other".
	Kind string `json:"kind"`

	Digest       string `json:"digest"`
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Size         int64  `json:"size"` // bytes of manifest and layers

	// PredicateType is what an attestation is about.
	PredicateType string `json:"predicateType,omitempty"`

	// Layout is "bundle" or "classic", of signatures and attestations.
	Layout string `json:"layout,omitempty"`

	// Created is when it says it was made.
	Created time.Time `json:"created,omitzero"`

	// Claims is who it says has signed it: not checked.
	Claims *Signer `json:"claims,omitempty"`

	// Verified is the trusted party that has signed it.
	Verified *Signer `json:"verified,omitempty"`

	// Problem is why it is not verified, when somebody is trusted, or why it
	// cannot be read.
	Problem string `json:"problem,omitempty"`

	// Attached is what refers to it, and what an index holds.
	Attached []TreeNode `json:"attached,omitempty"`
}

// Tree lists what is attached to the version that r resolves to: signatures and
// attestations in both layouts, and whatever else refers to it, and to that, as
// far as [MaxTreeDepth] and [MaxTreeNodes]. With a trust, what trusted parties
// have signed is marked; everything else is what strangers say.
func (h *Hub) Tree(ctx context.Context, r ref.Reference, trust *signing.Trust) (*Tree, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, treeDuration)
	defer cancel()
	g := &growth{target: t, trust: trust, slots: make(chan struct{}, treeWorkers)}
	g.nodes.Store(1)
	root, err := g.node(ctx, t.desc, t.raw)
	if err != nil {
		return nil, fmt.Errorf("list what is attached to %s: %w", t.ref, err)
	}
	if err := g.grow(ctx, &root, grown{desc: t.desc, raw: t.raw}); err != nil {
		return nil, fmt.Errorf("list what is attached to %s: %w", t.ref, err)
	}
	return &Tree{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Truncated: g.truncated.Load(), Root: root}, nil
}

// growth is one call of Tree.
type growth struct {
	target    *target
	trust     *signing.Trust
	slots     chan struct{} // what may be at work at once, in all branches
	nodes     atomic.Int64
	truncated atomic.Bool
}

// grown is the place of a node in the tree.
type grown struct {
	desc  ocispec.Descriptor
	raw   []byte
	above []digest.Digest // the digests of those above it
}

// slot waits until something more may be at work, and returns what ends it.
func (g *growth) slot(ctx context.Context) (release func(), err error) {
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// more tells whether another node fits.
func (g *growth) more() bool {
	if g.nodes.Add(1) > MaxTreeNodes {
		g.truncated.Store(true)
		return false
	}
	return true
}

// node describes a manifest.
func (g *growth) node(ctx context.Context, desc ocispec.Descriptor, raw []byte) (TreeNode, error) {
	n := TreeNode{Kind: "other", Digest: desc.Digest.String(), MediaType: desc.MediaType, ArtifactType: desc.ArtifactType, Size: desc.Size}
	if err := ctx.Err(); err != nil {
		return n, err
	}
	if isIndex(desc) {
		index, err := mediatypes.ParseIndex(raw)
		if err != nil {
			n.Problem = err.Error()
			return n, nil
		}
		n.Kind, n.ArtifactType = "index", index.ArtifactType
		return n, nil
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		n.Problem = err.Error()
		return n, nil
	}
	n.ArtifactType = m.ArtifactType
	if n.ArtifactType == "" && m.Subject != nil {
		n.ArtifactType = m.Config.MediaType
	}
	for _, l := range m.Layers {
		n.Size += l.Size
	}
	n.Created = created(raw)
	n.Kind = kindOf(n.ArtifactType)
	if n.Kind == "other" && m.Subject == nil {
		n.Kind = "model"
	}
	return n, nil
}

// kindOf names artifact types in a word.
func kindOf(artifactType string) string {
	switch {
	case artifactType == mediatypes.ArtifactTransfer:
		return "transfer-index"
	case artifactType == mediatypes.ArtifactVariant:
		return "variant"
	case artifactType == mediatypes.ArtifactModel || artifactType == mediatypes.ArtifactModelKit:
		return "model"
	case strings.HasPrefix(artifactType, "application/vnd.modelreg.card."):
		return "card"
	case strings.HasPrefix(artifactType, "application/vnd.cncf.notary.signature"):
		return "signature"
	case strings.Contains(artifactType, "cyclonedx"), strings.Contains(artifactType, "spdx"):
		return "sbom"
	}
	return "other"
}

// grow hangs what refers to a node below it, and what it holds if it is an
// index.
func (g *growth) grow(ctx context.Context, n *TreeNode, at grown) error {
	if len(at.above) >= MaxTreeDepth {
		g.truncated.Store(true)
		return nil
	}
	refs, signed, err := g.attached(ctx, n, at)
	if err != nil {
		return err
	}
	held, err := g.branches(ctx, at, children(at), false)
	if err != nil {
		return err
	}
	referring, err := g.branches(ctx, at, refs, true)
	if err != nil {
		return err
	}
	n.Attached = append(held, inOrder(merge(signed, referring))...)
	return nil
}

// attached asks for what refers to a node, and for its signatures.
func (g *growth) attached(ctx context.Context, n *TreeNode, at grown) (refs []ocispec.Descriptor, signed []TreeNode, err error) {
	release, err := g.slot(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	refs, err = g.target.repo.Referrers(ctx, at.desc, "")
	switch {
	case errors.Is(err, errdef.ErrNotFound):
	case errors.Is(err, errdef.ErrSizeExceedsLimit):
		g.truncated.Store(true)
	case err != nil:
		return nil, nil, err
	}
	signed, err = g.signed(ctx, n, at, refs)
	return refs, signed, err
}

// inOrder sorts what refers to a node, since registries list it in any order:
// signatures, attestations, then the rest.
func inOrder(nodes []TreeNode) []TreeNode {
	rank := func(n TreeNode) int {
		return slices.Index([]string{"other", "attestation", "signature"}, n.Kind)
	}
	slices.SortStableFunc(nodes, func(a, b TreeNode) int {
		return cmp.Or(
			cmp.Compare(max(rank(b), 0), max(rank(a), 0)),
			cmp.Compare(a.Kind+" "+a.ArtifactType, b.Kind+" "+b.ArtifactType),
			cmp.Compare(a.PredicateType, b.PredicateType),
			cmp.Compare(a.Digest, b.Digest),
		)
	})
	return nodes
}

// children are what an index holds.
func children(at grown) []ocispec.Descriptor {
	if !isIndex(at.desc) {
		return nil
	}
	index, err := mediatypes.ParseIndex(at.raw)
	if err != nil {
		return nil
	}
	return index.Manifests
}

// branches fetches nodes below one, and what is below them.
func (g *growth) branches(ctx context.Context, at grown, list []ocispec.Descriptor, referring bool) ([]TreeNode, error) {
	nodes := make([]TreeNode, len(list))
	above := append(slices.Clone(at.above), at.desc.Digest)
	group, ctx := errgroup.WithContext(ctx)
	for i, desc := range list {
		if slices.Contains(above, desc.Digest) || !g.more() {
			continue
		}
		group.Go(func() error {
			var err error
			nodes[i], err = g.branch(ctx, grown{desc: desc, above: above}, referring)
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(nodes, func(n TreeNode) bool { return n.Digest == "" }), err
}

// branch fetches one node. A referrer has to say itself what it refers to.
func (g *growth) branch(ctx context.Context, b grown, referring bool) (TreeNode, error) {
	release, err := g.slot(ctx)
	if err != nil {
		return TreeNode{}, err
	}
	desc, raw, err := g.target.repo.Manifest(ctx, b.desc.Digest.String())
	release()
	if err != nil {
		if ctx.Err() != nil {
			return TreeNode{}, context.Cause(ctx)
		}
		return TreeNode{
			Kind: kindOf(b.desc.ArtifactType), Digest: b.desc.Digest.String(), MediaType: b.desc.MediaType,
			ArtifactType: b.desc.ArtifactType, Size: b.desc.Size, Problem: err.Error(),
		}, nil
	}
	n, err := g.node(ctx, desc, raw)
	if err != nil || n.Problem != "" {
		return n, err
	}
	if referring && subjectOf(desc, raw) != b.above[len(b.above)-1] {
		n.Problem = "listed here, and refers to another artifact"
		return n, nil
	}
	b.desc, b.raw = desc, raw
	return n, g.grow(ctx, &n, b)
}

func subjectOf(desc ocispec.Descriptor, raw []byte) digest.Digest {
	var subject *ocispec.Descriptor
	if isIndex(desc) {
		index, _ := mediatypes.ParseIndex(raw)
		subject = index.Subject
	} else {
		m, _ := mediatypes.ParseManifest(raw)
		subject = m.Subject
	}
	if subject == nil {
		return ""
	}
	return subject.Digest
}

// signed are the signatures and attestations of a node.
func (g *growth) signed(ctx context.Context, n *TreeNode, at grown, refs []ocispec.Descriptor) ([]TreeNode, error) {
	of := signing.Target{Repository: g.target.ref.Name(), Descriptor: at.desc}
	list, err := signing.ListAttached(ctx, g.target.repo, of, refs, g.trust)
	if errors.Is(err, signing.ErrTooMany) {
		g.truncated.Store(true)
		n.Problem, err = err.Error(), nil
	}
	nodes := make([]TreeNode, 0, len(list))
	for _, a := range list {
		if a.Format == signing.Classic && !g.more() {
			break
		}
		nodes = append(nodes, signedNode(a))
	}
	return nodes, err
}

func signedNode(a signing.Attached) TreeNode {
	n := TreeNode{
		Kind: "attestation", Digest: a.Descriptor.Digest.String(), MediaType: a.Descriptor.MediaType,
		ArtifactType: a.Descriptor.ArtifactType, Size: a.Descriptor.Size, Layout: a.Format.String(), Problem: a.Reason,
	}
	switch {
	case a.IsSignature():
		n.Kind = "signature"
	case a.PredicateType == signing.PredicateOMS:
		n.Kind, n.PredicateType = "model-signing", a.PredicateType
	case a.PredicateType == "":
		n.Kind = "other"
	default:
		n.PredicateType = a.PredicateType
	}
	if a.Claim.Kind != "" || !a.Claim.Time.IsZero() {
		n.Claims = signerOf(a.Claim)
	}
	if a.Signer != nil {
		n.Verified = signerOf(*a.Signer)
	}
	return n
}

func signerOf(s signing.Signatory) *Signer {
	return &signers(&signing.Report{Signers: []signing.Signatory{s}})[0]
}

// merge puts what is known of signatures into the nodes of the referrers that
// hold them, and adds those that are behind a tag.
func merge(signed, nodes []TreeNode) []TreeNode {
	for _, s := range signed {
		if s.Layout == signing.Classic.String() {
			nodes = append(nodes, s)
			continue
		}
		at := slices.IndexFunc(nodes, func(n TreeNode) bool { return n.Digest == s.Digest })
		if at < 0 {
			continue // more than fits, or itself
		}
		n := &nodes[at]
		if s.Kind == "other" && !strings.HasPrefix(n.ArtifactType, "application/vnd.dev.sigstore.bundle") {
			continue // it was only possible that it is a bundle
		}
		n.Kind, n.PredicateType, n.Layout, n.Claims, n.Verified = s.Kind, s.PredicateType, s.Layout, s.Claims, s.Verified
		n.Problem = cmp.Or(n.Problem, s.Problem)
	}
	return nodes
}
