package signing

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const (
	mediaTypeBundle  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	bundlePrefix     = "application/vnd.dev.sigstore.bundle"
	payloadInToto    = "application/vnd.in-toto+json"
	annotationPred   = "dev.sigstore.bundle.predicateType"
	annotationBundle = "dev.sigstore.bundle.content"
)

// bundles looks at the referrers.
func (v *verification) bundles(ctx context.Context) error {
	candidates, err := bundleReferrers(ctx, v.repo, v.target)
	if err != nil {
		return err
	}
	for _, desc := range candidates {
		key, _, err := v.bundle(ctx, desc)
		if err := v.record(Bundle, desc, key, err); err != nil {
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

// bundle fetches and checks one referrer, and returns the key that signed it
// and what it says.
func (v *verification) bundle(ctx context.Context, desc ocispec.Descriptor) (*PublicKey, *statement, error) {
	layer, err := v.bundleLayer(ctx, desc)
	if err != nil {
		return nil, nil, err
	}
	raw, err := v.fetchBundle(ctx, layer)
	if err != nil {
		return nil, nil, err
	}
	var key *PublicKey
	var st *statement
	err = guard(func() (err error) {
		key, st, err = v.checkBundle(raw)
		return err
	})
	return key, st, err
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
func (v *verification) checkBundle(raw []byte) (*PublicKey, *statement, error) {
	var b sgbundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, nil, reject("not a sigstore bundle: %v", err)
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return nil, nil, reject("not a DSSE bundle")
	}
	if n := len(envelope.Signatures); n != 1 {
		return nil, nil, reject("bundle with %d signatures instead of one", n)
	}
	if envelope.PayloadType != payloadInToto {
		return nil, nil, reject("bundle over a %q, not an in-toto statement", envelope.PayloadType)
	}
	st, err := parseStatement(envelope.Payload)
	if err != nil {
		return nil, nil, err
	}
	if err := v.checkStatement(st); err != nil {
		return nil, nil, err
	}
	if b.VerificationMaterial.GetPublicKey() == nil {
		return nil, nil, reject("signed with a certificate, and only keys are trusted")
	}
	key, err := v.bundleKey(&b)
	return key, st, err
}

// bundleKey finds the trusted key that signed the bundle. The key that a bundle
// names is only a hint, so that all are tried.
func (v *verification) bundleKey(b *sgbundle.Bundle) (*PublicKey, error) {
	for _, key := range v.trust.Keys {
		for _, verifier := range key.verifiers {
			if v.verifyBundle(b, verifier) == nil {
				return key, nil
			}
		}
	}
	hint := fingerprintOf(b.VerificationMaterial.GetPublicKey().GetHint())
	for _, key := range v.trust.Keys {
		if key.fingerprint == hint {
			return nil, reject("signature by the trusted key %s is not good: forged or damaged", hint)
		}
	}
	return nil, reject("signed with another key (%s)", hint)
}

func (v *verification) verifyBundle(b *sgbundle.Bundle, verifier signature.Verifier) error {
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	// A key has no time of its own, and no log is asked: nothing to observe.
	sv, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	if err != nil {
		return err
	}
	dgst := v.target.Descriptor.Digest
	sum, err := hex.DecodeString(dgst.Encoded())
	if err != nil {
		return err
	}
	_, err = sv.Verify(b, verify.NewPolicy(verify.WithArtifactDigest(dgst.Algorithm().String(), sum), verify.WithKey()))
	return err
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
