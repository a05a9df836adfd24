package signing

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// A demand is what must vouch for a signature beside whoever made it.
type demand struct {
	log       bool // a transparency log holds it
	time      bool // a log or a timestamp authority says when it was made
	timestamp bool // a timestamp authority does
	sct       bool // a log of certificates holds the certificate
}

func (d demand) options() []verify.VerifierOption {
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if d.log {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if d.time {
		opts = append(opts, verify.WithObserverTimestamps(1))
	}
	if d.timestamp {
		opts = append(opts, verify.WithSignedTimestamps(1))
	}
	if d.sct {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	if !d.time && !d.timestamp {
		opts = append(opts, verify.WithNoObserverTimestamps())
	}
	return opts
}

// certificateDemands are what a certificate's signature is checked for, the
// strictest first; one of them must hold. What the trusted root names, a
// signature must show: a deployment without a log has none in its root.
func (t Trust) certificateDemands() []demand {
	must := demand{
		log:       t.RequireLog || t.Roots.logs() > 0,
		time:      true,
		timestamp: t.RequireTimestamp,
		sct:       !t.IgnoreSCT && t.Roots.certificateLogs() > 0,
	}
	if !must.log || !t.IgnoreLog {
		return []demand{must}
	}
	unlogged := must
	unlogged.log = false
	return []demand{must, unlogged}
}

// keyDemands are what a key's signature is checked for, the strictest first.
// None but those that were asked for must hold: a key needs nobody to vouch
// for it, and has no time in which alone it is good.
func (t Trust) keyDemands(b entity) []demand {
	logged := len(b.GetVerificationMaterial().GetTlogEntries()) > 0 && t.Roots.logs() > 0
	stamped := len(b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps()) > 0 && t.Roots.timestampers() > 0
	var list []demand
	if logged {
		list = append(list, demand{log: true, time: true}, demand{log: true})
	}
	if stamped {
		list = append(list, demand{time: true})
	}
	list = append(list, demand{})
	for i := range list {
		list[i].log = list[i].log || t.RequireLog
		list[i].timestamp = t.RequireTimestamp
	}
	return list
}

// evidence is what a verification has shown.
type evidence struct {
	time   time.Time
	logged bool
	result *verify.VerificationResult
}

// An entity is a signature as sigstore's verifier takes it, with what is beside it.
type entity interface {
	verify.SignedEntity
	GetVerificationMaterial() *protobundle.VerificationMaterial
}

// weigh checks a bundle's signature over the artifact against the demands, and
// returns what the first that holds shows. The error is that of the last.
func (v *verification) weigh(b entity, trusted root.TrustedMaterial, demands []demand, of artifact) (ev evidence, err error) {
	for _, d := range demands {
		if ev, err = v.weighOne(b, trusted, d, of); err == nil {
			return ev, nil
		}
	}
	return evidence{}, err
}

// An artifact is what a signature is about: a digest, or with none whatever it
// says, which is then for the caller to judge. The policy is about who signed.
type artifact struct {
	algorithm string
	sum       []byte
	policy    verify.PolicyOption
}

func (v *verification) weighOne(b entity, trusted root.TrustedMaterial, d demand, of artifact) (evidence, error) {
	sv, err := verify.NewVerifier(trusted, d.options()...)
	if err != nil {
		return evidence{}, err
	}
	about := verify.WithoutArtifactUnsafe()
	if of.sum != nil {
		about = verify.WithArtifactDigest(of.algorithm, of.sum)
	}
	result, err := sv.Verify(b, verify.NewPolicy(about, of.policy))
	if err != nil {
		return evidence{}, err
	}
	ev := evidence{logged: d.log, result: result}
	for _, ts := range result.VerifiedTimestamps {
		// Anybody can have an old signature stamped again, so that the first
		// time is what tells.
		if ev.time.IsZero() || ts.Timestamp.Before(ev.time) {
			ev.time = ts.Timestamp.UTC()
		}
	}
	if d.log && !ev.time.IsZero() {
		if err := v.logsInUse(b, ev.time); err != nil {
			return evidence{}, err
		}
	}
	return ev, nil
}

// logsInUse checks that no entry is of a log whose key was not in use when the
// signature was made. For the time in an entry itself sigstore does that; an
// entry of the second version has none.
func (v *verification) logsInUse(b entity, at time.Time) error {
	for _, entry := range b.GetVerificationMaterial().GetTlogEntries() {
		id := hex.EncodeToString(entry.GetLogId().GetKeyId())
		if _, known := v.trust.Roots.trusted.RekorLogs()[id]; known && !v.trust.Roots.logInUse(id, at) {
			return reject("the key of the log %s was not in use at %s, when it was signed", id, at.Format(time.RFC3339))
		}
	}
	return nil
}

// keySigner finds the trusted key that signed the bundle. The key that a bundle
// names is only a hint, so that all are tried.
func (v *verification) keySigner(b *sgbundle.Bundle, of artifact) (Signatory, error) {
	if len(v.trust.Keys) == 0 {
		return Signatory{}, reject("signed with a key, and only certificates are trusted")
	}
	for _, key := range v.trust.Keys {
		ev, err := v.byKey(b, key, of)
		if err == nil {
			return ev.by(key.signatory()), nil
		}
		if lacking, ok := errors.AsType[*unwitnessed](err); ok {
			return Signatory{}, reject("signed with the trusted key %s, but: %v", key.fingerprint, lacking.error)
		}
	}
	hint := fingerprintOf(b.VerificationMaterial.GetPublicKey().GetHint())
	for _, key := range v.trust.Keys {
		if key.fingerprint == hint {
			return Signatory{}, reject("signature by the trusted key %s is not good: forged or damaged", hint)
		}
	}
	return Signatory{}, reject("signed with another key (%s)", hint)
}

// unwitnessed says of a signature that its key made it, and what must vouch for it
// besides does not.
type unwitnessed struct{ error }

// by is the signatory with what is known of its signature.
func (ev evidence) by(s Signatory) Signatory {
	s.Time, s.Logged = ev.time, ev.logged
	return s
}

// byKey checks that a key signed the bundle, and returns what is known besides.
func (v *verification) byKey(b entity, key *PublicKey, of artifact) (ev evidence, err error) {
	of.policy = verify.WithKey()
	demands := v.trust.keyDemands(b)
	for _, verifier := range key.verifiers {
		if ev, err = v.weigh(b, v.trust.Roots.with(verifier), demands, of); err == nil {
			return ev, nil
		}
		if plain := (demand{}); demands[len(demands)-1] != plain {
			if _, errPlain := v.weighOne(b, v.trust.Roots.with(verifier), plain, of); errPlain == nil {
				return evidence{}, &unwitnessed{err}
			}
		}
	}
	return evidence{}, err
}

// certificateSigner tells whom the certificate of a bundle was issued to, if it
// is one of the trusted identities.
func (v *verification) certificateSigner(b *sgbundle.Bundle, of artifact) (Signatory, error) {
	if len(v.trust.Identities) == 0 {
		return Signatory{}, reject("signed with a certificate, and only keys are trusted")
	}
	content, err := b.VerificationContent()
	if err != nil {
		return Signatory{}, reject("certificate: %v", err)
	}
	if n := names(content.Certificate()); n != 1 {
		return Signatory{}, reject("certificate with %d names instead of one", n)
	}
	// Who it is, is looked at below, to tell an untrusted signer from a
	// signature that is no good.
	of.policy = verify.WithoutIdentitiesUnsafe()
	ev, err := v.weigh(b, v.trust.Roots.trusted, v.trust.certificateDemands(), of)
	if err != nil {
		return Signatory{}, reject("certificate or its signature: %v", err)
	}
	cert := ev.result.Signature.Certificate
	s := Signatory{Kind: "certificate", Identity: cert.SubjectAlternativeName, Issuer: cert.Issuer, Time: ev.time, Logged: ev.logged}
	if s.Identity == "" || s.Issuer == "" {
		return Signatory{}, reject("certificate without a name, or without an issuer of the name")
	}
	for _, id := range v.identities {
		if id.issuer(s.Issuer) && id.subject(s.Identity) {
			return s, nil
		}
	}
	return Signatory{}, reject("signed by %q (issuer %q), who is not trusted", s.Identity, s.Issuer)
}

// names counts the names that a certificate is for. Fulcio's have one each; of
// several, it would be a matter of taste which counts. A name of a kind that
// X.509 libraries do not know, as Fulcio's user names are, is in none of the
// lists.
func names(cert *x509.Certificate) int {
	if cert == nil {
		return 0
	}
	n := len(cert.URIs) + len(cert.EmailAddresses) + len(cert.DNSNames) + len(cert.IPAddresses)
	return max(n, 1)
}
