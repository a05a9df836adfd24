package signing

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"

	"github.com/go-json-experiment/json"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
)

// maxClassicAnnotation bounds each annotation that a classic signature brings
// along: a certificate, a log entry, a timestamp.
const maxClassicAnnotation = 64 << 10

// A classicEntry is the annotation with which cosign keeps a log entry beside a
// classic signature.
type classicEntry struct {
	SignedEntryTimestamp []byte
	Payload              struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
}

// classicSigner tells who made a classic signature of the payload, and what a
// log and a timestamp authority say of it. The payload is known to be about the
// target.
func (v *verification) classicSigner(annotations map[string]string, payload []byte) (Signatory, error) {
	sig, err := base64.StdEncoding.DecodeString(annotations[static.SignatureAnnotationKey])
	if err != nil || len(sig) == 0 {
		return Signatory{}, reject("layer without a signature in base64")
	}
	sum := sha256.Sum256(payload)
	b, err := classicBundle(annotations, &protobundle.Bundle{Content: &protobundle.Bundle_MessageSignature{
		MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     sig,
		},
	}})
	if err != nil {
		return Signatory{}, err
	}
	return v.classicMaterial(annotations, b, artifact{algorithm: "sha256", sum: sum[:]})
}

// classicMaterial tells who signed a bundle that was made of annotations.
func (v *verification) classicMaterial(annotations map[string]string, b *sgbundle.Bundle, of artifact) (Signatory, error) {
	if b.VerificationMaterial.GetPublicKey() != nil {
		return v.keySigner(b, of)
	}
	chain, err := classicChain(annotations)
	if err != nil {
		return Signatory{}, err
	}
	return v.withCertificate(b, chain, of)
}

// classicBundle adds to a bundle that has nothing but its content what cosign
// keeps in annotations of the classic layout: a certificate, a log entry, a
// timestamp. The outcome is what sigstore's verifier takes.
func classicBundle(annotations map[string]string, b *protobundle.Bundle) (*sgbundle.Bundle, error) {
	b.MediaType, b.VerificationMaterial = mediaTypeBundle, &protobundle.VerificationMaterial{}
	for _, key := range []string{
		static.SignatureAnnotationKey, static.CertificateAnnotationKey, static.BundleAnnotationKey, static.RFC3161TimestampAnnotationKey,
	} {
		if n := len(annotations[key]); n > maxClassicAnnotation {
			return nil, reject("annotation %s of %d bytes, more than %d", key, n, maxClassicAnnotation)
		}
	}
	for _, add := range []func(*protobundle.Bundle, map[string]string) error{addCertificate, addEntry, addTimestamp} {
		if err := add(b, annotations); err != nil {
			return nil, err
		}
	}
	out, err := sgbundle.NewBundle(b)
	if err != nil {
		return nil, reject("%v", err)
	}
	return out, nil
}

func addCertificate(b *protobundle.Bundle, annotations map[string]string) error {
	text := annotations[static.CertificateAnnotationKey]
	if text == "" {
		b.VerificationMaterial.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return reject("certificate is not in PEM")
	}
	b.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: block.Bytes},
	}
	return nil
}

// addEntry adds the entry of a log of the first version. Only the log's promise
// is kept with a classic signature, which bundles of the first version allow.
func addEntry(b *protobundle.Bundle, annotations map[string]string) error {
	text := annotations[static.BundleAnnotationKey]
	if text == "" {
		return nil
	}
	var entry classicEntry
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		return reject("not a log entry: %v", err)
	}
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(entry.Payload.Body, &kind); err != nil {
		return reject("not a log entry: %v", err)
	}
	id, err := hex.DecodeString(entry.Payload.LogID)
	if err != nil {
		return reject("not a log entry: %v", err)
	}
	b.MediaType = mediaTypeBundleV01
	b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{{
		LogIndex:          entry.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    entry.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: entry.SignedEntryTimestamp},
		CanonicalizedBody: entry.Payload.Body,
	}}
	return nil
}

func addTimestamp(b *protobundle.Bundle, annotations map[string]string) error {
	text := annotations[static.RFC3161TimestampAnnotationKey]
	if text == "" {
		return nil
	}
	var stamp struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal([]byte(text), &stamp); err != nil {
		return reject("not a timestamp: %v", err)
	}
	b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
	}
	return nil
}
