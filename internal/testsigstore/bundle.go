package testsigstore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorv2 "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	rekordsse "github.com/sigstore/rekor/pkg/types/dsse"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1" // the kinds of entries
	rekorhashed "github.com/sigstore/rekor/pkg/types/hashedrekord"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1" // that the log takes
	rekorintoto "github.com/sigstore/rekor/pkg/types/intoto"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.2"
	rekorutil "github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	tlogformat "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
)

// A Log is a version of the transparency log.
type Log int

// The versions of Rekor: the first signs when it took an entry, the second
// leaves times to timestamp authorities.
const (
	NoEntry Log = iota
	RekorV1
	RekorV2
)

// BundleOptions adjusts [Deployment.Bundle].
type BundleOptions struct {
	Log   Log  // the log that holds the signature
	Stamp bool // the timestamp authority stamps it

	// Kind is that of the entry in a log of the first version: "dsse", which
	// empty means, "intoto" or "hashedrekord".
	Kind string

	// Edit, if not nil, changes the bundle when it is complete.
	Edit func(*protobundle.Bundle)
}

// Bundle signs a payload as the holder of a new certificate, and returns the
// sigstore bundle.
func (d *Deployment) Bundle(identity, issuer string, payload []byte, opts BundleOptions) []byte {
	d.t.Helper()
	key := newKey(d.t)
	cert := d.leaf(identity, issuer, key.Public())
	const payloadType = "application/vnd.in-toto+json"
	sum := sha256.Sum256(dsse.PAE(payloadType, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	d.check(err)
	b := &protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: payload, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	}
	switch opts.Log {
	case RekorV1:
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{d.entryOf(opts.Kind, cert, b.GetDsseEnvelope())}
	case RekorV2:
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{d.entryV2(sum[:], sig, certificateVerifier(cert))}
	}
	if opts.Stamp {
		b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: d.stamp(sig)}},
		}
	}
	if opts.Edit != nil {
		opts.Edit(b)
	}
	raw, err := protojson.Marshal(b)
	d.check(err)
	return raw
}

func certificateVerifier(cert *x509.Certificate) *rekorv2.Verifier {
	return &rekorv2.Verifier{
		KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
		Verifier:   &rekorv2.Verifier_X509Certificate{X509Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
	}
}

// entryOf is what Rekor of the first version keeps of an envelope, in an entry of
// the kind.
func (d *Deployment) entryOf(kind string, cert *x509.Certificate, e *protodsse.Envelope) *protorekor.TransparencyLogEntry {
	d.t.Helper()
	sig := e.Signatures[0].Sig
	envelope, err := json.Marshal(dsse.Envelope{
		PayloadType: e.PayloadType, Payload: base64.StdEncoding.EncodeToString(e.Payload),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
	d.check(err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	about := types.ArtifactProperties{ArtifactBytes: envelope, PublicKeyBytes: [][]byte{certPEM}}
	var proposed models.ProposedEntry
	version := "0.0.1"
	switch kind {
	case "", "dsse":
		kind = "dsse"
		proposed, err = rekordsse.New().CreateProposedEntry(d.t.Context(), version, about)
	case "intoto":
		version = "0.0.2"
		proposed, err = rekorintoto.New().CreateProposedEntry(d.t.Context(), version, about)
	case "hashedrekord":
		sum := sha256.Sum256(dsse.PAE(e.PayloadType, e.Payload))
		proposed, err = rekorhashed.New().CreateProposedEntry(d.t.Context(), version, types.ArtifactProperties{
			ArtifactHash: hex.EncodeToString(sum[:]), SignatureBytes: sig, PublicKeyBytes: about.PublicKeyBytes, PKIFormat: "x509",
		})
	default:
		d.t.Fatalf("no entry of kind %q", kind)
	}
	d.check(err)
	entry, err := types.CreateVersionedEntry(proposed)
	d.check(err)
	body, err := types.CanonicalizeEntry(d.t.Context(), entry)
	d.check(err)
	made := d.entryV1(body, kind)
	made.KindVersion.Version = version
	return made
}

func (d *Deployment) logSigner() signature.SignerVerifier {
	d.t.Helper()
	sv, err := signature.LoadECDSASignerVerifier(d.logKey, crypto.SHA256)
	d.check(err)
	return sv
}

// entryV1 is an entry of the first version: the only one in its tree, with the
// log's signature on when it was taken.
func (d *Deployment) entryV1(body []byte, kind string) *protorekor.TransparencyLogEntry {
	d.t.Helper()
	id := d.logID(d.logKey)
	at := time.Now().Unix()
	claim, err := json.Marshal(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: at, LogIndex: 0, LogID: hex.EncodeToString(id),
	})
	d.check(err)
	claim, err = jsoncanonicalizer.Transform(claim)
	d.check(err)
	promise, err := d.logSigner().SignMessage(bytes.NewReader(claim))
	d.check(err)
	leaf := rfc6962.DefaultHasher.HashLeaf(body)
	const treeID = 42
	checkpoint, err := rekorutil.CreateAndSignCheckpoint(context.Background(), logOrigin, treeID, 1, leaf, d.logSigner())
	d.check(err)
	return &protorekor.TransparencyLogEntry{
		LogIndex: 0, LogId: &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind, Version: "0.0.1"},
		IntegratedTime:    at,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		InclusionProof:    &protorekor.InclusionProof{TreeSize: 1, RootHash: leaf, Checkpoint: &protorekor.Checkpoint{Envelope: string(checkpoint)}},
		CanonicalizedBody: body,
	}
}

// entryV2 is an entry of the second version, the second one in its tree: parsers
// other than protobuf's want numbers to be there, which leaves out those that are 0.
func (d *Deployment) entryV2(sum, sig []byte, verifier *rekorv2.Verifier) *protorekor.TransparencyLogEntry {
	d.t.Helper()
	body, err := protojson.Marshal(&rekorv2.Entry{
		ApiVersion: "0.0.2", Kind: "hashedrekord",
		Spec: &rekorv2.Spec{Spec: &rekorv2.Spec_HashedRekordV002{HashedRekordV002: &rekorv2.HashedRekordLogEntryV002{
			Data:      &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum},
			Signature: &rekorv2.Signature{Content: sig, Verifier: verifier},
		}}},
	})
	d.check(err)
	body, err = jsoncanonicalizer.Transform(body)
	d.check(err)
	before := rfc6962.DefaultHasher.HashLeaf([]byte("the first entry"))
	tree := rfc6962.DefaultHasher.HashChildren(before, rfc6962.DefaultHasher.HashLeaf(body))
	signer, err := rekornote.NewNoteSigner(context.Background(), logOrigin, d.logSigner())
	d.check(err)
	checkpoint, err := note.Sign(&note.Note{Text: string(tlogformat.Checkpoint{Origin: logOrigin, Size: 2, Hash: tree}.Marshal())}, signer)
	d.check(err)
	return &protorekor.TransparencyLogEntry{
		LogIndex: 1, LogId: &protocommon.LogId{KeyId: d.logID(d.logKey)},
		KindVersion: &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: 1, TreeSize: 2, RootHash: tree, Hashes: [][]byte{before}, Checkpoint: &protorekor.Checkpoint{Envelope: string(checkpoint)},
		},
		CanonicalizedBody: body,
	}
}

// Classic signs a payload as the holder of a new certificate, and returns the
// annotations with which cosign keeps all that in the classic layout: the
// signature, the certificate, an entry of the log, of its first version, and a
// timestamp.
func (d *Deployment) Classic(identity, issuer string, payload []byte, opts BundleOptions) map[string]string {
	d.t.Helper()
	key := newKey(d.t)
	cert := d.leaf(identity, issuer, key.Public())
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	d.check(err)
	text := func(v any) string {
		raw, err := json.Marshal(v)
		d.check(err)
		return string(raw)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	annotations := map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig),
		"dev.sigstore.cosign/certificate":    string(certPEM),
	}
	if opts.Log == RekorV1 {
		proposed, err := rekorhashed.New().CreateProposedEntry(d.t.Context(), "", types.ArtifactProperties{
			ArtifactHash: hex.EncodeToString(sum[:]), SignatureBytes: sig, PublicKeyBytes: [][]byte{certPEM}, PKIFormat: "x509",
		})
		d.check(err)
		entry, err := types.CreateVersionedEntry(proposed)
		d.check(err)
		body, err := types.CanonicalizeEntry(d.t.Context(), entry)
		d.check(err)
		made := d.entryV1(body, "hashedrekord")
		annotations["dev.sigstore.cosign/bundle"] = text(map[string]any{
			"SignedEntryTimestamp": made.InclusionPromise.SignedEntryTimestamp,
			"Payload": map[string]any{
				"body": body, "integratedTime": made.IntegratedTime, "logIndex": made.LogIndex, "logID": hex.EncodeToString(made.LogId.KeyId),
			},
		})
	}
	if opts.Stamp {
		annotations["dev.sigstore.cosign/rfc3161timestamp"] = text(map[string][]byte{"SignedRFC3161Timestamp": d.stamp(sig)})
	}
	return annotations
}
