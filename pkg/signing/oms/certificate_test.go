package oms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// A private is a certificate authority of somebody's own, with one below it that
// issues.
type private struct {
	t            testing.TB
	root, issuer *x509.Certificate
	key          *ecdsa.PrivateKey // of issuer
}

func newPrivate(t testing.TB, name string) *private {
	t.Helper()
	p := &private{t: t}
	rootKey := p.newKey()
	p.root = p.issue(ca(name), nil, rootKey.Public(), rootKey)
	p.key = p.newKey()
	p.issuer = p.issue(ca(name+" issuer"), p.root, p.key.Public(), rootKey)
	return p
}

func ca(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func (p *private) newKey() *ecdsa.PrivateKey {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}

func (p *private) issue(template, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	p.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

// leaf is a certificate for signing, of yesterday, changed as a test likes.
func (p *private) leaf(key crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	p.t.Helper()
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "release"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{"release@example.com"},
	}
	if change != nil {
		change(c)
	}
	return p.issue(c, p.issuer, key, p.key)
}

func pemOf(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

func authorities(t testing.TB, certs ...*x509.Certificate) *signing.Authorities {
	t.Helper()
	a, err := signing.ParseAuthorities(pemOf(certs...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signer is one with a key in cosign's form, and the key.
func signer(t testing.TB) (*signing.Signer, crypto.PublicKey) {
	t.Helper()
	private, _, err := signing.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signing.LoadSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(s.Public().PEM())
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

// chained is the statement, signed by hand with a chain of certificates beside it.
func (f *forger) chained(t testing.TB, certs ...*x509.Certificate) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(f.bundle(t, statement()), &doc); err != nil {
		t.Fatal(err)
	}
	list := []map[string][]byte{}
	for _, c := range certs {
		list = append(list, map[string][]byte{"rawBytes": c.Raw})
	}
	doc["verificationMaterial"] = map[string]any{"x509CertificateChain": map[string]any{"certificates": list}, "tlogEntries": []string{}}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What a key with a certificate signed verifies for those who trust the authority,
// whatever has become of the certificate since, and for those who trust the key.
func TestCertificate(t *testing.T) {
	p := newPrivate(t, "acme root")
	s, key := signer(t)
	st, err := oms.New("m", files, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err = s.WithCertificates(pemOf(p.leaf(key, nil), p.issuer))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := oms.Sign(t.Context(), st, s)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("x509CertificateChain")) || bytes.Contains(raw, []byte("publicKey")) {
		t.Errorf("signature = %s", raw)
	}
	want := signing.Signatory{Kind: "certificate", Identity: "release@example.com", Issuer: "CN=acme root"}
	named := func(exact, pattern string) *signing.Authorities {
		a := authorities(t, newPrivate(t, "another").root, p.root)
		if exact != "" {
			a.Identities = []signing.Identity{{Subject: "ci@example.com"}, {Subject: exact}}
		}
		if pattern != "" {
			a.Identities = []signing.Identity{{SubjectRegexp: pattern}}
		}
		return a
	}
	for name, trust := range map[string]signing.Trust{
		"authority":   {Authorities: named("", "")},
		"name":        {Authorities: named("release@example.com", "")},
		"expression":  {Authorities: named("", `^.*@example\.com$`)},
		"among keys":  {Authorities: named("", ""), Keys: newForger(t, elliptic.P256()).trust(t).Keys},
		"key in turn": {Keys: []*signing.PublicKey{s.Public()}},
	} {
		got, err := oms.Verify(t.Context(), raw, trust)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "key in turn" {
			want = signing.Signatory{Kind: "key", KeyFingerprint: s.Public().Fingerprint()}
		}
		if diff := cmp.Diff(st, got.Statement); diff != "" {
			t.Errorf("%s: statement (-want +got):\n%s", name, diff)
		}
		if name == "key in turn" != (got.Signer.Kind == "key") || got.Signer.Kind == "certificate" && got.Signer.Identity != "release@example.com" {
			t.Errorf("%s: signer = %+v, want %+v", name, got.Signer, want)
		}
	}
	for name, trust := range map[string]signing.Trust{
		"another authority":   {Authorities: authorities(t, newPrivate(t, "acme root").root)},
		"another name":        {Authorities: named("nobody@example.com", "")},
		"part of a name":      {Authorities: named("", `^release@example\.co$`)},
		"another key":         newForger(t, elliptic.P256()).trust(t),
		"a log is required":   {Authorities: named("", ""), RequireLog: true},
		"a stamp is required": {Authorities: named("", ""), RequireTimestamp: true},
	} {
		if got, err := oms.Verify(t.Context(), raw, trust); err == nil {
			t.Errorf("%s: Verify = %+v", name, got)
		}
	}
}

// Certificates that are not for this, not of that authority, or not good when they
// were issued.
func TestCertificateRefused(t *testing.T) {
	p := newPrivate(t, "acme root")
	f := newForger(t, elliptic.P384())
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{p.leaf(f.key.Public(), change), p.issuer}
	}
	use := func(use x509.KeyUsage, extended ...x509.ExtKeyUsage) []*x509.Certificate {
		return leaf(func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = use, extended })
	}
	stranger := newPrivate(t, "stranger")
	tests := map[string]struct {
		chain []*x509.Certificate
		want  string // empty: it is good
	}{
		"good":                        {leaf(nil), ""},
		"with the root":               {append(leaf(nil), p.root), ""},
		"usage alone":                 {use(x509.KeyUsageDigitalSignature), ""},
		"purpose alone":               {use(0, x509.ExtKeyUsageCodeSigning), ""},
		"any purpose":                 {use(x509.KeyUsageDigitalSignature, x509.ExtKeyUsageAny), ""},
		"nothing said":                {use(0), "does not say that it is for signatures"},
		"a server's":                  {use(x509.KeyUsageDigitalSignature, x509.ExtKeyUsageServerAuth), "for other things"},
		"for encryption":              {use(x509.KeyUsageKeyEncipherment, x509.ExtKeyUsageCodeSigning), "not for digital signatures"},
		"no chain":                    {leaf(nil)[:1], "certificate: x509: certificate signed by unknown authority"},
		"nothing":                     {nil, "chain of 0 certificates"},
		"a long chain":                {append(leaf(nil), make11(p.issuer)...), "chain of 12 certificates"},
		"another's chain":             {[]*x509.Certificate{stranger.leaf(f.key.Public(), nil), stranger.issuer, stranger.root}, "unknown authority"},
		"issued before its authority": {leaf(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(-72 * time.Hour) }), "not yet valid"},
		"an RSA key":                  {[]*x509.Certificate{p.leaf(other.Public(), nil), p.issuer}, "not ECDSA"},
		"another key's certificate":   {[]*x509.Certificate{p.leaf(newForger(t, elliptic.P256()).key.Public(), nil), p.issuer}, "not by the key of its certificate"},
		"issued by one that may not":  {below(p, f.key.Public()), "certificate: x509"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := oms.Verify(t.Context(), f.chained(t, tt.chain...), signing.Trust{Authorities: authorities(t, p.root)})
			if tt.want == "" {
				if err != nil || got.Signer.Identity != "release@example.com" {
					t.Errorf("Verify = %+v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify = %+v, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func make11(c *x509.Certificate) []*x509.Certificate {
	list := make([]*x509.Certificate, 10)
	for i := range list {
		list[i] = c
	}
	return list
}

// below is a certificate that a signer, who is no authority, issued.
func below(p *private, key crypto.PublicKey) []*x509.Certificate {
	between := p.newKey()
	signer := p.leaf(between.Public(), nil)
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-20 * time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	return []*x509.Certificate{p.issue(c, signer, key, between), signer, p.issuer}
}

// A certificate is for all the names in it.
func TestCertificateNames(t *testing.T) {
	p := newPrivate(t, "acme root")
	f := newForger(t, elliptic.P256())
	workflow := &url.URL{Scheme: "https", Host: "ci.example.com", Path: "/train"}
	for name, tt := range map[string]struct {
		change func(*x509.Certificate)
		names  []string
	}{
		"mail":  {nil, []string{"release@example.com"}},
		"three": {func(c *x509.Certificate) { c.URIs, c.DNSNames = []*url.URL{workflow}, []string{"a.example.com"} }, []string{"https://ci.example.com/train", "release@example.com", "a.example.com"}},
		"none":  {func(c *x509.Certificate) { c.EmailAddresses = nil }, []string{"release"}},
	} {
		raw := f.chained(t, p.leaf(f.key.Public(), tt.change), p.issuer)
		for _, who := range tt.names {
			a := authorities(t, p.root)
			a.Identities = []signing.Identity{{Subject: who}}
			got, err := oms.Verify(t.Context(), raw, signing.Trust{Authorities: a})
			if err != nil || got.Signer.Identity != who {
				t.Errorf("%s: Verify = %+v, %v", name, got, err)
			}
		}
		a := authorities(t, p.root)
		a.Identities = []signing.Identity{{Subject: "CN=release"}}
		if _, err := oms.Verify(t.Context(), raw, signing.Trust{Authorities: a}); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseAuthorities(t *testing.T) {
	p := newPrivate(t, "acme root")
	for name, text := range map[string][]byte{
		"empty":                                 nil,
		"no PEM":                                []byte("x"),
		"no root":                               pemOf(p.issuer),
		"a key":                                 newForger(t, elliptic.P256()).pem,
		"cut":                                   pemOf(p.root)[:100],
		"one that is cut after one that is not": append(pemOf(p.root), pemOf(p.issuer)[:100]...),
		"too large":                             make([]byte, 2<<20),
	} {
		if a, err := signing.ParseAuthorities(text); err == nil {
			t.Errorf("%s: ParseAuthorities = %+v", name, a)
		}
	}
	a := authorities(t, p.root)
	a.Identities = []signing.Identity{{SubjectRegexp: "release"}}
	for name, trust := range map[string]signing.Trust{
		"an expression that is not anchored": {Authorities: a},
		"authorities that nobody read":       {Authorities: &signing.Authorities{}},
	} {
		if err := trust.Check(); err == nil {
			t.Errorf("%s: Check = nil", name)
		}
	}
}

func TestWithCertificatesRefuses(t *testing.T) {
	p := newPrivate(t, "acme root")
	s, key := signer(t)
	server := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	for name, text := range map[string][]byte{
		"nothing":      nil,
		"another's":    pemOf(p.leaf(p.newKey().Public(), nil)),
		"a server's":   pemOf(p.leaf(key, server)),
		"order":        pemOf(p.issuer, p.leaf(key, nil)),
		"a long chain": pemOf(append(make11(p.issuer), p.leaf(key, nil))...),
	} {
		if _, err := s.WithCertificates(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	with, err := s.WithCertificates(pemOf(p.leaf(key, nil)))
	if err != nil {
		t.Fatal(err)
	}
	stamped, err := with.With(signing.Services{Timestamps: []string{"https://tsa.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	st, err := oms.New("m", files, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oms.Sign(t.Context(), st, stamped); err == nil {
		t.Error("certificates and a timestamp go together")
	}
}
