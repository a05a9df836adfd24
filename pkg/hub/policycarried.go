package hub

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A CarriedPolicy is a policy of a registry for where that cannot be reached.
type CarriedPolicy struct {
	Reference string // where it was, with its digest
	File      []byte // the policy

	// Signed is the artifact and the signatures that counted. Nobody need
	// believe it: [Hub.CarriedPolicy] verifies it as [Hub.FetchPolicy] does.
	Signed []byte
}

// CarryPolicy is [Hub.FetchPolicy] for a policy that is going to be taken along.
func (h *Hub) CarryPolicy(ctx context.Context, r ref.Reference, opts PolicyOptions) (*CarriedPolicy, error) {
	if err := opts.check(r); err != nil {
		return nil, err
	}
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("fetch policy: %w", err)
	}
	t.witness = newWitness(t.repo)
	f, err := h.readPolicy(ctx, r, t, opts)
	if err != nil {
		return nil, err
	}
	e := proof{
		Version: proofVersion, Repository: t.ref.Name(), Signed: plain(t.signed), Tags: map[string]ocispec.Descriptor{},
		Blobs: map[digest.Digest][]byte{t.desc.Digest: t.raw, f.layer.Digest: f.raw},
	}
	t.witness.signatures(&e, t.vouched)
	signed, err := json.Marshal(e, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("carry policy %s: %w", t.ref, err)
	}
	return &CarriedPolicy{Reference: t.ref.String(), File: f.raw, Signed: signed}, nil
}

// CarriedPolicy reads the policy that r stands for from what was carried, and
// asks nobody. The error wraps errdef.ErrNotFound if another policy was.
func (h *Hub) CarriedPolicy(ctx context.Context, r ref.Reference, signed []byte, opts PolicyOptions) (*policy.Policy, error) {
	if err := opts.check(r); err != nil {
		return nil, err
	}
	e, err := parseProof(signed)
	if err != nil {
		return nil, fmt.Errorf("read the policy that was carried: %w: %w", mediatypes.ErrMalformed, err)
	}
	desc, raw, err := e.Manifest(ctx, e.Signed.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("read the policy that was carried: %w", err)
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("read the policy that was carried: %w", err)
	}
	if e.Repository != r.Name() || r.Digest != "" && r.Digest != desc.Digest || r.Digest == "" && m.Annotations[AnnotationPolicyName] != policyFor(r) {
		return nil, fmt.Errorf("policy %s was not carried: %w", r, errdef.ErrNotFound)
	}
	t := &target{
		local: &keptPlace{proof: e, origin: &artifact.Origin{Descriptor: desc, Manifest: raw}}, kept: true,
		ref: r.WithDigest(desc.Digest), desc: desc, raw: raw, signed: desc, made: created(raw),
	}
	f, err := h.readPolicy(ctx, r, t, opts)
	return f.policy, err
}

// CarriedPolicies are those that a bundle holds. None of them is verified.
func CarriedPolicies(ctx context.Context, file string) (signed [][]byte, err error) {
	l, err := layout.OpenTar(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	t, err := readTrust(ctx, l)
	if err != nil || t == nil {
		return nil, err
	}
	for _, f := range t.Files {
		if f.Kind == TrustSignedPolicy {
			signed = append(signed, f.Raw)
		}
	}
	return signed, nil
}
