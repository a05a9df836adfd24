package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// An Attestation is what a trusted party says of a version.
type Attestation struct {
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
	Signer        Signer          `json:"signer"`
	Digest        string          `json:"digest"` // of what holds it
}

// AttestResult says what [Hub.Attest] did.
type AttestResult struct {
	Reference     string `json:"reference"`
	Digest        string `json:"digest"`
	PredicateType string `json:"predicateType"`
	Attestations  int    `json:"attestations"` // made now: 0 when the same was said before
	Attestation   string `json:"attestation"`  // digest of the manifest that holds it; empty when none was made
}

// Attest signs what p says of the version that r resolves to, and attaches it.
func (h *Hub) Attest(ctx context.Context, r ref.Reference, s *signing.Signer, p signing.Predicate, opts signing.AttestOptions) (*AttestResult, error) {
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &AttestResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), PredicateType: p.Type}
	made, err := signing.Attest(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, s, p, opts)
	if err != nil {
		return nil, fmt.Errorf("attest %s: %w", t.ref, err)
	}
	if made.Digest != "" {
		res.Attestations, res.Attestation = 1, made.Digest.String()
	}
	return res, nil
}

// attestations adds to res what trust attests of t, of the types that are
// wanted, and fails when one of these is missing.
func (h *Hub) attestations(ctx context.Context, t *target, trust signing.Trust, wanted []string, res *VerifyResult) error {
	if len(wanted) == 0 {
		return nil
	}
	report, err := signing.Attestations(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, trust)
	if err != nil {
		res.fail("attestation", err.Error())
		return err
	}
	var reasons []string
	for _, rej := range report.Rejected {
		res.fail("attestation", rej.String())
		reasons = append(reasons, rej.Reason)
	}
	res.Attestations = attestationsOf(report, wanted)
	res.Warnings = disagreements(report, t.raw)
	var missing []error
	for _, predicateType := range wanted {
		if slices.ContainsFunc(res.Attestations, func(a Attestation) bool { return a.PredicateType == predicateType }) {
			continue
		}
		err := fmt.Errorf("%w of type %s", signing.ErrNoAttestation, predicateType)
		res.fail("attestation", err.Error())
		missing = append(missing, err)
	}
	if len(missing) > 0 && len(reasons) > 0 {
		missing = append(missing, errors.New(strings.Join(reasons[:min(3, len(reasons))], "; ")))
	}
	return joinOnLine(missing)
}

// disagreements tells where trusted provenances and the version itself differ in
// what it was made of.
func disagreements(report *signing.AttestationReport, manifest []byte) []string {
	edges := lineage.Edges(annotationsOf(manifest), card.Metadata{})
	var out []string
	for _, a := range report.Attestations {
		if a.Type == provenance.PredicateType {
			differences, _ := disagreement(a.Raw, edges) // what cannot be read tells of none
			out = append(out, differences...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// joinOnLine is [errors.Join] on one line.
func joinOnLine(errs []error) error {
	var joined error
	for _, err := range errs {
		if joined == nil {
			joined = err
			continue
		}
		joined = fmt.Errorf("%w; %w", joined, err)
	}
	return joined
}

// attestationsOf are those of the types that are wanted.
func attestationsOf(report *signing.AttestationReport, wanted []string) []Attestation {
	out := []Attestation{}
	for _, a := range report.Attestations {
		if !slices.Contains(wanted, a.Type) {
			continue
		}
		out = append(out, attestation(a))
	}
	return out
}

func (r *VerifyResult) fail(rule, reason string) {
	r.Failures = append(r.Failures, VerifyFailure{Rule: rule, Reason: reason})
}
