package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A Verified says who vouched for a version.
type Verified struct {
	Policy       string   `json:"policy"` // NAME@sha256:… of the policies that allowed it; "key" without
	Signers      []Signer `json:"signers"`
	Attestations []string `json:"attestations"`
}

// A Signer is one trusted party whose signature was found good.
type Signer struct {
	Identity       string `json:"identity"`
	Issuer         string `json:"issuer"`
	KeyFingerprint string `json:"keyFingerprint"` // SHA-256 of the public key, hexadecimal
	Kind           string `json:"kind"`           // "key" or "certificate"

	// Time is when it was signed, on the word of a log or timestamp authority.
	Time time.Time `json:"signedAt,omitzero"`

	// Logged says that a transparency log was seen to hold the signature.
	Logged bool `json:"logged"`
}

// SignResult says what [Hub.Sign] did.
type SignResult struct {
	Reference  string `json:"reference"`
	Digest     string `json:"digest"`
	Signatures int    `json:"signatures"` // made now: 0 when the same party had signed before

	// ModelSignature is the digest that stands for all files, in the signature
	// of OpenSSF Model Signing that was asked for.
	ModelSignature string `json:"modelSignature,omitempty"`

	// ModelSignatureMade tells whether that was made now: the same party may have
	// signed the same files before.
	ModelSignatureMade bool `json:"modelSignatureMade,omitempty"`
}

// Sign signs the version that r resolves to.
func (h *Hub) Sign(ctx context.Context, r ref.Reference, s *signing.Signer, opts signing.SignOptions) (*SignResult, error) {
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	n, err := h.sign(ctx, t, s, opts)
	if err != nil {
		return nil, err
	}
	return &SignResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Signatures: n}, nil
}

func (h *Hub) sign(ctx context.Context, t *target, s *signing.Signer, opts signing.SignOptions) (int, error) {
	made, err := signing.Sign(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, s, opts)
	if err != nil {
		return 0, fmt.Errorf("sign %s: %w", t.ref, err)
	}
	return len(made), nil
}

// VerifyResult says what [Hub.Verify] found.
type VerifyResult struct {
	Reference    string          `json:"reference"`
	Digest       string          `json:"digest"`
	Verified     bool            `json:"verified"`
	Policy       string          `json:"policy"`
	Signers      []Signer        `json:"signers"`
	Attestations []Attestation   `json:"attestations"`
	Failures     []VerifyFailure `json:"failures"`

	// Warnings tell where an attested provenance and the version itself name
	// different things that the version was made of.
	Warnings []string `json:"warnings,omitempty"`
}

// A VerifyFailure is one reason why something did not count.
type VerifyFailure struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// VerifyOptions adjusts [Hub.Verify].
type VerifyOptions struct {
	// AllowDowngrade accepts a tag that went back to an older version.
	AllowDowngrade bool

	// Attestations are types of predicates (URIs) that trusted parties must
	// have attested too.
	Attestations []string

	// AttestationsOnly makes do with the attestations: no signature besides is
	// needed.
	AttestationsOnly bool
}

// Verify checks that trust signed the version that r resolves to, or that there
// are policies when trust names nobody; that all policies allow it; and that the
// tag, if r has no digest, did not go back to an older version than this user
// has seen there. The result is complete also when the error says that it is
// not verified.
func (h *Hub) Verify(ctx context.Context, r ref.Reference, trust signing.Trust, opts VerifyOptions) (*VerifyResult, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &VerifyResult{
		Reference: t.ref.String(), Digest: t.desc.Digest.String(), Policy: "key",
		Signers: []Signer{}, Attestations: []Attestation{}, Failures: []VerifyFailure{},
	}
	if trust.IsNobody() { // policies decide
		if len(opts.Attestations) > 0 {
			return nil, fmt.Errorf("%w: verify attestations of %s: it is not said whose", ErrUsage, t.ref)
		}
		return res, h.conclude(ctx, r, t, res, opts)
	}
	report, err := signing.Verify(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, trust)
	if report != nil {
		res.Signers = signers(report)
		for _, rej := range report.Rejected {
			// Beside a signature there may well be attestations.
			if err != nil || !rej.Attestation {
				res.fail("signature", rej.String())
			}
		}
	}
	if opts.dispensable(err) {
		res.Failures, err = []VerifyFailure{}, nil
	}
	if err != nil {
		if len(res.Failures) == 0 {
			res.Failures = append(res.Failures, VerifyFailure{Rule: "signature", Reason: err.Error()})
		}
		return res, fmt.Errorf("verify %s: %w", t.ref, err)
	}
	if err := h.attestations(ctx, t, trust, opts.Attestations, res); err != nil {
		return res, fmt.Errorf("verify %s: %w", t.ref, err)
	}
	return res, h.conclude(ctx, r, t, res, opts)
}

// conclude asks the policies, and notes where the tag led.
func (h *Hub) conclude(ctx context.Context, r ref.Reference, t *target, res *VerifyResult, opts VerifyOptions) error {
	if err := h.verifyPolicies(ctx, r, t, res, opts); err != nil {
		return fmt.Errorf("verify %s: %w", t.ref, err)
	}
	if err := h.accept(ctx, r, t, acceptOptions{downgrade: opts.AllowDowngrade}); err != nil {
		res.fail("rollback", err.Error())
		return fmt.Errorf("verify %s: %w", t.ref, err)
	}
	res.Verified = true
	return nil
}

// dispensable tells whether a signature may be missing, as err says that it is.
func (o VerifyOptions) dispensable(err error) bool {
	return o.AttestationsOnly && len(o.Attestations) > 0 && (errors.Is(err, signing.ErrNoSignature) || errors.Is(err, signing.ErrUntrusted))
}

// acceptOptions adjusts accept.
type acceptOptions struct {
	downgrade bool // an older version will do
	checkOnly bool // nothing is noted
}

// accept notes that the tag of r leads to t, which has been verified, and
// refuses one that went back. Of a range it is the range and the tag that was the
// highest in it: either can go back. Who gives a digest or a revision has chosen,
// and a tag beside it decides nothing; a tag in a layout is not the registry's.
func (h *Hub) accept(ctx context.Context, r ref.Reference, t *target, opts acceptOptions) error {
	if h.opts.Seen == nil || t.isLayout() || r.Digest != "" || r.Prefix != "" || r.Revision != "" {
		return nil
	}
	err := eachSeen(r, t, func(name string, v signing.SeenVersion) error {
		return h.opts.Seen.Check(name, v, opts.downgrade)
	})
	if err == nil && !opts.checkOnly { // nothing is noted under one name that another refuses
		err = eachSeen(r, t, func(name string, v signing.SeenVersion) error {
			return h.opts.Seen.Accept(ctx, name, v, opts.downgrade)
		})
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		// Where nothing can be remembered there is nothing to compare with.
		h.warn("a tag that goes back to an older version will not be noticed: %v", err)
		return nil
	}
	return err
}

// eachSeen goes through the names under which it is remembered what r led to.
func eachSeen(r ref.Reference, t *target, do func(name string, v signing.SeenVersion) error) error {
	v := signing.SeenVersion{Digest: t.signed.Digest, Created: t.made}
	for _, repository := range t.names() {
		name := policy.Normal(repository) + ":"
		if err := do(name+t.ref.Tag, v); err != nil {
			return err
		}
		if r.Range == "" {
			continue
		}
		within := v
		within.Tag = t.ref.Tag
		if err := do(name+`"`+r.Range+`"`, within); err != nil { // no tag has quotes
			return err
		}
	}
	return nil
}

// created is when a manifest or an index says it was made, if it does.
func created(raw []byte) time.Time {
	var m struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, m.Annotations[ocispec.AnnotationCreated])
	if err != nil {
		return time.Time{}
	}
	if at = at.UTC(); at.Year() > 9999 || at.Year() < 0 {
		return time.Time{} // which cannot be written
	}
	return at
}

func signers(report *signing.Report) []Signer {
	out := make([]Signer, 0, len(report.Signers))
	for _, s := range report.Signers {
		out = append(out, Signer{Identity: s.Identity, Issuer: s.Issuer, KeyFingerprint: s.KeyFingerprint, Kind: s.Kind, Time: s.Time, Logged: s.Logged})
	}
	return out
}

// signatures counts what is attached to a version as a signature, in either
// layout, without judging it.
func signatures(ctx context.Context, t *target, refs []ocispec.Descriptor) (int, error) {
	return signing.Count(ctx, t.repo, t.signed, refs)
}
