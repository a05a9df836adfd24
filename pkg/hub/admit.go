package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// admitOptions adjusts [Hub.admit].
type admitOptions struct {
	// trust, if not nil, must have signed the version, besides what policies say.
	trust *signing.Trust

	downgrade bool // a tag may go back to an older version
	checkOnly bool // nothing is noted
	raw       bool // it is taken for what it is made of
}

// admit is the one place where it is decided whether bytes of a version may be
// used: whoever is about to write, print or hand on what t holds asks here
// first, with the reference that the user gave, and goes on with t alone, whose
// digest was decided on.
//
// The result is nil when nobody asked for anything. An error is a
// *[policy.Refusal], one of package signing, or says that the answer is not
// known.
func (h *Hub) admit(ctx context.Context, r ref.Reference, t *target, opts admitOptions) (*Verified, error) {
	rules, err := h.rules(ctx)
	if err != nil {
		return nil, err
	}
	if rules.Skip && opts.trust != nil {
		return nil, fmt.Errorf("%w: verify %s: a signature is asked for, and that none is looked at", ErrUsage, t.ref)
	}
	if rules.Skip {
		h.warn("%s is NOT VERIFIED: %s", t.ref, rules.skipped())
		return nil, nil
	}
	if opts.trust == nil && len(rules.Policies) == 0 {
		return nil, nil
	}
	v := &Verified{Policy: "key", Signers: []Signer{}, Attestations: []string{}}
	if opts.trust != nil {
		report, err := signing.Verify(ctx, t.reader(), t.signing(), *opts.trust)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", t.ref, err)
		}
		t.vouch(report.Signers...)
		v.Signers = signers(report)
	}
	decisions, err := h.decide(ctx, r, t, rules, opts)
	if err != nil {
		return nil, err
	}
	for i := range decisions {
		d := &decisions[i]
		for _, w := range d.Warnings() {
			h.warn("%s: policy %s: %s of %s: found %s, wanted %s", t.ref, d.Policy, w.Rule, w.Document, w.Found, w.Wanted)
		}
		if err := d.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", t.ref, err)
		}
		v.add(d)
	}
	if err := h.accept(ctx, r, t, acceptOptions{downgrade: opts.downgrade, checkOnly: opts.checkOnly}); err != nil {
		return nil, fmt.Errorf("verify %s: %w", t.ref, err)
	}
	return v, nil
}

// admission is what is recorded of the answer.
func (h *Hub) admission(ctx context.Context, v *Verified) (artifact.Admission, error) {
	rules, err := h.rules(ctx)
	if err != nil {
		return artifact.Admission{}, err
	}
	switch {
	case rules.Skip:
		return artifact.Admission{Skipped: true}, nil
	case v != nil:
		return artifact.Admission{Policy: v.Policy}, nil
	}
	return artifact.Admission{}, nil
}

// skipped tells what is not looked at.
func (r Rules) skipped() string {
	if len(r.Policies) == 0 {
		return "no signature is looked at"
	}
	return "not applied: policy " + r.names()
}

// add notes what a policy allowed the version for.
func (v *Verified) add(d *policy.Decision) {
	if v.Policy == "key" {
		v.Policy = d.Policy
	} else {
		v.Policy += ", " + d.Policy
	}
	for _, s := range signers(&signing.Report{Signers: d.Signers}) {
		if !slices.ContainsFunc(v.Signers, func(o Signer) bool {
			return o.KeyFingerprint == s.KeyFingerprint && o.Identity == s.Identity && o.Issuer == s.Issuer
		}) {
			v.Signers = append(v.Signers, s)
		}
	}
	for _, a := range d.Attestations {
		if !slices.Contains(v.Attestations, a.Type) {
			v.Attestations = append(v.Attestations, a.Type)
		}
	}
}

// decide asks every policy. All decisions are there, also after one that
// refuses.
func (h *Hub) decide(ctx context.Context, r ref.Reference, t *target, rules Rules, opts admitOptions) ([]policy.Decision, error) {
	if len(rules.Policies) == 0 {
		return nil, nil
	}
	rollback, err := h.rollback(ctx, r, t, opts)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", t.ref, err)
	}
	tag := t.ref.Tag
	if r.Digest != "" || r.Prefix != "" {
		tag = "" // beside a digest it is what somebody typed, wherever it leads
	}
	counted := func(desc ocispec.Descriptor) { t.vouched = append(t.vouched, desc) }
	a := asking{hub: h, counted: counted, families: map[familyKey]*genealogy{}, rules: rules, repo: newMemory(t.reader()), raw: opts.raw, facts: policy.Facts{
		Tag: tag, Pinned: r.Digest != "", Now: time.Now(), Rollback: rollback,
	}}
	out := make([]policy.Decision, 0, len(rules.Policies))
	for _, a.facts.Repository = range t.names() {
		for _, p := range rules.Policies {
			d, err := a.policy(ctx, p, t)
			if err != nil {
				return nil, fmt.Errorf("verify %s: %w", t.ref, err)
			}
			out = append(out, d)
		}
	}
	return out, nil
}

// An asking is what all policies are asked with.
type asking struct {
	hub      *Hub
	families map[familyKey]*genealogy
	rules    Rules
	repo     signing.Reader
	counted  func(ocispec.Descriptor) // is told of what authorities have signed
	facts    policy.Facts             // but for those of one manifest
	raw      bool
}

// policy asks one policy. About an index of models it is asked for each of them,
// if that matters to it, and the worst answer is that for the index.
func (a asking) policy(ctx context.Context, p *policy.Policy, t *target) (worst policy.Decision, err error) {
	docs := p.Deciding(a.facts.Repository)
	asked := []*target{t}
	if slices.ContainsFunc(docs, asksModels) {
		if asked, err = t.models(ctx); err != nil {
			return worst, err
		}
	}
	for i, m := range asked {
		f, err := a.about(ctx, m, docs)
		if err != nil {
			return worst, err
		}
		if d := p.Decide(f); i == 0 || worse(&d, &worst) {
			worst = d
		}
	}
	return worst, nil
}

// about finds out what the documents go by.
func (a asking) about(ctx context.Context, t *target, docs []*policy.Document) (policy.Facts, error) {
	f := a.facts
	f.Digest = t.desc.Digest
	var err error
	if f.Evidence, err = a.rules.evidence(ctx, a.repo, t, docs); err != nil {
		return f, err
	}
	for _, e := range f.Evidence {
		for _, s := range slices.Concat(e.Signers, e.OMS) {
			a.counted(s.Descriptor)
		}
		for _, s := range slices.Concat(e.Attestations, e.Chosen) {
			a.counted(s.Descriptor)
		}
	}
	if f.Differences, err = a.differences(ctx, t, docs, f.Evidence); err != nil {
		return f, err
	}
	if f.Lineage, err = a.lineage(ctx, t, docs); err != nil {
		return f, err
	}
	if slices.ContainsFunc(docs, func(d *policy.Document) bool { return d.Model.AsksFiles() }) {
		f.Model, err = modelFacts(ctx, t, a.raw)
	}
	return f, err
}

// asksModels tells whether a document goes by what is in models or said of them,
// which an index of them does not tell.
func asksModels(d *policy.Document) bool {
	return d.Model.AsksFiles() || d.Model.AsksLineage() || d.Model.ProvenanceInputs || d.RequireOMS || d.AsksChosen()
}

// worse tells whether more is wrong by the first of two decisions.
func worse(d, than *policy.Decision) bool {
	return cmp.Or(cmp.Compare(len(d.Failures()), len(than.Failures())), cmp.Compare(len(d.Warnings()), len(than.Warnings()))) > 0
}

// rollback tells how the tag went back, in words; empty if it did not, or may.
func (h *Hub) rollback(ctx context.Context, r ref.Reference, t *target, opts admitOptions) (string, error) {
	err := h.accept(ctx, r, t, acceptOptions{downgrade: opts.downgrade, checkOnly: true})
	if errors.Is(err, signing.ErrRollback) {
		return strings.TrimPrefix(err.Error(), "check "), nil
	}
	return "", err
}

// signing is the version as package signing has it.
func (t *target) signing() signing.Target {
	return signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}
}

// evidence verifies, for each authority of the documents, what it signed.
func (r Rules) evidence(ctx context.Context, repo signing.Reader, t *target, docs []*policy.Document) (map[policy.Source]policy.Evidence, error) {
	out := map[policy.Source]policy.Evidence{}
	for _, d := range docs {
		for i := range d.Authorities {
			a := &d.Authorities[i]
			if a.Static != "" {
				continue
			}
			e, err := r.evidenceOf(ctx, repo, t, d, a)
			if err != nil {
				return nil, err
			}
			out[policy.Source{Document: d.Name, Authority: a.Name}] = e
		}
	}
	return out, nil
}

func (r Rules) evidenceOf(ctx context.Context, repo signing.Reader, t *target, d *policy.Document, a *policy.Authority) (policy.Evidence, error) {
	trust, missing := r.trustOf(d, a)
	if missing != "" {
		return policy.Evidence{Reason: missing}, nil
	}
	var e policy.Evidence
	if len(a.Attestations) == 0 {
		report, err := signing.Verify(ctx, repo, t.signing(), trust)
		switch {
		case errors.Is(err, signing.ErrNoSignature), errors.Is(err, signing.ErrUntrusted):
			e.Reason = err.Error()
		case err != nil:
			return e, err
		default:
			e.Signers = report.Signers
		}
	}
	if d.AsksStatements() {
		report, err := signing.Attestations(ctx, repo, t.signing(), trust)
		if err != nil {
			return e, err
		}
		e.Attestations = report.Attestations
	}
	if d.AsksChosen() && t.desc.Digest != t.signed.Digest {
		report, err := signing.Attestations(ctx, repo, t.version(), trust)
		if err != nil {
			return e, err
		}
		e.Chosen = report.Attestations
	}
	var err error
	if d.RequireOMS {
		e.OMS, err = modelSigners(ctx, repo, t, modelTrust{Trust: trust, all: d.OMSAllFiles || d.Passes() && len(e.Signers) == 0})
	}
	return e, err
}

// A modelTrust is whose signature of files counts.
type modelTrust struct {
	signing.Trust

	// all says that no file may be left out of it: since nobody need have signed
	// the manifest, or as a document asks.
	all bool
}

// modelSigners are those whose OpenSSF model signature covers the files of the
// version. What is wrong with one signature passes that over.
func modelSigners(ctx context.Context, repo signing.Reader, t *target, trust modelTrust) ([]signing.Signatory, error) {
	a, err := artifact.OpenWith(ctx, t.place(), t.desc, artifact.OpenOptions{AllowCollisions: true})
	if errors.Is(err, artifact.ErrNotModel) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []signing.Signatory
	for raw, err := range signing.DetachedOf(ctx, repo, t.version(), oms.PredicateType) {
		if err != nil {
			return nil, err
		}
		v, err := oms.Verify(ctx, raw, trust.Trust)
		if err != nil || trust.all && !listsAll(v.Statement, a) {
			continue
		}
		if _, err := aboutFiles(ctx, raw, a, &trust.Trust); err == nil {
			v.Signer.Descriptor.Digest = digest.FromBytes(raw) // of the one layer of what it is attached as
			out = append(out, v.Signer)
		}
	}
	return out, nil
}

// trustOf is whom an authority stands for, or why that is not known.
func (r Rules) trustOf(d *policy.Document, a *policy.Authority) (trust signing.Trust, missing string) {
	trust = signing.Trust{
		Keys: a.Keys, Identities: a.Identities, Authorities: a.CA, MatchRepository: d.MatchRepository,
		RequireLog: a.Log, RequireTimestamp: a.Timestamp, IgnoreLog: a.IgnoreLog, IgnoreSCT: a.IgnoreSCT,
	}
	needed := len(a.Identities) > 0 || a.Log || a.Timestamp
	if !needed && a.TrustRoot == "" {
		return trust, ""
	}
	err := errors.New("no trusted root is known here")
	if r.Roots != nil {
		trust.Roots, err = r.Roots(a.TrustRoot)
	}
	if err != nil && needed {
		return trust, err.Error()
	}
	return trust, ""
}
