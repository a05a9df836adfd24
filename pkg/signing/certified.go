package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/cosign/v2/pkg/oci/static"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// WithCertificates returns a signer that has the same key, and puts certificates
// beside what it signs, so that it can be verified by who trusts their authority.
// The PEM text begins with the certificate of the key; what follows leads from there
// to the authority, whose own may be left out.
func (s *Signer) WithCertificates(text []byte) (*Signer, error) {
	if s.signer == nil {
		return nil, errors.New("a keyless signer has its own certificates")
	}
	if len(text) > maxAuthorities {
		return nil, fmt.Errorf("read certificates: %d bytes, more than %d", len(text), maxAuthorities)
	}
	chain, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("read certificates: %d, more than %d", len(chain), maxChain)
	}
	public, ok := chain[0].PublicKey.(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !public.Equal(s.public.key) {
		return nil, errors.New("the first certificate is not that of the key")
	}
	if err := maySign(chain[0]); err != nil {
		return nil, err
	}
	with := *s
	with.chain = chain
	return &with, nil
}

// errExpired says why a signature is not made.
var errExpired = errors.New("certificate is not valid now: nobody would count what is signed with it")

// current tells whether the signer's certificate, if it has one, is good now.
func (s *Signer) current() error {
	if s.chain == nil {
		return nil
	}
	now := time.Now()
	if from, until := s.chain[0].NotBefore, s.chain[0].NotAfter; now.Before(from) || now.After(until) {
		return fmt.Errorf("%w (it is from %s until %s)", errExpired, from.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
	}
	return nil
}

// Certified tells whether a bundle that this signer may have made has its
// certificates beside the signature, so that it counts for who trusts their
// authority. A signer without certificates asks for none.
func (s *Signer) Certified(bundle []byte) bool {
	if s.chain == nil {
		return true
	}
	var chain []*x509.Certificate
	err := guard(func() error {
		b, err := readBundle(bundle)
		if err == nil {
			chain, err = chainOf(b.VerificationMaterial)
		}
		return err
	})
	return err == nil && slices.EqualFunc(chain, s.chain, (*x509.Certificate).Equal)
}

// has tells whether certificates, nil for none, are those that the signer puts
// beside signatures of versions.
func (s *Signer) has(chain []*x509.Certificate) bool {
	return slices.EqualFunc(published(chain), published(s.chain), (*x509.Certificate).Equal)
}

// published are the certificates of a chain that cosign puts into a bundle: not the
// authority's own, which whoever trusts it has.
func published(chain []*x509.Certificate) []*x509.Certificate {
	var list []*x509.Certificate
	for i, cert := range chain {
		if i == 0 || !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			list = append(list, cert)
		}
	}
	return list
}

// chainMaterial is what says in a bundle who signed.
func chainMaterial(list []*x509.Certificate) *protobundle.VerificationMaterial {
	chain := &protocommon.X509CertificateChain{}
	for _, cert := range list {
		chain.Certificates = append(chain.Certificates, &protocommon.X509Certificate{RawBytes: cert.Raw})
	}
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: chain}}
}

// material is what says in the bundle of a version who signed: the certificate, or
// with others that lead from it to the authority a chain, as cosign has it.
func (s *Signer) material() *protobundle.VerificationMaterial {
	if list := published(s.chain); len(list) > 1 {
		return chainMaterial(list)
	}
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: s.chain[0].Raw},
	}}
}

// annotated are the certificates for the classic layout.
func (s *Signer) annotated() []static.Option {
	if s.chain == nil {
		return nil
	}
	return []static.Option{static.WithCertChain(pemOf(s.chain[:1]), pemOf(s.chain[1:]))}
}

func pemOf(list []*x509.Certificate) []byte {
	var text []byte
	for _, cert := range list {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}

// ownCertificate is the signer's certificate, as sigstore-go asks for one.
type ownCertificate struct{ *x509.Certificate }

// GetCertificate returns the certificate in DER.
func (c ownCertificate) GetCertificate(context.Context, sign.Keypair, *sign.CertificateProviderOptions) ([]byte, error) {
	return c.Raw, nil
}

// classicChain are the certificates that cosign keeps in the annotations of the
// classic layout, nil if there are none.
func classicChain(annotations map[string]string) ([]*x509.Certificate, error) {
	var list [][]byte
	for _, key := range []string{static.CertificateAnnotationKey, static.ChainAnnotationKey} {
		text := []byte(annotations[key])
		if len(text) > maxClassicAnnotation {
			return nil, reject("annotation %s of %d bytes, more than %d", key, len(text), maxClassicAnnotation)
		}
		if key == static.CertificateAnnotationKey && len(text) == 0 {
			return nil, nil
		}
		for len(list) <= maxChain {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				break
			}
			list = append(list, block.Bytes)
		}
	}
	return parseChain(list)
}

// certifiedKey is a bundle whose certificate is looked at elsewhere: by what it is
// here, its key has signed. A log's entry may have the certificate or the key.
type certifiedKey struct {
	*sgbundle.Bundle
	cert *x509.Certificate
}

// VerificationContent returns the key.
func (c certifiedKey) VerificationContent() (verify.VerificationContent, error) { return c, nil }

// CompareKey tells whether a log's entry is about the key.
func (c certifiedKey) CompareKey(key any, m root.TrustedMaterial) bool {
	if cert, ok := key.(*x509.Certificate); ok {
		return c.cert.Equal(cert)
	}
	return (&sgbundle.PublicKey{}).CompareKey(key, m)
}

// ValidAtTime is true: that of the certificate is looked at elsewhere.
func (c certifiedKey) ValidAtTime(time.Time, root.TrustedMaterial) bool { return true }

// Certificate returns none.
func (c certifiedKey) Certificate() *x509.Certificate { return nil }

// Intermediates returns none.
func (c certifiedKey) Intermediates() []*x509.Certificate { return nil }

// PublicKey returns the key.
func (c certifiedKey) PublicKey() verify.PublicKeyProvider { return c }

// Hint returns nothing: there is one key.
func (c certifiedKey) Hint() string { return "" }

// withCertificate tells who signed a bundle that has a certificate, to which the
// chain leads, if anything is known of that: a trusted key, whatever its certificate
// says, or whom a private authority vouches for, or else an authority of Roots.
func (v *verification) withCertificate(b *sgbundle.Bundle, chain []*x509.Certificate, of artifact) (Signatory, error) {
	// Bundles of before the third version have chains of sigstore's certificates.
	version, _ := b.Version()
	several := b.VerificationMaterial.GetX509CertificateChain() != nil && version != "v0.1" && version != "v0.2"
	key := v.trust.certifiedKey(chain)
	if key != nil {
		ev, err := v.byKey(certifiedKey{b, chain[0]}, key, of)
		if err != nil {
			return Signatory{}, reject("signature with the certificate of the trusted key %s: %v", key.fingerprint, err)
		}
		return ev.by(key.signatory()), nil
	}
	var private error
	if v.trust.Authorities != nil {
		signer, err := v.privateSigner(b, chain, of)
		if err == nil || several || len(v.trust.Identities) == 0 {
			return signer, err
		}
		private = err
	}
	if several {
		return Signatory{}, reject("signed with a certificate of a private authority, and none of these is trusted")
	}
	signer, err := v.certificateSigner(b, of)
	if err != nil && private != nil {
		err = reject("%v; by the private authorities: %v", err, private)
	}
	return signer, err
}

// certifiedKey is the trusted key that the first of a chain is the certificate of.
func (t Trust) certifiedKey(chain []*x509.Certificate) *PublicKey {
	if len(chain) == 0 {
		return nil
	}
	for _, key := range t.Keys {
		if public, ok := chain[0].PublicKey.(interface{ Equal(x crypto.PublicKey) bool }); ok && public.Equal(key.key) {
			return key
		}
	}
	return nil
}

// privateSigner tells whom a private authority certified that signed a bundle.
func (v *verification) privateSigner(b *sgbundle.Bundle, chain []*x509.Certificate, of artifact) (Signatory, error) {
	if len(chain) == 0 {
		return Signatory{}, reject("certificate cannot be read")
	}
	key, err := newPublicKey(chain[0].PublicKey)
	if err != nil {
		return Signatory{}, reject("certificate: %v", err)
	}
	ev, err := v.byKey(certifiedKey{b, chain[0]}, key, of)
	if lacking, ok := errors.AsType[*unwitnessed](err); ok {
		return Signatory{}, reject("signed with the key of its certificate, but: %v", lacking.error)
	}
	if err != nil {
		return Signatory{}, reject("signature is not by the key of its certificate: forged, or changed since")
	}
	at := ev.time
	if at.IsZero() {
		at = time.Now()
	}
	name, issuer, err := v.trust.Authorities.check(chain, at)
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired && ev.time.IsZero() {
		return Signatory{}, reject("%v, and no timestamp of a trusted authority says that it was signed while the certificate was good", err)
	}
	if err != nil {
		return Signatory{}, err
	}
	return ev.by(Signatory{Kind: "certificate", Identity: name, Issuer: issuer}), nil
}
