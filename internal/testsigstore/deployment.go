// Package testsigstore is a sigstore deployment in this process, for tests: a
// certificate authority like Fulcio, a transparency log like Rekor in both of
// its versions, a log of certificates and a timestamp authority, with the
// trusted root that describes them.
//
// [New] makes one without a network; [Deployment.Bundle] then signs what a test
// likes. [Deployment.Serve] puts the services on loopback, for what signs over
// the network. Each deployment has keys of its own, and all times are those of
// time.Now, so that a testing/synctest bubble moves a deployment to another year.
package testsigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// Options says what a deployment lacks or has besides.
type Options struct {
	NoLog          bool // no transparency log in the trusted root
	NoTimestamps   bool // no timestamp authority in the trusted root
	CertificateLog bool // a log of certificates, with its promises in the certificates
	NoPromise      bool // the log of certificates is not asked for them
	ForgedPromise  bool // somebody else signs them
	OtherPromise   bool // another log of certificates makes them

	// LogUntil, if not zero, is when the log's key went out of use.
	LogUntil time.Time
}

// A Deployment is one set of services. Its methods fail the test that made it.
type Deployment struct {
	t    testing.TB
	opts Options

	caRoot, caIssuer   *x509.Certificate
	caKey              *ecdsa.PrivateKey // of caIssuer
	tsaRoot, tsaLeaf   *x509.Certificate
	tsaKey             *ecdsa.PrivateKey // of tsaLeaf
	logKey, certLogKey *ecdsa.PrivateKey

	// URLs of the services, after Serve.
	Fulcio, Rekor, TSA, Issuer string

	asked requests
}

// logOrigin is the host of the log's URL in the trusted root, and what the log
// signs its checkpoints as.
const logOrigin = "rekor.localhost"

// New makes a deployment.
func New(t testing.TB, opts Options) *Deployment {
	t.Helper()
	d := &Deployment{t: t, opts: opts, logKey: newKey(t), certLogKey: newKey(t), caKey: newKey(t), tsaKey: newKey(t)}
	now := time.Now()
	rootKey := newKey(t)
	d.caRoot = d.issue(authority("test fulcio", now), nil, rootKey.Public(), rootKey)
	issuer := authority("test fulcio issuer", now)
	issuer.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	d.caIssuer = d.issue(issuer, d.caRoot, d.caKey.Public(), rootKey)

	tsaRootKey := newKey(t)
	d.tsaRoot = d.issue(authority("test tsa", now), nil, tsaRootKey.Public(), tsaRootKey)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	d.check(err)
	d.tsaLeaf = d.issue(&x509.Certificate{
		Subject:         pkix.Name{CommonName: "test tsa leaf"},
		NotBefore:       now.Add(-time.Hour),
		NotAfter:        now.Add(time.Hour),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, d.tsaRoot, d.tsaKey.Public(), tsaRootKey)
	return d
}

func (d *Deployment) check(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authority(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"test"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(2 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// issue signs a certificate; without a parent it is its own.
func (d *Deployment) issue(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	d.t.Helper()
	var err error
	if template.SerialNumber == nil {
		template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
		d.check(err)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	d.check(err)
	cert, err := x509.ParseCertificate(der)
	d.check(err)
	return cert
}

// leaf is a certificate as Fulcio issues it: good for ten minutes, with one
// name, and the OIDC issuer in an extension. Unlike Fulcio it also issues one for
// several names, with spaces between them, or without an issuer.
func (d *Deployment) leaf(identity, issuer string, key crypto.PublicKey) *x509.Certificate {
	d.t.Helper()
	value, err := asn1.MarshalWithParams(issuer, "utf8")
	d.check(err)
	now := time.Now()
	template := &x509.Certificate{
		NotBefore:   now.Add(-time.Minute),
		NotAfter:    now.Add(9 * time.Minute),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if issuer != "" {
		fulcio := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
		template.ExtraExtensions = []pkix.Extension{
			{Id: append(slices.Clone(fulcio), 1), Value: []byte(issuer)}, // of before, without a type
			{Id: append(slices.Clone(fulcio), 8), Value: value},
		}
	}
	for name := range strings.SplitSeq(identity, " ") {
		if u, err := url.Parse(name); err == nil && u.Scheme != "" {
			template.URIs = append(template.URIs, u)
		} else {
			template.EmailAddresses = append(template.EmailAddresses, name)
		}
	}
	if d.opts.CertificateLog && !d.opts.NoPromise {
		return d.logged(template, key)
	}
	return d.issue(template, d.caIssuer, key, d.caKey)
}

// stamp is the timestamp authority's answer for a signature.
func (d *Deployment) stamp(signature []byte) []byte {
	d.t.Helper()
	query, err := timestamp.CreateRequest(bytes.NewReader(signature), &timestamp.RequestOptions{Hash: crypto.SHA256})
	d.check(err)
	return d.answerStamp(query)
}

func (d *Deployment) answerStamp(query []byte) []byte {
	d.t.Helper()
	req, err := timestamp.ParseRequest(query)
	d.check(err)
	stamp := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce,
		Time: time.Now(), Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
	}
	raw, err := stamp.CreateResponseWithOpts(d.tsaLeaf, d.tsaKey, crypto.SHA256)
	d.check(err)
	return raw
}

// TrustedRoot is the deployment's trusted_root.json.
func (d *Deployment) TrustedRoot() []byte {
	d.t.Helper()
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	fulcio := &root.FulcioCertificateAuthority{
		Root: d.caRoot, Intermediates: []*x509.Certificate{d.caIssuer},
		ValidityPeriodStart: from, ValidityPeriodEnd: until, URI: "https://fulcio.localhost",
	}
	tsas := []root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
		Root: d.tsaRoot, Leaf: d.tsaLeaf, ValidityPeriodStart: from, ValidityPeriodEnd: until, URI: "https://tsa.localhost",
	}}
	if d.opts.NoTimestamps {
		tsas = nil
	}
	logs, certLogs := map[string]*root.TransparencyLog{}, map[string]*root.TransparencyLog{}
	describe := func(key *ecdsa.PrivateKey, host string, until time.Time) (string, *root.TransparencyLog) {
		id := d.logID(key)
		return hex.EncodeToString(id), &root.TransparencyLog{
			BaseURL: "https://" + host, ID: id, ValidityPeriodStart: from, ValidityPeriodEnd: until,
			HashFunc: crypto.SHA256, PublicKey: key.Public(), SignatureHashFunc: crypto.SHA256,
		}
	}
	if !d.opts.NoLog {
		end := until
		if !d.opts.LogUntil.IsZero() {
			end = d.opts.LogUntil
		}
		id, log := describe(d.logKey, logOrigin, end)
		logs[id] = log
	}
	if d.opts.CertificateLog {
		id, log := describe(d.certLogKey, "ct.localhost", until)
		certLogs[id] = log
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{fulcio}, certLogs, tsas, logs)
	d.check(err)
	raw, err := trusted.MarshalJSON()
	d.check(err)
	return raw
}

// logID is the SHA-256 of a log's key, by which it is known.
func (d *Deployment) logID(key *ecdsa.PrivateKey) []byte {
	d.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	d.check(err)
	sum := sha256.Sum256(der)
	return sum[:]
}
