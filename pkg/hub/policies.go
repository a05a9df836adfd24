package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// Rules are what versions are held against.
type Rules struct {
	// Policies must all allow a version.
	Policies []*policy.Policy

	// Roots returns the certificate authorities, logs and timestamp authorities
	// that a policy has this name for. With nil, or an error, no certificate is
	// believed.
	Roots func(name string) (*signing.Roots, error)

	// Skip uses versions whatever policies and signatures say. It is loud, and
	// recorded in what is pulled.
	Skip bool
}

// names are those of the policies.
func (r Rules) names() string {
	var names strings.Builder
	for i, p := range r.Policies {
		if i > 0 {
			names.WriteString(", ")
		}
		names.WriteString(p.String())
	}
	return names.String()
}

// Digest stands for all policies: that of the file, where there is one, or of the
// digests of the files, a line each. It is empty without any.
func (r Rules) Digest() digest.Digest {
	switch len(r.Policies) {
	case 0:
		return ""
	case 1:
		return r.Policies[0].Digest()
	}
	var all strings.Builder
	for _, p := range r.Policies {
		all.WriteString(p.Digest().String() + "\n")
	}
	return digest.FromString(all.String())
}

// rules are what the caller of New says.
func (h *Hub) rules(ctx context.Context) (Rules, error) {
	if h.opts.Rules == nil {
		return Rules{}, nil
	}
	return h.opts.Rules(ctx)
}

// An Explanation is what policies say of a version, rule by rule.
type Explanation struct {
	Reference string            `json:"reference"`
	Digest    string            `json:"digest"`
	Allowed   bool              `json:"allowed"` // by all policies
	Policies  []policy.Decision `json:"policies"`

	err error
}

// Err is nil if the version is allowed, else a *[policy.Refusal]: what a pull
// would stop with.
func (e *Explanation) Err() error { return e.err }

// Explain asks all policies about the version that r resolves to, fetches none
// of its files but what the policies ask for, and notes nothing.
func (h *Hub) Explain(ctx context.Context, r ref.Reference, opts VerifyOptions) (*Explanation, error) {
	t, err := h.model(ctx, r) // as a pull does
	if err != nil {
		return nil, err
	}
	rules, err := h.rules(ctx)
	if err != nil {
		return nil, err
	}
	if len(rules.Policies) == 0 {
		return nil, fmt.Errorf("%w: explain %s: there is no policy", ErrUsage, t.ref)
	}
	decisions, err := h.decide(ctx, r, t, rules, admitOptions{downgrade: opts.AllowDowngrade})
	if err != nil {
		return nil, err
	}
	e := &Explanation{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Allowed: true, Policies: decisions}
	for i := range decisions {
		if err := decisions[i].Err(); err != nil && e.err == nil {
			e.Allowed, e.err = false, fmt.Errorf("%s: %w", t.ref, err)
		}
	}
	return e, nil
}

// verifyPolicies adds to res what policies say. The error is the first refusal,
// or that nobody says anything: there must be somebody who was trusted.
func (h *Hub) verifyPolicies(ctx context.Context, r ref.Reference, t *target, res *VerifyResult, opts VerifyOptions) error {
	rules, err := h.rules(ctx)
	if err != nil {
		return err
	}
	if len(rules.Policies) == 0 {
		if len(res.Signers) == 0 && len(res.Attestations) == 0 {
			return fmt.Errorf("%w: neither a key nor a policy is given", ErrUsage)
		}
		return nil
	}
	decisions, err := h.decide(ctx, r, t, rules, admitOptions{downgrade: opts.AllowDowngrade})
	if err != nil {
		return err
	}
	v := &Verified{Policy: "key", Signers: res.Signers}
	var refusal error
	for i := range decisions {
		d := &decisions[i]
		v.add(d)
		for _, f := range d.Failures() {
			res.fail(f.Rule, fmt.Sprintf("policy %s: found %s, wanted %s", d.Policy, f.Found, f.Wanted))
		}
		for _, w := range d.Warnings() {
			h.warn("%s: policy %s: %s of %s: found %s, wanted %s", t.ref, d.Policy, w.Rule, w.Document, w.Found, w.Wanted)
		}
		for _, a := range d.Attestations {
			res.Attestations = append(res.Attestations, attestation(a))
		}
		if err := d.Err(); err != nil && refusal == nil {
			refusal = err
		}
	}
	res.Policy, res.Signers = v.Policy, v.Signers
	return refusal
}

func attestation(a signing.Attestation) Attestation {
	return Attestation{
		PredicateType: a.Type, Predicate: json.RawMessage(a.Raw), Digest: a.Descriptor.Digest.String(),
		Signer: signers(&signing.Report{Signers: []signing.Signatory{a.Signer}})[0],
	}
}
