package testsigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
)

// logged issues a certificate with the promise of the log of certificates in
// it, which is about the certificate as it would be without.
func (d *Deployment) logged(template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	d.t.Helper()
	pre := d.issue(template, d.caIssuer, key, d.caKey)
	parsed, err := ctx509.ParseCertificate(pre.Raw)
	d.check(err)
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, Timestamp: uint64(time.Now().UnixMilli())}
	signer, named := d.certLogKey, d.certLogKey
	if d.opts.ForgedPromise || d.opts.OtherPromise {
		signer = newKey(d.t)
	}
	if d.opts.OtherPromise {
		named = signer
	}
	copy(sct.LogID.KeyID[:], d.logID(named))
	input, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{
				IssuerKeyHash:  sha256.Sum256(d.caIssuer.RawSubjectPublicKeyInfo),
				TBSCertificate: parsed.RawTBSCertificate,
			},
		},
	}})
	d.check(err)
	sum := sha256.Sum256(input)
	sig, err := ecdsa.SignASN1(rand.Reader, signer, sum[:])
	d.check(err)
	sct.Signature = ct.DigitallySigned{
		Algorithm: tls.SignatureAndHashAlgorithm{Hash: tls.SHA256, Signature: tls.ECDSA}, Signature: sig,
	}
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	d.check(err)
	raw, err := tls.Marshal(*list)
	d.check(err)
	value, err := asn1.Marshal(raw)
	d.check(err)
	full := *template
	full.ExtraExtensions = append(full.ExtraExtensions[:len(full.ExtraExtensions):len(full.ExtraExtensions)],
		pkix.Extension{Id: asn1.ObjectIdentifier(ctx509.OIDExtensionCTSCT), Value: value})
	return d.issue(&full, d.caIssuer, key, d.caKey) // with the same serial number
}
