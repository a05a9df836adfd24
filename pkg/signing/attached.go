package signing

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
)

// An Attached is a signature or attestation that is attached to an artifact, as
// far as it can be read: something to show. Only what is in Signer was checked.
type Attached struct {
	// Format and Descriptor tell where it is: the manifest of a referrer, or a
	// layer behind a tag.
	Format     Format
	Descriptor ocispec.Descriptor

	// PredicateType is the type of the statement; that of a signature too. It
	// is empty when it cannot be read.
	PredicateType string

	// Claim is who it says has signed, and when. Anybody can say anything.
	Claim Signatory

	// Signer is the trusted party that has signed it, nil if none has or none
	// was looked for.
	Signer *Signatory

	// Reason is why there is no Signer, or why it cannot be read.
	Reason string
}

// IsSignature tells whether it says that it is a signature.
func (a Attached) IsSignature() bool { return a.PredicateType == predicateSign }

// ListAttached lists the signatures and attestations of the target in both
// layouts, whosever they are. The referrers are those that the registry lists
// for it. With a trust, each that counts has its Signer; without, nothing is
// checked, and what is large is not fetched.
//
// An error means that the list is not whole; it is [ErrTooMany] when more is
// attached than will be looked at.
func ListAttached(ctx context.Context, repo Reader, t Target, referrers []ocispec.Descriptor, trust *Trust) ([]Attached, error) {
	v := &verification{repo: repo, target: t}
	if trust != nil {
		var err error
		if v, err = newVerification(repo, t, *trust); err != nil {
			return nil, fmt.Errorf("list what is attached: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	l := lister{verification: v, check: trust != nil}
	for _, look := range []func(context.Context) error{
		func(ctx context.Context) error { return l.bundles(ctx, referrers) },
		func(ctx context.Context) error { return l.behind(ctx, suffixSignatures) },
		func(ctx context.Context) error { return l.behind(ctx, suffixAttestations) },
	} {
		if err := look(ctx); err != nil {
			return l.found, fmt.Errorf("list what is attached: %w", err)
		}
	}
	return l.found, nil
}

// lister is one call of ListAttached.
type lister struct {
	*verification
	check bool // whether there is somebody to trust
	found []Attached
}

// add takes what was found, and why it does not count. Only an error that is not
// its own fault is returned.
func (l *lister) add(a Attached, err error) error {
	if err != nil {
		if !isOwnFault(err) {
			return err
		}
		a.Reason = err.Error()
	}
	l.found = append(l.found, a)
	return nil
}

func (l *lister) bundles(ctx context.Context, referrers []ocispec.Descriptor) error {
	n := 0
	for _, desc := range referrers {
		if !mayHoldBundle(desc) {
			continue
		}
		if n++; n > MaxReferrers {
			return fmt.Errorf("%w: more than %d referrers may be bundles", ErrTooMany, MaxReferrers)
		}
		a := Attached{Format: Bundle, Descriptor: desc, PredicateType: desc.Annotations[annotationPred]}
		if err := l.add(l.bundleReferrer(ctx, a)); err != nil {
			return err
		}
	}
	return nil
}

// bundleReferrer completes what is in a referrer.
func (l *lister) bundleReferrer(ctx context.Context, a Attached) (Attached, error) {
	layer, err := l.bundleLayer(ctx, a.Descriptor)
	if err != nil {
		return a, err
	}
	if !l.check && layer.Size > MaxBundleBytes {
		return a, nil
	}
	l.attestations = true // whichever it is, it may be as large
	raw, err := l.fetchBundle(ctx, layer)
	if err != nil {
		return a, err
	}
	err = guard(func() error {
		b, err := readBundle(raw)
		if err != nil {
			return err
		}
		a.Claim = bundleClaim(b)
		st, err := parseStatement(b.GetDsseEnvelope().GetPayload())
		if err != nil {
			return err
		}
		a.PredicateType = st.PredicateType
		if !l.check {
			return nil
		}
		l.attestations = !a.IsSignature()
		signer, _, err := l.checkBundle(raw)
		if err != nil {
			return err
		}
		signer.Format, signer.Descriptor = a.Format, a.Descriptor
		a.Signer = &signer
		return nil
	})
	return a, err
}

// behind looks behind one of the tags.
func (l *lister) behind(ctx context.Context, suffix string) error {
	desc, image, err := readBehind(ctx, l.repo, l.target, suffix)
	if err != nil {
		return l.add(Attached{Format: Classic, Descriptor: desc}, err)
	}
	if image == nil {
		return nil
	}
	for _, layer := range image.manifest.Layers {
		a := Attached{Format: Classic, Descriptor: layer, Claim: classicClaim(layer.Annotations)}
		look := l.envelopeLayer
		if suffix == suffixSignatures {
			look = l.signatureLayer
		}
		if err := l.add(look(ctx, a)); err != nil {
			return err
		}
	}
	return nil
}

// signatureLayer completes what is in a layer behind the signature tag.
func (l *lister) signatureLayer(ctx context.Context, a Attached) (Attached, error) {
	if a.Descriptor.MediaType == cosigntypes.SimpleSigningMediaType {
		a.PredicateType = predicateSign
	}
	if !l.check {
		return a, nil
	}
	l.attestations = false
	signer, err := l.classicLayer(ctx, a.Descriptor)
	if err != nil {
		return a, err
	}
	signer.Format, signer.Descriptor = a.Format, a.Descriptor
	a.Signer = &signer
	return a, nil
}

// envelopeLayer completes what is in a layer behind the attestation tag.
func (l *lister) envelopeLayer(ctx context.Context, a Attached) (Attached, error) {
	a.PredicateType = a.Descriptor.Annotations[annotationPredClassic]
	if !l.check {
		return a, nil
	}
	l.attestations = true
	err := guard(func() error {
		signer, st, err := l.envelope(ctx, a.Descriptor)
		if err != nil {
			return err
		}
		signer.Format, signer.Descriptor = a.Format, a.Descriptor
		a.Signer, a.PredicateType = &signer, st.PredicateType
		return nil
	})
	return a, err
}

// bundleClaim is who a bundle says has signed it, and when a log says that it
// has seen it.
func bundleClaim(b *sgbundle.Bundle) Signatory {
	var s Signatory
	material := b.GetVerificationMaterial()
	if content, err := b.VerificationContent(); err == nil {
		s = certificateClaim(content.Certificate())
	}
	if hint := material.GetPublicKey().GetHint(); hint != "" {
		s.Kind, s.KeyFingerprint = "key", fingerprintOf(hint)
	}
	for _, entry := range material.GetTlogEntries() {
		if at := entry.GetIntegratedTime(); at > 0 {
			s.Time = time.Unix(at, 0).UTC()
		}
	}
	return s
}

// classicClaim likewise, of the annotations of a layer. A key leaves none.
func classicClaim(annotations map[string]string) Signatory {
	var s Signatory
	if block, _ := pem.Decode([]byte(annotations[static.CertificateAnnotationKey])); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			s = certificateClaim(cert)
		}
	}
	var entry struct {
		Payload struct {
			IntegratedTime int64 `json:"integratedTime"`
		} `json:"Payload"`
	}
	if err := json.Unmarshal([]byte(annotations[static.BundleAnnotationKey]), &entry); err == nil && entry.Payload.IntegratedTime > 0 {
		s.Time = time.Unix(entry.Payload.IntegratedTime, 0).UTC()
	}
	return s
}

// certificateClaim is whom a certificate names, which anybody can make.
func certificateClaim(cert *x509.Certificate) Signatory {
	if cert == nil {
		return Signatory{}
	}
	var s Signatory
	_ = guard(func() error { // a certificate that cannot be read claims nothing
		summary, err := certificate.SummarizeCertificate(cert)
		s = Signatory{Kind: "certificate", Identity: summary.SubjectAlternativeName, Issuer: summary.Issuer}
		if err != nil || s.Issuer == "" { // a private authority's says no more
			s.Identity, s.Issuer = namesIn(cert)[0], cert.Issuer.String()
		}
		return nil
	})
	return s
}
