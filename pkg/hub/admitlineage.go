package hub

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A familyKey is what lineages are kept by while policies are asked: several
// documents and policies ask about one version.
type familyKey struct {
	version digest.Digest
	depth   int
	check   bool
}

// lineage finds out what documents ask about what a version was made of; nil if
// none does, and then nobody is asked anything.
func (a asking) lineage(ctx context.Context, t *target, docs []*policy.Document) (*policy.LineageFacts, error) {
	key := familyKey{version: t.desc.Digest}
	docs = slices.DeleteFunc(slices.Clone(docs), func(d *policy.Document) bool { return !d.Model.AsksLineage() })
	if len(docs) == 0 {
		return nil, nil
	}
	if t.kept {
		return &policy.LineageFacts{Problem: "what a pull keeps does not tell: ask about the version in its registry"}, nil
	}
	for _, d := range docs {
		key.depth = max(key.depth, d.Model.Lineage.Depth)
		key.check = key.check || d.Model.Lineage.Checked
	}
	g, ok := a.families[key]
	if !ok {
		var err error
		if g, err = a.hub.ancestry(ctx, t, key); err != nil {
			return nil, err
		}
		a.families[key] = g
	}
	facts := g.facts()
	for i := range facts.Ancestors {
		if err := a.vouchedFor(ctx, g.order[i+1], &facts.Ancestors[i], docs); err != nil {
			return nil, err
		}
	}
	return &facts, nil
}

// differences compares the provenances that authorities have attested with what the
// version says that it was made of, and the index that it was chosen from; nil if
// no document asks. A provenance that cannot be read is left out.
func (a asking) differences(ctx context.Context, t *target, docs []*policy.Document, found map[policy.Source]policy.Evidence) (map[digest.Digest][]string, error) {
	if !slices.ContainsFunc(docs, func(d *policy.Document) bool { return d.Model.ProvenanceInputs }) {
		return nil, nil
	}
	all, err := annotationsOfAll(ctx, t)
	if err != nil {
		return nil, err
	}
	var edges []lineage.Edge
	var unread []string
	for _, an := range all {
		edges = append(edges, lineage.Edges(an, card.Metadata{})...)
		if err := lineage.Complete(an, card.Metadata{}); err != nil {
			unread = []string{"what it says itself that it was made of cannot be read: " + err.Error()}
		}
	}
	out := map[digest.Digest][]string{}
	for _, e := range found {
		for _, at := range e.Attestations {
			if at.Type != provenance.PredicateType {
				continue
			}
			if differences, err := disagreement(at.Raw, edges); err == nil {
				out[digest.FromBytes(at.Raw)] = slices.Concat(unread, differences)
			}
		}
	}
	return out, nil
}

// annotationsOfAll are the annotations of a version, and of the index that it was
// chosen from.
func annotationsOfAll(ctx context.Context, t *target) ([]map[string]string, error) {
	all := []map[string]string{annotationsOf(t.raw)}
	if t.signed.Digest != t.desc.Digest {
		_, raw, err := t.reader().Manifest(ctx, t.signed.Digest.String())
		if err != nil {
			return nil, err
		}
		all = append(all, annotationsOf(raw))
	}
	return all, nil
}

// ancestry goes up from a version whose use is being decided on. It asks no
// policy, since it is one that asks, and of the version itself it believes
// nothing but its manifest and the files that this names.
func (h *Hub) ancestry(ctx context.Context, t *target, key familyKey) (*genealogy, error) {
	g := &genealogy{hub: h, opts: LineageOptions{Depth: key.depth, NoCheck: !key.check}, known: map[string]*relative{}, unadmitted: true}
	root := g.add(t.ref.Name()+"@"+t.desc.Digest.String(), "model")
	root.node.Reference, root.node.Digest, root.target = nameOf(t), t.desc.Digest.String(), t
	if err := g.namedBy(ctx, root); err != nil {
		return nil, err
	}
	if err := g.up(ctx, root); err != nil {
		return nil, err
	}
	return g, g.check(ctx)
}

// namedBy reads what a version says that it was made of, and what the index says
// that it was chosen from.
func (g *genealogy) namedBy(ctx context.Context, root *relative) error {
	t := root.target
	all, err := annotationsOfAll(ctx, t)
	if err != nil {
		return err
	}
	meta, err := g.said(ctx, t, all[0], root)
	if err != nil {
		return err
	}
	for _, an := range all {
		for _, e := range lineage.Edges(an, meta) {
			if !slices.Contains(root.edges, e) {
				root.edges = append(root.edges, e)
			}
		}
		if err := lineage.Complete(an, meta); err != nil {
			root.node.Problem = err.Error()
		}
	}
	root.node.Read = true
	return nil
}

// facts are what a policy goes by: the ancestors in the order of the nodes after
// the first, which is the version.
func (g *genealogy) facts() policy.LineageFacts {
	root := g.order[0]
	f := policy.LineageFacts{Problem: root.node.Problem, Cut: g.cut}
	steps, bases := g.steps(), g.ancestors(root)
	for _, r := range g.order[1:] {
		a := policy.Ancestor{
			Name: nodeName(r.node), Steps: steps[r.node.ID], Base: slices.Contains(bases, r),
			InRegistry: r.inRegistry, Problem: r.node.Problem, Reason: r.node.Reason,
		}
		if r.node.State == "yanked" {
			a.State = r.node.State
		}
		if a.InRegistry && !r.node.Read && a.Problem == "" {
			a.Problem = "it could not be read"
		}
		g.edgeFacts(root, r, &a)
		f.Ancestors = append(f.Ancestors, a)
	}
	return f
}

// edgeFacts are what is known of the edges that lead from an ancestor.
func (g *genealogy) edgeFacts(root, r *relative, a *policy.Ancestor) {
	direct := lineage.Relation("")
	for _, e := range g.edges {
		if e.Input != r.node.ID || !e.Relation.OfModels() {
			continue
		}
		output := g.known[e.Output]
		a.Unpinned = a.Unpinned || !e.Pinned
		if output == root {
			direct = e.Relation
		}
		if e.Claim.Verdict == lineage.Contradicted || output.target != nil && r.target != nil && (r.weights.err != nil || output.weights.err != nil) {
			a.Claims = append(a.Claims, string(e.Relation)+" "+nodeName(output.node)+": "+e.Claim.Reason)
		}
	}
	child, base := root.node.Licenses, r.node.Licenses
	if a.Base && r.node.Read && (direct != lineage.Origin || !slices.EqualFunc(child, base, strings.EqualFold)) {
		a.LicenceConflict = lineage.LicenceConflict(child, base)
	}
}

// nodeName is what a policy calls a node: the reference that led to it, with the
// registry.
func nodeName(n LineageNode) string {
	if n.Reference == "" {
		return n.Digest
	}
	return n.Reference
}

// steps are how far nodes are from the first.
func (g *genealogy) steps() map[string]int {
	out := map[string]int{g.order[0].node.ID: 0}
	for level, n := []string{g.order[0].node.ID}, 1; len(level) > 0; n++ {
		var next []string
		for _, e := range g.edges {
			if _, ok := out[e.Input]; !ok && slices.Contains(level, e.Output) {
				out[e.Input] = n
				next = append(next, e.Input)
			}
		}
		level = next
	}
	return out
}

// vouchedFor adds what authorities signed of an ancestor, as far as documents ask.
func (a asking) vouchedFor(ctx context.Context, r *relative, to *policy.Ancestor, docs []*policy.Document) error {
	if r.target == nil || to.Problem != "" {
		return nil
	}
	if r.repo == nil {
		r.repo = newMemory(r.target.reader())
	}
	ctx = strangers(ctx, r.stranger)
	to.Evidence = map[policy.Source]policy.Evidence{}
	for _, d := range docs {
		l := d.Model.Lineage
		if to.Steps > l.Depth || !(l.Signed && to.Base) && !l.AsksStatements() {
			continue
		}
		for i := range d.Authorities {
			authority := &d.Authorities[i]
			if authority.Static != "" {
				continue
			}
			e, err := a.rules.ancestorEvidence(ctx, r, d, authority)
			if err != nil && ctx.Err() != nil {
				return err
			}
			if err != nil {
				to.Problem = "what is attached to it could not be read: " + err.Error()
				return nil
			}
			to.Evidence[policy.Source{Document: d.Name, Authority: authority.Name}] = e
		}
	}
	return nil
}

// ancestorEvidence is what an authority signed of an ancestor.
func (r Rules) ancestorEvidence(ctx context.Context, rel *relative, d *policy.Document, a *policy.Authority) (e policy.Evidence, err error) {
	trust, missing := r.trustOf(d, a)
	if missing != "" {
		return policy.Evidence{Reason: missing}, nil
	}
	about := rel.target.signing()
	if d.Model.Lineage.Signed && len(a.Attestations) == 0 {
		report, err := signing.Verify(ctx, rel.repo, about, trust)
		switch {
		case errors.Is(err, signing.ErrNoSignature), errors.Is(err, signing.ErrUntrusted):
			e.Reason = err.Error()
		case err != nil:
			return e, err
		default:
			e.Signers = report.Signers
		}
	}
	if d.Model.Lineage.AsksStatements() || len(a.Attestations) > 0 {
		report, err := signing.Attestations(ctx, rel.repo, about, trust)
		if err != nil {
			return e, err
		}
		e.Attestations = report.Attestations
	}
	return e, nil
}
