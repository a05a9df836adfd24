package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const licensesKey = ocispec.AnnotationLicenses

// cardOf reads the card that a version was released with. One that is not there,
// or cannot be read, says nothing.
func (g *genealogy) cardOf(ctx context.Context, t *target) (card.Metadata, error) {
	a, err := artifact.OpenWith(ctx, t.place(), t.desc, artifact.OpenOptions{AllowCollisions: true})
	if err != nil {
		return card.Metadata{}, nil // no model: a dataset, code
	}
	for _, f := range a.Files {
		if f.Path != cardFile || f.Archive || f.Size > card.MaxBytes {
			continue
		}
		raw, err := readWhole(ctx, t, a, f.Path)
		if err != nil {
			return card.Metadata{}, err
		}
		if c, err := card.Parse(raw); err == nil {
			return c.Meta, nil
		}
	}
	return card.Metadata{}, nil
}

// trusted finds out who has signed a version, what became of it, and what scans
// of it found.
func (g *genealogy) trusted(ctx context.Context, r *relative) error {
	t := r.target
	refs, err := t.repo.Referrers(ctx, t.signed, "")
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("list what is attached: %w", err)
	}
	for _, d := range refs {
		if d.ArtifactType == mediatypes.ArtifactDerived {
			r.notes = append(r.notes, d)
		}
	}
	if r.node.Signatures, err = signatures(ctx, t, refs); err != nil {
		return fmt.Errorf("count signatures: %w", err)
	}
	if slices.ContainsFunc(refs, func(d ocispec.Descriptor) bool { return d.ArtifactType == mediatypes.ArtifactCard }) {
		g.revised(ctx, r)
	}
	if len(refs) > 0 {
		state, err := g.hub.statusOf(ctx, t, g.opts.Trust)
		if err != nil {
			return err
		}
		if state.State != record.Active {
			r.node.State, r.node.Reason = string(state.State), state.Reason
		}
	}
	if g.opts.Trust == nil || len(refs) == 0 && r.node.Signatures == 0 {
		return nil
	}
	return g.judged(ctx, r)
}

// revised takes the licence from a card that was attached later and counts.
func (g *genealogy) revised(ctx context.Context, r *relative) {
	c, err := g.hub.effectiveCard(ctx, r.target, g.opts.Trust)
	if err != nil || !c.counts() {
		return
	}
	if doc, err := c.Card(); err == nil && len(doc.Meta.Licenses) > 0 {
		r.node.Licenses = cardLicences(doc.Meta)
	}
}

// judged asks what trusted parties have signed.
func (g *genealogy) judged(ctx context.Context, r *relative) error {
	t := r.target
	report, err := signing.Verify(ctx, t.repo, t.signing(), *g.opts.Trust)
	switch {
	case errors.Is(err, signing.ErrNoSignature), errors.Is(err, signing.ErrUntrusted):
	case err != nil:
		return err
	default:
		r.node.Signers = signers(report)
	}
	stated, err := signing.Attestations(ctx, t.repo, t.signing(), *g.opts.Trust)
	if err != nil {
		return err
	}
	var newest time.Time
	for _, a := range stated.Attestations {
		switch a.Type {
		case policy.TypeScan:
			if verdict, at := scanVerdict(a.Raw); verdict != "" && !at.Before(newest) {
				r.node.Scan, newest = verdict, at
			}
		case provenance.PredicateType:
			differences, _ := disagreement(a.Raw, r.edges) // what cannot be read tells of none
			for _, d := range differences {
				g.hubWarn(r, "provenance", d)
			}
		}
	}
	return nil
}

// scanVerdict reads what a scan found, and when.
func scanVerdict(raw []byte) (verdict string, at time.Time) {
	var p struct {
		Scanner struct {
			Result struct {
				Verdict string `json:"verdict"`
			} `json:"result"`
		} `json:"scanner"`
		Metadata struct {
			Finished time.Time `json:"scanFinishedOn"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", at
	}
	return p.Scanner.Result.Verdict, p.Metadata.Finished
}

// disagreement compares what a provenance says that a version was made of with
// what the version says. The error is about a provenance that cannot be read.
func disagreement(raw []byte, edges []lineage.Edge) ([]string, error) {
	var p struct {
		BuildDefinition struct {
			ResolvedDependencies []provenance.Resource `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("read provenance: %w", err)
	}
	named := slices.DeleteFunc(p.BuildDefinition.ResolvedDependencies, func(d provenance.Resource) bool { return !isInput(d) })
	var out []string
	var known []provenance.Resource
	for _, e := range edges {
		own := dependency(e)
		known = append(known, own)
		if e.ImportedFrom != "" {
			known = append(known, dependency(lineage.Edge{Relation: e.Relation, Reference: strings.TrimPrefix(e.ImportedFrom, "oci:")}))
		}
		inManifest := e.Said != "card" && e.Said != "origin"
		if inManifest && !slices.ContainsFunc(named, func(d provenance.Resource) bool {
			return sameBytes(d, own) || len(own.Digest) == 0 && sameAddress(d, own)
		}) {
			out = append(out, fmt.Sprintf("it says that it was made of %.200s, its provenance does not", cmp.Or(e.Reference, e.Digest.String())))
		}
	}
	for _, d := range named {
		if !slices.ContainsFunc(known, func(own provenance.Resource) bool {
			return sameBytes(d, own) || (len(d.Digest) == 0 || len(own.Digest) == 0) && sameAddress(d, own)
		}) {
			out = append(out, fmt.Sprintf("its provenance says that it was made of %.200s, it does not say so itself", inputText(d)))
		}
	}
	return out[:min(len(out), maxDisagreements)], nil
}

// maxDisagreements bounds what is told of one provenance.
const maxDisagreements = 32

// isInput tells whether a dependency is something that versions name themselves.
func isInput(d provenance.Resource) bool {
	return slices.Contains([]string{provenance.NameBaseModel, provenance.NameDataset, provenance.NameCode}, d.Name)
}

// withoutCommit is the address of something on the Hugging Face Hub as it is when
// no commit is known: who names that names the same.
func withoutCommit(uri string) string {
	name, _, _ := strings.Cut(uri, "/tree/")
	return name
}

// sameBytes tells whether two names of inputs have a digest in common, and none that
// differs.
func sameBytes(d, own provenance.Resource) bool {
	same := false
	for algorithm, value := range d.Digest {
		other := own.Digest[algorithm]
		if value == "" || other == "" {
			continue
		}
		if value != other {
			return false
		}
		same = true
	}
	return same && d.Name == own.Name
}

// sameAddress tells whether two names of inputs are the same but for commits. What
// has no address is not the same as something else that has none.
func sameAddress(d, own provenance.Resource) bool {
	return d.Name == own.Name && d.URI != "" && withoutCommit(d.URI) == withoutCommit(own.URI)
}

// inputText is what a dependency is called in a message.
func inputText(d provenance.Resource) string {
	if d.URI != "" {
		return d.URI
	}
	for _, algorithm := range slices.Sorted(maps.Keys(d.Digest)) {
		return algorithm + ":" + d.Digest[algorithm]
	}
	return "a " + d.Name + " with neither address nor digest"
}

// hubWarn adds a warning about a node.
func (g *genealogy) hubWarn(r *relative, kind, message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.warned = append(g.warned, LineageWarning{Kind: kind, Node: r.node.ID, Message: message})
}
