package signing

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
)

// Limits of certificates of private authorities.
const (
	maxChain       = 10       // certificates in a signature, the signer's included
	maxCertificate = 64 << 10 // of one of them, in bytes
	maxRSABits     = 8192     // of a key of one of them: a larger one costs seconds to use
	maxAuthorities = 1 << 20  // of a file with the authorities' certificates, in bytes
)

// Authorities are private certificate authorities, and whose of their certificates
// count. The certificate is beside the signature.
//
// For a signature of a version the certificate, and those above it, must be good at
// the time that a timestamp authority or a log of the trusted roots vouches for, or
// now where none does. Of one that is kept as a file (see [VerifyDetached]) nothing
// says when it was made, so that they must have been good when the certificate was
// issued, and it counts for ever: take an authority's certificate out to end that.
// Nobody is asked whether a certificate was revoked.
type Authorities struct {
	// Identities say whose certificates count: a mail address, URI or host name
	// in the certificate, or the common name of one that has none. The issuer is
	// the OIDC provider that the certificate names. It may be left out here, and
	// then counts for certificates that name none. Without any identity, all
	// that may sign count.
	Identities []Identity

	roots, between *x509.CertPool
}

// ParseAuthorities reads certificates in PEM. Those that signed themselves are the
// authorities; others only help to get from a signer's to one of them.
func ParseAuthorities(text []byte) (*Authorities, error) {
	if len(text) > maxAuthorities {
		return nil, fmt.Errorf("read certificate authorities: %d bytes, more than %d", len(text), maxAuthorities)
	}
	list, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	a := &Authorities{roots: x509.NewCertPool(), between: x509.NewCertPool()}
	found := false
	for _, cert := range list {
		pool := a.between
		if bytes.Equal(cert.RawSubject, cert.RawIssuer) && cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil {
			pool, found = a.roots, true
		}
		pool.AddCert(cert)
	}
	if !found {
		return nil, errors.New("read certificate authorities: none that signed itself, as a root does")
	}
	return a, nil
}

// AddIntermediates reads certificates in PEM that help to get from a signer's to an
// authority, and are none: also one that signed itself is not trusted.
func (a *Authorities) AddIntermediates(text []byte) error {
	if len(text) > maxAuthorities {
		return fmt.Errorf("read intermediate certificates: %d bytes, more than %d", len(text), maxAuthorities)
	}
	list, err := parseCertificates(text)
	if err != nil {
		return fmt.Errorf("read intermediate certificates: %w", err)
	}
	for _, cert := range list {
		a.between.AddCert(cert)
	}
	return nil
}

// parseCertificates reads all certificates of a PEM file, which has nothing else
// in its blocks.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block is %q, not a certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		list = append(list, cert)
	}
	// Decode skips what is no block, a damaged certificate among it.
	if n := bytes.Count(text, []byte("-----BEGIN CERTIFICATE-----")); n != len(list) {
		return nil, fmt.Errorf("%d of %d certificates cannot be read", n-len(list), n)
	}
	if len(list) == 0 {
		return nil, errors.New("no certificate in PEM in it")
	}
	return list, nil
}

// matchers are those of the identities.
func (a *Authorities) matchers() ([]identityMatcher, error) {
	var list []identityMatcher
	for _, id := range a.Identities {
		m, err := id.certified()
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// Check tells what is wrong with the identities, and with authorities that nobody
// read.
func (a *Authorities) Check() error {
	if a.roots == nil {
		return errors.New("certificate authorities without certificates")
	}
	_, err := a.matchers()
	return err
}

// check tells whether the first of a chain of certificates is one of those that
// count, and by which authority, if all were good at a time.
func (a *Authorities) check(chain []*x509.Certificate, at time.Time) (name, issuer string, err error) {
	leaf, between := chain[0], a.between.Clone()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	if err := maySign(leaf); err != nil {
		return "", "", err
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	if err != nil {
		return "", "", &refusal{reason: fmt.Sprintf("certificate: %v", err), cause: err}
	}
	path := paths[0]
	name, err = a.named(leaf)
	return name, path[len(path)-1].Subject.String(), err
}

// named returns the name in a certificate that counts.
func (a *Authorities) named(leaf *x509.Certificate) (string, error) {
	names := namesIn(leaf)
	matchers, err := a.matchers()
	if err != nil {
		return "", err
	}
	if len(matchers) == 0 {
		return names[0], nil
	}
	extensions, err := certificate.ParseExtensions(leaf.Extensions)
	if err != nil {
		return "", reject("certificate: %v", err)
	}
	for _, m := range matchers {
		for _, name := range names {
			if m.subject(name) && m.issuer(extensions.Issuer) {
				return name, nil
			}
		}
	}
	if p := extensions.Issuer; p != "" {
		return "", reject("signed by %.80q (OIDC issuer %.80q), who is not trusted", names[0], p)
	}
	return "", reject("signed by %.80q (certified by %.80q), who is not trusted", names[0], leaf.Issuer.String())
}

// maySign tells whether a certificate is for signatures. One that is for something
// else, such as a server's, is not, however trusted its authority is.
func maySign(cert *x509.Certificate) error {
	code := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
	other := len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0
	signs := cert.KeyUsage&x509.KeyUsageDigitalSignature != 0
	switch {
	case cert.BasicConstraintsValid && cert.IsCA:
		return reject("certificate is that of an authority, which signs certificates and nothing else")
	case cert.KeyUsage != 0 && !signs:
		return reject("certificate is not for digital signatures")
	case other && !code:
		return reject("certificate is for other things than signing code")
	case !signs && !code:
		return reject("certificate does not say that it is for signatures")
	}
	return nil
}

// namesIn are whom a certificate is for: at least one name.
func namesIn(cert *x509.Certificate) []string {
	var names []string
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	names = slices.Concat(names, cert.EmailAddresses, cert.DNSNames)
	if len(names) == 0 {
		names = []string{cmp.Or(cert.Subject.CommonName, cert.Subject.String(), cert.SerialNumber.String())}
	}
	return names
}

// chainOf are the certificates in a signature, the signer's first: one, or several.
func chainOf(m *protobundle.VerificationMaterial) ([]*x509.Certificate, error) {
	raw := m.GetX509CertificateChain().GetCertificates()
	if one := m.GetCertificate(); one != nil {
		raw = append(raw, one)
	}
	list := make([][]byte, len(raw))
	for i, c := range raw {
		list[i] = c.GetRawBytes()
	}
	return parseChain(list)
}

// parseChain decodes the certificates that a stranger sent.
func parseChain(list [][]byte) ([]*x509.Certificate, error) {
	if len(list) == 0 || len(list) > maxChain {
		return nil, reject("chain of %d certificates, not of 1 to %d", len(list), maxChain)
	}
	chain := make([]*x509.Certificate, len(list))
	for i, raw := range list {
		if n := len(raw); n > maxCertificate {
			return nil, reject("certificate of %d bytes, more than %d", n, maxCertificate)
		}
		var err error
		if chain[i], err = x509.ParseCertificate(raw); err != nil {
			return nil, reject("certificate: %v", err)
		}
		if k, ok := chain[i].PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return nil, reject("certificate with an RSA key of %d bits, more than %d", k.N.BitLen(), maxRSABits)
		}
	}
	return chain, nil
}

// chainSigner finds who signed an envelope with a certificate that is beside it: a
// trusted key, whatever its certificate says, or whom a private authority vouches
// for.
func (t Trust) chainSigner(m *protobundle.VerificationMaterial, envelope *protodsse.Envelope) (Signatory, error) {
	if t.RequireLog || t.RequireTimestamp {
		return Signatory{}, reject("signed with a certificate of a private authority, which no log and no timestamp authority vouches for")
	}
	chain, err := chainOf(m)
	if err != nil {
		return Signatory{}, err
	}
	if _, ok := chain[0].PublicKey.(*ecdsa.PublicKey); !ok {
		return Signatory{}, reject("certificate with a key of type %T, not ECDSA", chain[0].PublicKey)
	}
	key, err := newPublicKey(chain[0].PublicKey)
	if err != nil {
		return Signatory{}, reject("certificate: %v", err)
	}
	if _, err := (Trust{Keys: []*PublicKey{key}}).plainSigner(envelope, ""); err != nil {
		return Signatory{}, reject("signature is not by the key of its certificate: forged, or changed since")
	}
	for _, trusted := range t.Keys {
		if trusted.fingerprint == key.fingerprint {
			return trusted.signatory(), nil
		}
	}
	if t.Authorities == nil {
		return Signatory{}, reject("signed by %.80q with a certificate of a private authority, and none of these is trusted", namesIn(chain[0])[0])
	}
	name, issuer, err := t.Authorities.check(chain, chain[0].NotBefore)
	if err != nil {
		return Signatory{}, err
	}
	return Signatory{Kind: "certificate", Identity: name, Issuer: issuer}, nil
}
