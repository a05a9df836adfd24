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

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
)

// Limits of certificates of private authorities.
const (
	maxChain       = 10       // certificates in a signature, the signer's included
	maxCertificate = 64 << 10 // of one of them, in bytes
	maxRSABits     = 8192     // of a key of one of them: a larger one costs seconds to use
	maxAuthorities = 1 << 20  // of a file with the authorities' certificates, in bytes
)

// Authorities are private certificate authorities. What is signed with a
// certificate of one of them counts where it is kept as a file (see
// [VerifyDetached]): the certificate is in the signature. Nothing says when such
// a signature was made, so that the certificate, and those above it, must have
// been good when it was issued, and counts for ever: take an authority's
// certificate out to end that.
type Authorities struct {
	// Subjects and SubjectRegexps say whose certificates count: a mail address,
	// URI or host name in the certificate, or the common name of one that has
	// none, exact or as an expression anchored with ^ and $. Without any, all that
	// may sign do.
	Subjects, SubjectRegexps []string

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

// matchers are those of the names.
func (a *Authorities) matchers() ([]func(string) bool, error) {
	var list []func(string) bool
	for _, name := range a.Subjects {
		list = append(list, func(s string) bool { return s == name })
	}
	for _, pattern := range a.SubjectRegexps {
		m, err := textMatcher("", pattern)
		if err != nil {
			return nil, fmt.Errorf("name in a certificate: %w", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// Check tells what is wrong with the names, and with authorities that nobody read.
func (a *Authorities) Check() error {
	if a.roots == nil {
		return errors.New("certificate authorities without certificates")
	}
	_, err := a.matchers()
	return err
}

// check tells whether the first of a chain of certificates is one of those that
// count, and by which authority.
func (a *Authorities) check(chain []*x509.Certificate) (name, issuer string, err error) {
	leaf, between := chain[0], a.between.Clone()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	if err := maySign(leaf); err != nil {
		return "", "", err
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: between, CurrentTime: leaf.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	if err != nil {
		return "", "", reject("certificate: %v", err)
	}
	path := paths[0]
	issuer = path[len(path)-1].Subject.String()
	names := namesIn(leaf)
	matchers, err := a.matchers()
	if err != nil {
		return "", "", err
	}
	if len(matchers) == 0 {
		return names[0], issuer, nil
	}
	for _, name := range names {
		if slices.ContainsFunc(matchers, func(is func(string) bool) bool { return is(name) }) {
			return name, issuer, nil
		}
	}
	return "", "", reject("signed by %.80q (issuer %.80q), who is not trusted", names[0], issuer)
}

// maySign tells whether a certificate is for signatures. One that is for something
// else, such as a server's, is not, however trusted its authority is.
func maySign(cert *x509.Certificate) error {
	code := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
	other := len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0
	signs := cert.KeyUsage&x509.KeyUsageDigitalSignature != 0
	switch {
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

// chainOf are the certificates in a signature, the signer's first.
func chainOf(m *protobundle.VerificationMaterial) ([]*x509.Certificate, error) {
	raw := m.GetX509CertificateChain().GetCertificates()
	if len(raw) == 0 || len(raw) > maxChain {
		return nil, reject("chain of %d certificates, not of 1 to %d", len(raw), maxChain)
	}
	chain := make([]*x509.Certificate, len(raw))
	for i, c := range raw {
		if n := len(c.GetRawBytes()); n > maxCertificate {
			return nil, reject("certificate of %d bytes, more than %d", n, maxCertificate)
		}
		var err error
		if chain[i], err = x509.ParseCertificate(c.GetRawBytes()); err != nil {
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
	name, issuer, err := t.Authorities.check(chain)
	if err != nil {
		return Signatory{}, err
	}
	return Signatory{Kind: "certificate", Identity: name, Issuer: issuer}, nil
}

// WithCertificates returns a signer that has the same key, and puts certificates
// beside what it signs into a file (see [SignDetached]), so that it can be verified
// by who trusts their authority. The PEM text begins with the certificate of the
// key; what follows leads from there to the authority, whose own may be left out.
func (s *Signer) WithCertificates(text []byte) (*Signer, error) {
	if s.signer == nil {
		return nil, errors.New("a keyless signer has its own certificates")
	}
	if !s.services.none() {
		return nil, errChainAlone
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
	if public, ok := chain[0].PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(s.public.key) {
		return nil, errors.New("the first certificate is not that of the key")
	}
	if err := maySign(chain[0]); err != nil {
		return nil, err
	}
	with := *s
	with.chain = chain
	return &with, nil
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
		b, err := readDetached(bundle)
		if err == nil {
			chain, err = chainOf(b.VerificationMaterial)
		}
		return err
	})
	return err == nil && slices.EqualFunc(chain, s.chain, (*x509.Certificate).Equal)
}

// material is what says in a bundle who signed.
func (s *Signer) material() *protobundle.VerificationMaterial {
	chain := &protocommon.X509CertificateChain{}
	for _, cert := range s.chain {
		chain.Certificates = append(chain.Certificates, &protocommon.X509Certificate{RawBytes: cert.Raw})
	}
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: chain}}
}
