package signing

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/encoding/protojson"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const (
	mediaTypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// mediaTypeBundleV01 is of bundles that only have a log's promise.
	mediaTypeBundleV01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	bundlePrefix       = "application/vnd.dev.sigstore.bundle"
	payloadInToto      = "application/vnd.in-toto+json"
	annotationPred     = "dev.sigstore.bundle.predicateType"
	annotationBundle   = "dev.sigstore.bundle.content"
)

// bundles looks at the referrers.
func (v *verification) bundles(ctx context.Context) error {
	candidates, err := bundleReferrers(ctx, v.repo, v.target)
	if err != nil {
		return err
	}
	for _, desc := range candidates {
		signer, _, err := v.bundle(ctx, desc)
		if err := v.record(Bundle, desc, signer, err); err != nil {
			return err
		}
	}
	return nil
}

// bundleReferrers lists the referrers that may hold a bundle. The list is not
// filtered by the registry, since the artifact type in it is not always that of
// the manifest: cosign 2 leaves the config's there.
func bundleReferrers(ctx context.Context, repo Reader, t Target) ([]ocispec.Descriptor, error) {
	all, err := repo.Referrers(ctx, t.Descriptor, "")
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if errors.Is(err, errdef.ErrSizeExceedsLimit) {
		return nil, fmt.Errorf("%w: list signatures: %w", ErrTooMany, err)
	}
	if err != nil {
		return nil, fmt.Errorf("list signatures: %w", err)
	}
	var candidates []ocispec.Descriptor
	for _, desc := range all {
		if mayHoldBundle(desc) {
			candidates = append(candidates, desc)
		}
	}
	if len(candidates) > MaxReferrers {
		return nil, fmt.Errorf("%w: %d referrers may be bundles, more than %d", ErrTooMany, len(candidates), MaxReferrers)
	}
	return candidates, nil
}

func mayHoldBundle(desc ocispec.Descriptor) bool {
	switch desc.ArtifactType {
	case "", ocispec.MediaTypeEmptyJSON:
		return true
	}
	return strings.HasPrefix(desc.ArtifactType, bundlePrefix)
}

// bundle fetches and checks one referrer, and returns who signed it and what it
// says.
func (v *verification) bundle(ctx context.Context, desc ocispec.Descriptor) (Signatory, *statement, error) {
	layer, err := v.bundleLayer(ctx, desc)
	if err != nil {
		return Signatory{}, nil, err
	}
	raw, err := v.fetchBundle(ctx, layer)
	if err != nil {
		return Signatory{}, nil, err
	}
	var signer Signatory
	var st *statement
	err = guard(func() (err error) {
		signer, st, err = v.checkBundle(raw)
		return err
	})
	return signer, st, err
}

// bundleLayer fetches a referrer's manifest and returns the layer that is the
// bundle.
func (v *verification) bundleLayer(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if desc.MediaType != ocispec.MediaTypeImageManifest {
		return none, reject("referrer is no image manifest but %q", desc.MediaType)
	}
	raw, err := fetch(ctx, v.repo, desc, MaxReferrerBytes)
	if err != nil {
		return none, err
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return none, err
	}
	if m.MediaType != desc.MediaType {
		return none, reject("referrer listed as %q says that it is %q", desc.MediaType, m.MediaType)
	}
	if m.Subject == nil || m.Subject.Digest != v.target.Descriptor.Digest {
		return none, reject("subject of the referrer is another artifact")
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != mediaTypeBundle {
		return none, reject("referrer does not hold exactly one sigstore bundle")
	}
	return m.Layers[0], nil
}

// checkBundle checks all that makes a bundle a signature of the target, or an
// attestation about it.
func (v *verification) checkBundle(raw []byte) (Signatory, *statement, error) {
	none := Signatory{}
	b, err := readBundle(raw)
	if err != nil {
		return none, nil, err
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return none, nil, reject("not a DSSE bundle")
	}
	if n := len(envelope.Signatures); n != 1 {
		return none, nil, reject("bundle with %d signatures instead of one", n)
	}
	if envelope.PayloadType != payloadInToto {
		return none, nil, reject("bundle over a %q, not an in-toto statement", envelope.PayloadType)
	}
	st, err := parseStatement(envelope.Payload)
	if err != nil {
		return none, nil, err
	}
	if err := v.checkStatement(st); err != nil {
		return none, nil, err
	}
	if err := v.checkWanted(b.GetVerificationMaterial()); err != nil {
		return none, nil, err
	}
	signer, err := v.bundleSigner(b)
	return signer, st, err
}

// readBundle decodes a bundle. Signatures that sigstore made have one certificate at
// the most; a chain of them, which sigstore takes only when it is told to, is beside
// those of private authorities.
func readBundle(raw []byte) (*sgbundle.Bundle, error) {
	b := new(protobundle.Bundle)
	if err := protojson.Unmarshal(raw, b); err != nil {
		return nil, reject("not a sigstore bundle: %v", err)
	}
	out, err := sgbundle.NewBundle(b)
	if err != nil && b.GetVerificationMaterial().GetX509CertificateChain() != nil {
		out, err = sgbundle.NewBundle(b, sgbundle.AllowCertificateChain())
	}
	if err != nil {
		return nil, reject("not a sigstore bundle: %v", err)
	}
	return out, nil
}

// bundleSigner finds the trusted party that signed a bundle about the target.
func (v *verification) bundleSigner(b *sgbundle.Bundle) (Signatory, error) {
	of, err := v.about()
	if err != nil {
		return Signatory{}, err
	}
	if b.VerificationMaterial.GetPublicKey() != nil {
		return v.keySigner(b, of)
	}
	chain, err := chainOf(b.VerificationMaterial)
	if err != nil {
		return Signatory{}, err
	}
	return v.withCertificate(b, chain, of)
}

// about is the target's digest.
func (v *verification) about() (artifact, error) {
	dgst := v.target.Descriptor.Digest
	sum, err := hex.DecodeString(dgst.Encoded())
	return artifact{algorithm: dgst.Algorithm().String(), sum: sum}, err
}

// fingerprintOf reads the hint that cosign and we write, which is the key's
// fingerprint in base64.
func fingerprintOf(hint string) string {
	const maxHint = 128
	if sum, err := base64.StdEncoding.DecodeString(hint); err == nil && len(sum) == 32 {
		return hex.EncodeToString(sum)
	}
	return fmt.Sprintf("hint %q", hint[:min(len(hint), maxHint)])
}
