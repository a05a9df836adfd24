package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// Provenance says what [Hub.Push] and [Hub.Import] are to attest of how they make
// a version. What it is made of is added to it: the inputs, and what the card names
// as base models and datasets.
type Provenance struct {
	// Environment is where it is made; see [provenance.Detect].
	Environment provenance.Environment

	// Version is that of the program.
	Version string

	// Parameters are what the user asked for, by name.
	Parameters map[string]string
}

// A making is a provenance while the version is being made.
type making struct {
	build provenance.Build
}

// making begins a provenance: it resolves what the version is made of.
func (h *Hub) making(ctx context.Context, kind string, r ref.Reference, opts PushOptions) (*making, error) {
	p := opts.Provenance
	if p == nil {
		return nil, nil
	}
	if opts.Signer == nil {
		return nil, fmt.Errorf("%w: provenance of %s: it says nothing unsigned: give a signer", ErrUsage, r)
	}
	m := &making{build: provenance.Build{
		Type: kind, Environment: p.Environment, Version: p.Version, Parameters: p.Parameters,
		Reference: r.Name() + ":" + r.Tag, Started: time.Now(),
	}}
	for _, e := range opts.inputs {
		m.build.Dependencies = append(m.build.Dependencies, dependency(e))
	}
	return m, nil
}

func byAlgorithm(d digest.Digest) map[string]string {
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// imported adds what a version was imported from.
func (m *making) imported(o Origin) {
	if m == nil {
		return
	}
	switch {
	case o.Hub == "hf":
		m.build.Dependencies = append(m.build.Dependencies, provenance.HuggingFace(provenance.NameOrigin, o.ID, o.Commit))
	case provenance.IsCommit(o.Commit):
		m.build.Dependencies = append(m.build.Dependencies, provenance.Resource{
			Name: provenance.NameOrigin, URI: o.Name, Digest: map[string]string{"gitCommit": o.Commit},
		})
	default:
		r := provenance.Resource{Name: provenance.NameOrigin, URI: o.Name}
		if d, err := digest.Parse(o.Commit); err == nil {
			r.Digest = byAlgorithm(d)
		}
		m.build.Dependencies = append(m.build.Dependencies, r)
	}
}

// finish says how t was made, signed, unless the signer has said the same of an
// earlier run. It returns how many attestations it made.
func (h *Hub) finish(ctx context.Context, t *target, signer *signing.Signer, m *making) (int, error) {
	if m == nil {
		return 0, nil
	}
	for _, e := range lineage.Edges(annotationsOf(t.raw), card.Metadata{}) {
		if e.Said != "origin" {
			m.build.Dependencies = append(m.build.Dependencies, dependency(e))
		}
	}
	m.build.Finished = time.Now()
	raw, err := m.build.Predicate()
	if err != nil {
		return 0, fmt.Errorf("provenance of %s: %w", t.ref, err)
	}
	there, err := h.saidBefore(ctx, t, signer, func(p signing.Predicate) bool {
		return p.Type == provenance.PredicateType && provenance.Same(p.Raw, raw)
	})
	if err != nil || there {
		return 0, err
	}
	of := signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}
	made, err := signing.Attest(ctx, t.repo, of, signer, signing.Predicate{Type: provenance.PredicateType, Raw: raw}, signing.AttestOptions{})
	if err != nil {
		return 0, fmt.Errorf("provenance of %s: %w", t.ref, err)
	}
	if made.Digest == "" {
		return 0, nil
	}
	return 1, nil
}

// saidBefore tells whether the signer's key has signed a statement about t that
// is like the one looked for.
func (h *Hub) saidBefore(ctx context.Context, t *target, signer *signing.Signer, like func(signing.Predicate) bool) (bool, error) {
	if signer.Public() == nil {
		return false, nil // a keyless signer cannot tell what it has signed
	}
	trust := signing.Trust{Keys: []*signing.PublicKey{signer.Public()}}
	report, err := signing.Attestations(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, trust)
	if err != nil {
		return false, fmt.Errorf("read attestations of %s: %w", t.ref, err)
	}
	for _, a := range report.Attestations {
		if like(a.Predicate) {
			return true, nil
		}
	}
	return false, nil
}
