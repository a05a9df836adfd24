package signing

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of attestations. The memory that reading one takes is a small multiple
// of its size.
const (
	MaxPredicateBytes   = 16 << 20  // of a predicate
	MaxAttestationBytes = 24 << 20  // of a bundle or an envelope that holds one: it is in base64 there
	MaxAttestedBytes    = 128 << 20 // of all bundles and envelopes that one call of Attestations reads
	MaxPredicateType    = 1 << 10   // of a predicate's type
)

// A Predicate is what an attestation says of an artifact.
type Predicate struct {
	Type string         // a URI
	Raw  jsontext.Value // one JSON object
}

// An Attestation is a statement about an artifact that a trusted party signed.
type Attestation struct {
	Predicate
	Signer Signatory

	// Descriptor is the manifest of the referrer that holds it, or its layer
	// behind the attestation tag.
	Descriptor ocispec.Descriptor
}

// An AttestationReport is what [Attestations] found.
type AttestationReport struct {
	// Attestations are those of trusted parties, in the order in which they
	// were found. One that is there in both layouts is in it twice.
	Attestations []Attestation

	// Rejected is all that was found besides and does not count. Signatures
	// are not in it: they are no attestations.
	Rejected []Rejection
}

// AttestOptions adjusts [Attest]. The zero value attaches a bundle.
type AttestOptions struct {
	// Format is the layout to write, [Bundle] or [Classic]. With Classic, of
	// several signers at the same moment one may lose: the tag is read,
	// changed and written back.
	Format Format

	// Again adds an attestation also where the same party has said the same
	// before.
	Again bool
}

// Attest signs what p says of the target and attaches it in its repository. It
// returns the manifest that it wrote, or none when the same party has signed the
// same before in that layout: then nothing is written, unless asked to.
//
// What is said is for the caller to know. Attest refuses what [Attestations]
// would not read: a type that is no URI or is that of a signature, a predicate
// that is no JSON object, or one that is too large.
func Attest(ctx context.Context, repo Repository, t Target, s *Signer, p Predicate, opts AttestOptions) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if err := t.check(); err != nil {
		return none, fmt.Errorf("attest: %w", err)
	}
	p, err := p.clean()
	if err != nil {
		return none, fmt.Errorf("attest: %w", err)
	}
	v, err := s.own(ctx, repo, t)
	if err != nil {
		return none, fmt.Errorf("attest: %w", err)
	}
	v.attestations, v.again = true, opts.Again
	st := newStatement(t, p)
	var desc ocispec.Descriptor
	switch opts.Format {
	case Bundle:
		desc, err = v.attach(ctx, repo, s, st)
	case Classic:
		desc, err = v.attachClassic(ctx, repo, s, st)
	default:
		err = fmt.Errorf("format %v holds no attestations", opts.Format)
	}
	if err != nil {
		return none, fmt.Errorf("attest: %w", err)
	}
	return desc, nil
}

// Check tells why [Attest] would refuse a predicate.
func (p Predicate) Check() error {
	_, err := p.clean()
	return err
}

// clean checks a predicate and returns it without needless white space.
func (p Predicate) clean() (Predicate, error) {
	if err := checkPredicateType(p.Type); err != nil {
		return p, err
	}
	if n := len(p.Raw); n > MaxPredicateBytes {
		return p, fmt.Errorf("predicate of %d bytes, more than %d", n, MaxPredicateBytes)
	}
	raw := p.Raw.Clone()
	if err := raw.Compact(jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)); err != nil {
		return p, fmt.Errorf("predicate is not JSON: %w", err)
	}
	if raw.Kind() != '{' {
		return p, errors.New("predicate is no JSON object")
	}
	p.Raw = raw
	return p, nil
}

func checkPredicateType(t string) error {
	if t == predicateSign {
		return fmt.Errorf("%s is what a signature says", t)
	}
	if len(t) > MaxPredicateType {
		return fmt.Errorf("predicate type of %d bytes, more than %d", len(t), MaxPredicateType)
	}
	if u, err := url.Parse(t); err != nil || u.Scheme == "" {
		return fmt.Errorf("predicate type %q is no URI", t)
	}
	return nil
}

// Attestations returns all that trusted parties say of the target, in both
// layouts, whatever its type: everything that they signed over this digest and
// that is not a mere signature. That there is none is no error.
//
// An error means that the answer is not known: the registry could not be asked,
// or it is [ErrTooMany]. The report holds what was found until then.
func Attestations(ctx context.Context, repo Reader, t Target, trust Trust) (*AttestationReport, error) {
	v, err := newVerification(repo, t, trust)
	if err != nil {
		return nil, fmt.Errorf("verify attestations: %w", err)
	}
	v.attestations = true
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	report := &AttestationReport{}
	candidates, err := bundleReferrers(ctx, repo, t)
	if err != nil {
		return report, fmt.Errorf("verify attestations: %w", err)
	}
	for _, desc := range candidates {
		signer, st, err := v.bundle(ctx, desc)
		signer.Format, signer.Descriptor = Bundle, desc
		if err := report.add(signer, st, err); err != nil {
			return report, err
		}
	}
	return report, v.classicAttestations(ctx, func(signer Signatory, st *statement, err error) error {
		return report.add(signer, st, err)
	})
}

// add takes what came out for one candidate, of which the signer tells at least
// where it is. Only an error that is not the candidate's own fault is returned.
func (r *AttestationReport) add(signer Signatory, st *statement, err error) error {
	switch {
	case err == nil:
		r.Attestations = append(r.Attestations, Attestation{
			Predicate:  Predicate{Type: st.PredicateType, Raw: st.Predicate},
			Signer:     signer,
			Descriptor: signer.Descriptor,
		})
	case errors.Is(err, errIsSignature):
	case isOwnFault(err):
		r.Rejected = append(r.Rejected, Rejection{Format: signer.Format, Descriptor: signer.Descriptor, Reason: err.Error()})
	default:
		return fmt.Errorf("read attestations: %w", err)
	}
	return nil
}

// errIsSignature says of a statement that it is no attestation, and nothing to
// complain about either.
var errIsSignature = reject("a signature, not an attestation")

// checkAttestation tells whether a statement is an attestation by its form.
func checkAttestation(st *statement) error {
	if st.PredicateType == predicateSign {
		return errIsSignature
	}
	if err := checkPredicateType(st.PredicateType); err != nil {
		return reject("%v", err)
	}
	if len(st.Predicate) == 0 {
		return reject("statement without a predicate")
	}
	if n := len(st.Predicate); n > MaxPredicateBytes {
		return reject("predicate of %d bytes, more than %d", n, MaxPredicateBytes)
	}
	return nil
}

// fetchBundle fetches a bundle or an envelope. What all of them together may
// cost is bounded, when they may be large.
func (v *verification) fetchBundle(ctx context.Context, layer ocispec.Descriptor) ([]byte, error) {
	if !v.attestations {
		return fetch(ctx, v.repo, layer, MaxBundleBytes)
	}
	if layer.Size <= MaxAttestationBytes {
		if v.spent += layer.Size; v.spent > MaxAttestedBytes {
			return nil, fmt.Errorf("%w: attestations of more than %d bytes", ErrTooMany, MaxAttestedBytes)
		}
	}
	raw, err := fetch(ctx, v.repo, layer, MaxAttestationBytes)
	if err != nil {
		return nil, err
	}
	return raw, checkLean(raw)
}

// checkLean refuses a document that is large by anything but one long string,
// which is what is signed. Small pieces take many times their size when they are
// decoded, and this is read before anybody's signature is.
func checkLean(raw []byte) error {
	longest, err := longestString(raw)
	if err != nil {
		return reject("not JSON: %v", err)
	}
	if n := len(raw) - longest; n > MaxBundleBytes {
		return reject("%d bytes besides what is signed, more than %d", n, MaxBundleBytes)
	}
	return nil
}
