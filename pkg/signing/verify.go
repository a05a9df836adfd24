package signing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// Trust says whose signature counts. There is no zero value that trusts
// anybody: without keys and identities, [Verify] is an error.
type Trust struct {
	// Keys are trusted alike: a signature by any of them is enough.
	Keys []*PublicKey

	// Identities are trusted like keys, on the word of Roots, which they
	// need.
	Identities []Identity

	// Roots are whom certificates, logs and timestamps are believed of. A
	// certificate's signature must be in a log if Roots names one, its
	// certificate in a log of certificates likewise, and one of the logs or a
	// timestamp authority must say when it was made. A key's signature needs
	// none of them.
	Roots *Roots

	// Authorities, if not nil, are trusted besides keys and identities. Roots say
	// nothing of whom they certified, and need not be there for them.
	Authorities *Authorities

	// RequireLog and RequireTimestamp demand that each signature, a key's too,
	// is in a log of Roots, or has been stamped by a timestamp authority of
	// Roots.
	RequireLog, RequireTimestamp bool

	// IgnoreLog and IgnoreSCT accept certificates' signatures that are in no
	// log, and certificates that are in no log of certificates, also when
	// Roots names such logs. The time of the signature must be known all the
	// same.
	IgnoreLog, IgnoreSCT bool

	// MatchRepository demands that the signature names the repository of the
	// target. Leave it off for mirrors, and for bundles that cosign signed,
	// which name none.
	MatchRepository bool
}

// A Report is what [Verify] found.
type Report struct {
	// Signers are the trusted parties with a valid signature, each once (see
	// [Signatory.Party]), in the order in which their signatures were found.
	Signers []Signatory

	// Rejected is all that was found besides and does not count.
	Rejected []Rejection
}

// A Signatory is a trusted party whose signature was found good.
type Signatory struct {
	Kind           string // "key" or "certificate"
	KeyFingerprint string // see [PublicKey.Fingerprint]; empty for a certificate
	Identity       string // who a certificate was issued to; empty for a key
	Issuer         string // who vouched for the identity; empty for a key

	// Time is when it was signed, as far as a trusted party says so; zero if
	// none does.
	Time time.Time

	// Logged says that a transparency log was seen to hold the signature.
	Logged bool

	// Format and Descriptor tell where the signature is: the manifest of a
	// referrer, or a layer behind the signature tag.
	Format     Format
	Descriptor ocispec.Descriptor
}

// A Rejection is something attached to the target that does not count as a
// signature, and why. The reason may hold text from the registry.
type Rejection struct {
	Format     Format
	Descriptor ocispec.Descriptor
	Reason     string

	// Attestation says that it is a statement of another type, and nothing is
	// wrong with it as far as that was looked at.
	Attestation bool
}

// String returns the reason with the digest that it is about.
func (r Rejection) String() string {
	return fmt.Sprintf("%s %s: %s", r.Format, r.Descriptor.Digest, r.Reason)
}

// Verify looks for signatures of the target in both layouts. It succeeds when
// at least one is by a trusted key, over this digest, and says that it is a
// signature: an attestation by the same key, such as the report of a failed
// scan, is none.
//
// The report is complete also when the error is [ErrNoSignature] or
// [ErrUntrusted]. Any other error means that the answer is not known: the
// registry could not be asked, or the error is [ErrTooMany].
func Verify(ctx context.Context, repo Reader, t Target, trust Trust) (*Report, error) {
	v, err := newVerification(repo, t, trust)
	if err != nil {
		return nil, fmt.Errorf("verify signatures: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	if err := v.bundles(ctx); err != nil {
		return &v.report, err
	}
	if err := v.classic(ctx); err != nil {
		return &v.report, err
	}
	return &v.report, v.report.verdict()
}

func (r *Report) verdict() error {
	if len(r.Signers) > 0 {
		return nil
	}
	if len(r.Rejected) == 0 {
		return ErrNoSignature
	}
	const shown = 3
	var reasons []string
	for _, rej := range r.Rejected[:min(shown, len(r.Rejected))] {
		reasons = append(reasons, rej.Reason)
	}
	if n := len(r.Rejected) - shown; n > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", n))
	}
	return fmt.Errorf("%w: %s", ErrUntrusted, strings.Join(reasons, "; "))
}

// verification is one call of Verify or Attestations.
type verification struct {
	repo       Reader
	target     Target
	trust      Trust
	identities []identityMatcher // of trust
	report     Report

	// wanted is what bundles must bring along, whatever it is worth, and certified
	// tells of a chain of certificates, nil for none, whether it is to be beside
	// the signature. Nil lets any be.
	wanted    demand
	certified func([]*x509.Certificate) bool

	// again has a statement attached that is there already.
	again bool

	// attestations looks for statements that are no signatures. They may be
	// large, and spent counts their bytes.
	attestations bool
	spent        int64
}

// bundleLimit is how many bytes a bundle may have. Attestations hold reports and
// bills of material; only who asks for them is to spend the memory.
func (v *verification) bundleLimit() int64 {
	if v.attestations {
		return MaxAttestationBytes
	}
	return MaxBundleBytes
}

func newVerification(repo Reader, t Target, trust Trust) (*verification, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if err := trust.Check(); err != nil {
		return nil, err
	}
	v := &verification{repo: repo, target: t, trust: trust}
	return v, v.prepare()
}

func (v *verification) prepare() error {
	for _, id := range v.trust.Identities {
		m, err := id.matcher()
		if err != nil {
			return err
		}
		v.identities = append(v.identities, m)
	}
	return nil
}

// IsNobody tells whether nobody is trusted.
func (t Trust) IsNobody() bool {
	return len(t.Keys)+len(t.Identities) == 0 && t.Authorities == nil
}

// Check tells what is asked for that cannot be: nobody trusted, identities that
// are not whole or without roots, a log or timestamp that the roots have nobody
// for. [Verify] does it too.
func (t Trust) Check() error {
	for _, id := range t.Identities {
		if err := id.Check(); err != nil {
			return err
		}
	}
	if t.Authorities != nil {
		if err := t.Authorities.Check(); err != nil {
			return err
		}
	}
	switch {
	case t.IsNobody():
		return errors.New("no trusted key or identity given")
	case len(t.Identities) > 0 && t.Roots.authorities() == 0:
		return errors.New("trusted identities need a trusted root with a certificate authority")
	case t.RequireLog && t.IgnoreLog:
		return errors.New("a log is both required and ignored")
	case t.RequireLog && t.Roots.logs() == 0:
		return errors.New("a log is required, and the trusted root has none")
	case t.RequireTimestamp && t.Roots.timestampers() == 0:
		return errors.New("a timestamp is required, and the trusted root has no authority for it")
	}
	return nil
}

// record takes what came out for one candidate. Only an error that is not the
// candidate's own fault is returned.
func (v *verification) record(format Format, desc ocispec.Descriptor, signer Signatory, err error) error {
	if err != nil {
		if !isOwnFault(err) {
			return fmt.Errorf("read signatures: %w", err)
		}
		why, ok := errors.AsType[*refusal](err)
		v.report.Rejected = append(v.report.Rejected, Rejection{
			Format: format, Descriptor: desc, Reason: err.Error(), Attestation: ok && why.attestation,
		})
		return nil
	}
	signer.Format, signer.Descriptor = format, desc
	for i, s := range v.report.Signers {
		if s.Party() == signer.Party() {
			if signer.tellsMore(s) {
				v.report.Signers[i] = signer
			}
			return nil
		}
	}
	v.report.Signers = append(v.report.Signers, signer)
	return nil
}

// Party names who signed, for comparison: two signatures by one party are not
// two signers. A key is its own party, and so is an identity with its issuer,
// however many certificates it had.
func (s Signatory) Party() string {
	if s.Kind == "key" {
		return "key " + s.KeyFingerprint
	}
	return fmt.Sprintf("certificate %q %q", s.Issuer, s.Identity)
}

// tellsMore tells which of two signatures by one party to show: the one that is
// proven to be newer, or else the one in a log.
func (s Signatory) tellsMore(other Signatory) bool {
	if !s.Time.Equal(other.Time) {
		return s.Time.After(other.Time)
	}
	return s.Logged && !other.Logged
}

// A refusal is what is wrong with one candidate.
type refusal struct {
	reason      string
	attestation bool  // it is no signature and does not pretend to be
	cause       error // nil where the reason says it all
}

func (r *refusal) Error() string { return r.reason }

// Unwrap returns the cause.
func (r *refusal) Unwrap() error { return r.cause }

func reject(format string, args ...any) error {
	return &refusal{reason: fmt.Sprintf(format, args...)}
}

// A retrier is an error that knows whether the same request may go better next
// time.
type retrier interface {
	error
	Retry() (wait time.Duration, ok bool)
}

// isOwnFault tells what is wrong with a candidate from what is wrong with the
// registry or the way there: the first may be skipped, for anybody can attach
// rubbish, the second leaves the question open.
func isOwnFault(err error) bool {
	if _, ok := errors.AsType[*refusal](err); ok {
		return true
	}
	if again, ok := errors.AsType[retrier](err); ok {
		if _, may := again.Retry(); may {
			return false // the connection broke, wherever it was
		}
	}
	for _, own := range []error{
		errdef.ErrNotFound,
		mediatypes.ErrMalformed,
		content.ErrMismatchedDigest, content.ErrInvalidDescriptorSize, content.ErrTrailingData, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}
