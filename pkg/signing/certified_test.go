package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

const release = "release@acme.example"

// A privateCA is a root, and an authority below it that issues.
type privateCA struct {
	t            testing.TB
	root, issuer *x509.Certificate
	key          *ecdsa.PrivateKey // of issuer
}

func newPrivateCA(t testing.TB, name string) *privateCA {
	t.Helper()
	ca := &privateCA{t: t, key: newECKey(t)}
	rootKey := newECKey(t)
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true}
	}
	ca.root = ca.issue(template(name), nil, rootKey.Public(), rootKey)
	ca.issuer = ca.issue(template(name+" issuer"), ca.root, ca.key.Public(), rootKey)
	return ca
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (ca *privateCA) issue(template, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	ca.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

// leaf is a certificate for signing, changed as a test likes.
func (ca *privateCA) leaf(key crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	ca.t.Helper()
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "release"}, EmailAddresses: []string{release},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if change != nil {
		change(c)
	}
	return ca.issue(c, ca.issuer, key, ca.key)
}

func pemOf(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// trust is that in the authority, for whoever is named.
func (ca *privateCA) trust(names ...string) signing.Trust {
	ca.t.Helper()
	a, err := signing.ParseAuthorities(pemOf(ca.root))
	if err != nil {
		ca.t.Fatal(err)
	}
	for _, name := range names {
		a.Identities = append(a.Identities, signing.Identity{Subject: name})
	}
	return signing.Trust{Authorities: a}
}

// certified is alice's signer with certificates.
func certified(t testing.TB, chain ...*x509.Certificate) *signing.Signer {
	t.Helper()
	s, err := alice().signer.WithCertificates(pemOf(chain...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chained is a bundle over a payload by alice's key, with certificates beside it.
func chained(t testing.TB, payload string, certs ...*x509.Certificate) []byte {
	t.Helper()
	var b protobundle.Bundle
	if err := protojson.Unmarshal(alice().bundle(t, inToto, payload), &b); err != nil {
		t.Fatal(err)
	}
	chain := &protocommon.X509CertificateChain{}
	for _, c := range certs {
		chain.Certificates = append(chain.Certificates, &protocommon.X509Certificate{RawBytes: c.Raw})
	}
	b.VerificationMaterial.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: chain}
	raw, err := protojson.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What a key with a certificate signs counts in both layouts for those who trust the
// authority, and for those who trust the key; attestations likewise. It is made once.
func TestSignCertified(t *testing.T) {
	ca := newPrivateCA(t, "acme root")
	cert := ca.leaf(alice().publicKey(t), nil)
	for name, chain := range map[string][]*x509.Certificate{
		"chain": {cert, ca.issuer}, "with the root": {cert, ca.issuer, ca.root}, "certificate": {cert},
	} {
		for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
			t.Run(name+" "+format.String(), func(t *testing.T) {
				r, s := newFake(), certified(t, chain...)
				model := r.model(t, "model")
				sign := func(s *signing.Signer) int {
					made, err := signing.Sign(t.Context(), r, model, s, signing.SignOptions{Format: format})
					if err != nil {
						t.Fatal(err)
					}
					desc, err := signing.Attest(t.Context(), r, model, s, signing.Predicate{Type: "https://example.com/x", Raw: []byte(`{}`)}, signing.AttestOptions{Format: format})
					if err != nil || (desc.Digest == "") != (len(made) == 0) {
						t.Fatalf("Attest = %v, %v", desc, err)
					}
					return len(made)
				}
				// By the key alone first: that is of no use to who trusts the authority.
				if got := []int{sign(alice().signer), sign(s), sign(s), sign(alice().signer)}; !slices.Equal(got, []int{1, 1, 0, 0}) {
					t.Errorf("signatures made = %v", got)
				}
				trust := ca.trust(release)
				if len(chain) == 1 {
					if _, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
						t.Errorf("without what leads there: %v", err)
					}
					if err := trust.Authorities.AddIntermediates(pemOf(ca.issuer)); err != nil {
						t.Fatal(err)
					}
				}
				report, err := signing.Verify(t.Context(), r, model, trust)
				if err != nil || len(report.Signers) != 1 {
					t.Fatalf("Verify = %+v, %v", report, err)
				}
				if got := report.Signers[0]; got.Kind != "certificate" || got.Identity != release || got.Issuer != "CN=acme root" || !got.Time.IsZero() {
					t.Errorf("signer = %+v", got)
				}
				said, err := signing.Attestations(t.Context(), r, model, trust)
				if err != nil || len(said.Attestations) != 1 || said.Attestations[0].Signer.Identity != release {
					t.Errorf("Attestations = %+v, %v", said, err)
				}
				if report, err := signing.Verify(t.Context(), r, model, alice().trust()); err != nil || slices.ContainsFunc(report.Rejected, func(x signing.Rejection) bool { return !x.Attestation }) {
					t.Errorf("by the key: %+v, %v", report, err)
				}
				for _, trust := range []signing.Trust{ca.trust("ci@acme.example"), newPrivateCA(t, "acme root").trust(release), mallory().trust()} {
					if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
						t.Errorf("Verify = %+v, %v", report, err)
					}
				}
			})
		}
	}
}

// Certificates that are not for this, not of that authority, or not good now.
func TestVerifyCertifiedRejects(t *testing.T) {
	ca, stranger := newPrivateCA(t, "acme root"), newPrivateCA(t, "stranger")
	key := alice().publicKey(t)
	leaf := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{ca.leaf(key, change), ca.issuer}
	}
	use := func(use x509.KeyUsage, extended ...x509.ExtKeyUsage) []*x509.Certificate {
		return leaf(func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = use, extended })
	}
	valid := func(from, until time.Duration) []*x509.Certificate {
		return leaf(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(until) })
	}
	below := func() []*x509.Certificate {
		between := newECKey(t)
		signer := ca.leaf(between.Public(), nil)
		c := &x509.Certificate{EmailAddresses: []string{release}, KeyUsage: x509.KeyUsageDigitalSignature}
		return []*x509.Certificate{ca.issue(c, signer, key, between), signer, ca.issuer}
	}
	long := leaf(nil)
	for range 10 {
		long = append(long, ca.issuer)
	}
	tests := map[string]struct {
		chain []*x509.Certificate
		want  string // empty: it is good
	}{
		"good":                       {leaf(nil), ""},
		"with the root":              {append(leaf(nil), ca.root), ""},
		"usage alone":                {use(x509.KeyUsageDigitalSignature), ""},
		"a server's":                 {use(x509.KeyUsageDigitalSignature, x509.ExtKeyUsageServerAuth), "for other things"},
		"for encryption":             {use(x509.KeyUsageKeyEncipherment, x509.ExtKeyUsageCodeSigning), "not for digital signatures"},
		"nothing said":               {use(0), "does not say that it is for signatures"},
		"an authority's":             {leaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "that of an authority"},
		"no chain":                   {leaf(nil)[:1], "unknown authority"},
		"nothing":                    {nil, "chain of 0 certificates"},
		"a long chain":               {long, "chain of 12 certificates"},
		"another authority":          {[]*x509.Certificate{stranger.leaf(key, nil), stranger.issuer, stranger.root}, "unknown authority"},
		"expired":                    {valid(-time.Hour, -time.Minute), "no timestamp of a trusted authority"},
		"not yet good":               {valid(time.Minute, time.Hour), "no timestamp of a trusted authority"},
		"another key's certificate":  {[]*x509.Certificate{ca.leaf(newECKey(t).Public(), nil), ca.issuer}, "not by the key of its certificate"},
		"issued by one that may not": {below(), "certificate: x509"},
		"another's name":             {leaf(func(c *x509.Certificate) { c.EmailAddresses = []string{"x-" + release + ".evil.example"} }), "who is not trusted"},
		"the name is the common name": {leaf(func(c *x509.Certificate) {
			c.Subject.CommonName, c.EmailAddresses = release, []string{"x@acme.example"}
		}), "who is not trusted"},
		"a provider nobody named": {leaf(vouchedBy("https://oidc.example.com")), `OIDC issuer "https://oidc.example.com"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			r.attach(t, model, chained(t, statement(signType, model.Descriptor.Digest), tt.chain...), nil)
			report, err := signing.Verify(t.Context(), r, model, ca.trust(release))
			if tt.want == "" {
				if err != nil || report.Signers[0].Identity != release {
					t.Errorf("Verify = %+v, %v", report, err)
				}
				return
			}
			if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify = %+v, %v; want %q", report, err, tt.want)
			}
			// Nobody else takes it for anything either.
			d := testsigstore.New(t, testsigstore.Options{})
			if report, err := signing.Verify(t.Context(), r, model, trustWho(t, d)); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("by sigstore: Verify = %+v, %v", report, err)
			}
		})
	}
}

// vouchedBy names an OIDC provider in a certificate, as Fulcio does.
func vouchedBy(provider string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		value, err := asn1.MarshalWithParams(provider, "utf8")
		if err != nil {
			panic(err)
		}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: value}}
	}
}

// A certificate is for each of the names in it, exactly or by an expression, and for
// the provider that it names.
func TestVerifyCertifiedNames(t *testing.T) {
	ca := newPrivateCA(t, "acme root")
	workflow := &url.URL{Scheme: "https", Host: "ci.acme.example", Path: "/train"}
	names := func(c *x509.Certificate) {
		c.URIs, c.DNSNames = []*url.URL{workflow}, []string{"build.acme.example"}
	}
	const provider = "https://oidc.acme.example"
	for name, tt := range map[string]struct {
		change func(*x509.Certificate)
		id     signing.Identity
		want   string // empty: refused
	}{
		"mail":                {names, signing.Identity{Subject: release}, release},
		"URI":                 {names, signing.Identity{Subject: workflow.String()}, workflow.String()},
		"DNS":                 {names, signing.Identity{Subject: "build.acme.example"}, "build.acme.example"},
		"expression":          {names, signing.Identity{SubjectRegexp: `^.*@acme\.example$`}, release},
		"part":                {names, signing.Identity{SubjectRegexp: `^acme\.example$`}, ""},
		"common name":         {names, signing.Identity{Subject: "release"}, ""},
		"provider":            {vouchedBy(provider), signing.Identity{Subject: release, Issuer: provider}, release},
		"providers":           {vouchedBy(provider), signing.Identity{Subject: release, IssuerRegexp: "^https://.*$"}, release},
		"another provider":    {vouchedBy(provider), signing.Identity{Subject: release, Issuer: "https://evil.example"}, ""},
		"provider not named":  {names, signing.Identity{Subject: release, Issuer: provider}, ""},
		"provider that is ''": {names, signing.Identity{Subject: release, IssuerRegexp: "^$"}, release},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			if _, err := signing.Sign(t.Context(), r, model, certified(t, ca.leaf(alice().publicKey(t), tt.change), ca.issuer), signing.SignOptions{}); err != nil {
				t.Fatal(err)
			}
			trust := ca.trust()
			trust.Authorities.Identities = []signing.Identity{tt.id}
			report, err := signing.Verify(t.Context(), r, model, trust)
			if tt.want == "" {
				if !errors.Is(err, signing.ErrUntrusted) {
					t.Errorf("Verify = %+v, %v", report, err)
				}
				return
			}
			if err != nil || report.Signers[0].Identity != tt.want {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
}

// A certificate that is not good now was good when a trusted timestamp authority, or
// log, says that the signature was made; the word of others is worth nothing.
func TestVerifyCertifiedStamped(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	ca := newPrivateCA(t, "acme root")
	s := certified(t, ca.leaf(alice().publicKey(t), nil), ca.issuer)
	r := newFake()
	plain, stamped, logged := r.model(t, "plain"), r.model(t, "stamped"), r.model(t, "logged")
	for model, services := range map[*signing.Target]signing.Services{
		&plain:   {},
		&stamped: {Timestamps: []string{d.TSA}, Roots: rootsOf(t, d)},
		&logged:  {Logs: []signing.LogService{{URL: d.Rekor, Version: 1}}, Roots: rootsOf(t, d)},
	} {
		witnessed, err := s.With(services)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{1, 0} {
			made, err := signing.Sign(t.Context(), r, *model, witnessed, signing.SignOptions{})
			if err != nil || len(made) != want {
				t.Fatalf("Sign = %v, %v", made, err)
			}
		}
	}
	trust, roots := ca.trust(release), rootsOf(t, d)
	// In the year 2000 the certificates are not good yet, as they are not any more later.
	synctest.Test(t, func(t *testing.T) {
		trust.Roots = roots
		for name, model := range map[string]signing.Target{"stamped": stamped, "logged": logged} {
			report, err := signing.Verify(t.Context(), r, model, trust)
			if err != nil || report.Signers[0].Time.Year() < 2026 || report.Signers[0].Logged != (name == "logged") {
				t.Errorf("%s: Verify = %+v, %v", name, report, err)
			}
		}
		if _, err := signing.Verify(t.Context(), r, plain, trust); err == nil || !strings.Contains(err.Error(), "no timestamp of a trusted authority") {
			t.Errorf("plain: %v", err)
		}
		trust.Roots = nil
		if _, err := signing.Verify(t.Context(), r, stamped, trust); err == nil || !strings.Contains(err.Error(), "no timestamp of a trusted authority") {
			t.Errorf("a stamp of nobody who is trusted: %v", err)
		}
	})
	trust.Roots, trust.RequireTimestamp = roots, true
	if _, err := signing.Verify(t.Context(), r, stamped, trust); err != nil {
		t.Errorf("a timestamp is required: %v", err)
	}
	if _, err := signing.Verify(t.Context(), r, plain, trust); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("a timestamp is required: %v", err)
	}
	trust.RequireTimestamp, trust.RequireLog = false, true
	if _, err := signing.Verify(t.Context(), r, stamped, trust); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("a log is required: %v", err)
	}
}

// Private authorities do not make more of a sigstore deployment's certificates
// count, nor it of theirs; together each has its own.
func TestVerifyCertifiedBesideFulcio(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	ca := newPrivateCA(t, "acme root")
	r, keyless := signedModel(t, d, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true})
	own := r.model(t, "own")
	if _, err := signing.Sign(t.Context(), r, own, certified(t, ca.leaf(alice().publicKey(t), nil), ca.issuer), signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	private, public := ca.trust(release, who), trustWho(t, d)
	private.Roots = public.Roots // whose authorities vouch for nobody
	both := private
	both.Identities = public.Identities
	for name, tt := range map[string]struct {
		trust  signing.Trust
		models []signing.Target
	}{
		"private": {private, []signing.Target{own}}, "public": {public, []signing.Target{keyless}}, "both": {both, []signing.Target{own, keyless}},
	} {
		for _, model := range []signing.Target{own, keyless} {
			_, err := signing.Verify(t.Context(), r, model, tt.trust)
			if want := slices.ContainsFunc(tt.models, func(m signing.Target) bool { return m.Descriptor.Digest == model.Descriptor.Digest }); want != (err == nil) {
				t.Errorf("%s: Verify = %v", name, err)
			}
		}
	}
}

// Nobody signs with a certificate that nobody would believe.
func TestSignCertifiedRefuses(t *testing.T) {
	ca := newPrivateCA(t, "acme root")
	key := alice().publicKey(t)
	expired := ca.leaf(key, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	})
	r := newFake()
	model := r.model(t, "model")
	if _, err := signing.Sign(t.Context(), r, model, certified(t, expired, ca.issuer), signing.SignOptions{}); err == nil || !strings.Contains(err.Error(), "not valid now") {
		t.Errorf("expired: %v", err)
	}
	authority := ca.leaf(key, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	if _, err := alice().signer.WithCertificates(pemOf(authority)); err == nil {
		t.Error("an authority's certificate is taken")
	}
}

// A root among the intermediates is not trusted.
func TestAddIntermediates(t *testing.T) {
	ca, stranger := newPrivateCA(t, "acme root"), newPrivateCA(t, "stranger")
	trust := ca.trust(release)
	if err := trust.Authorities.AddIntermediates(pemOf(stranger.root, stranger.issuer)); err != nil {
		t.Fatal(err)
	}
	r := newFake()
	model := r.model(t, "model")
	r.attach(t, model, chained(t, statement(signType, model.Descriptor.Digest), stranger.leaf(alice().publicKey(t), nil), stranger.issuer), nil)
	if _, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("Verify = %v", err)
	}
	for _, text := range []string{"", "x"} {
		if err := trust.Authorities.AddIntermediates([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
