package signing

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
	"github.com/sigstore/sigstore/pkg/signature"
	simplesigning "github.com/sigstore/sigstore/pkg/signature/payload"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// What follows the digest in the tags behind which things are attached.
const (
	suffixSignatures   = ".sig"
	suffixAttestations = ".att"
)

// attachedTag returns the tag of what is attached to a digest. Only sha256 has
// one: the tag of a sha512 would be longer than tags may be.
func attachedTag(dgst digest.Digest, suffix string) (string, bool) {
	if dgst.Algorithm() != digest.SHA256 {
		return "", false
	}
	return "sha256-" + dgst.Encoded() + suffix, true
}

// classicImage is the manifest behind such a tag.
type classicImage struct {
	raw      []byte
	manifest ocispec.Manifest
}

// readClassic returns the signature image of the target, nil if there is none.
func readClassic(ctx context.Context, repo Reader, t Target) (desc ocispec.Descriptor, image *classicImage, err error) {
	return readBehind(ctx, repo, t, suffixSignatures)
}

// readBehind returns the image behind one of the target's tags, nil if there is
// none. desc is set also when the image is refused.
func readBehind(ctx context.Context, repo Reader, t Target, suffix string) (desc ocispec.Descriptor, image *classicImage, err error) {
	tag, ok := attachedTag(t.Descriptor.Digest, suffix)
	if !ok {
		return desc, nil, nil
	}
	desc, raw, err := repo.Manifest(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return desc, nil, nil
	}
	if err != nil {
		return desc, nil, fmt.Errorf("fetch manifest %s: %w", tag, err)
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return desc, nil, err
	}
	if n := len(m.Layers); n > MaxClassic {
		return desc, nil, fmt.Errorf("%w: %d layers behind %s, more than %d", ErrTooMany, n, tag, MaxClassic)
	}
	return desc, &classicImage{raw: raw, manifest: m}, nil
}

// classic looks behind the signature tag.
func (v *verification) classic(ctx context.Context) error {
	desc, image, err := readClassic(ctx, v.repo, v.target)
	if err != nil {
		return v.record(Classic, desc, Signatory{}, err)
	}
	if image == nil {
		return nil
	}
	for _, layer := range image.manifest.Layers {
		signer, err := v.classicLayer(ctx, layer)
		if err := v.record(Classic, layer, signer, err); err != nil {
			return err
		}
	}
	return nil
}

// classicLayer fetches and checks one signature, and returns who made it.
func (v *verification) classicLayer(ctx context.Context, layer ocispec.Descriptor) (Signatory, error) {
	none := Signatory{}
	if layer.MediaType != cosigntypes.SimpleSigningMediaType {
		return none, reject("layer is no simple signing payload but %q", layer.MediaType)
	}
	payload, err := fetch(ctx, v.repo, layer, MaxPayloadBytes)
	if err != nil {
		return none, err
	}
	if err := v.checkPayload(payload); err != nil {
		return none, err
	}
	return v.attachedSigner(layer.Annotations,
		func() (*PublicKey, error) {
			return classicKey(ctx, payload, layer.Annotations[static.SignatureAnnotationKey], v.target, v.trust.Keys)
		},
		func() (Signatory, error) { return v.classicSigner(layer.Annotations, payload) })
}

// attachedSigner tells who signed what lies behind a tag, with these
// annotations. A key that signed it is found without them; the whole is looked
// at for a certificate, or for what a log or a timestamp authority says of the
// key's signature, which must be good where one of them is asked for.
func (v *verification) attachedSigner(annotations map[string]string, key func() (*PublicKey, error), whole func() (Signatory, error)) (Signatory, error) {
	var signer Signatory
	check := func() (err error) {
		signer, err = whole()
		return err
	}
	if v.certified != nil {
		if chain, err := classicChain(annotations); err != nil || !v.certified(chain) {
			return Signatory{}, errOtherChain
		}
	}
	if annotations[static.CertificateAnnotationKey] != "" && (len(v.trust.Identities) > 0 || v.trust.Authorities != nil) {
		err := guard(check)
		return signer, err
	}
	k, err := key()
	if err != nil || v.trust.Roots == nil {
		return k.signatory(), err
	}
	if err := guard(check); err != nil {
		if v.trust.RequireLog || v.trust.RequireTimestamp {
			return Signatory{}, err
		}
		return k.signatory(), nil
	}
	return signer, nil
}

// checkPayload tells whether a payload, if it is to be believed, is a signature
// of the target.
func (v *verification) checkPayload(payload []byte) error {
	var claim simplesigning.SimpleContainerImage
	if err := json.Unmarshal(payload, &claim); err != nil {
		return reject("not a simple signing payload: %v", err)
	}
	if claim.Critical.Type != simplesigning.CosignSignatureType {
		return reject("payload of type %q, not a signature", claim.Critical.Type)
	}
	if claim.Critical.Image.DockerManifestDigest != v.target.Descriptor.Digest.String() {
		return reject("signature of another artifact, %q", claim.Critical.Image.DockerManifestDigest)
	}
	if name := claim.Critical.Identity.DockerReference; v.trust.MatchRepository && name != v.target.Repository {
		return reject("signed for repository %q, not %q", name, v.target.Repository)
	}
	return nil
}

// classicKey finds the key that made the signature sig, in base64, of a
// payload. Only payload and signature reach cosign: of the other annotations a
// layer may have, a log entry makes cosign 2 panic, and none matters for a key.
func classicKey(ctx context.Context, payload []byte, sig string, t Target, keys []*PublicKey) (*PublicKey, error) {
	if sig == "" || len(sig) > maxSignature {
		return nil, reject("layer without a signature")
	}
	if _, err := base64.StdEncoding.DecodeString(sig); err != nil {
		return nil, reject("signature is not base64")
	}
	signed, err := static.NewSignature(payload, sig)
	if err != nil {
		return nil, reject("%v", err)
	}
	for _, key := range keys {
		for _, verifier := range key.verifiers {
			err := guard(func() error { return verifyClassic(ctx, signed, verifier, t.Descriptor.Digest) })
			if err == nil {
				return key, nil
			}
		}
	}
	return nil, reject("signed with another key, or changed since")
}

func verifyClassic(ctx context.Context, sig oci.Signature, verifier signature.Verifier, dgst digest.Digest) error {
	hash, err := v1.NewHash(dgst.String())
	if err != nil {
		return err
	}
	_, err = cosign.VerifyImageSignature(ctx, sig, hash, &cosign.CheckOpts{
		SigVerifier: verifier,
		// Without it the digest in the payload is not looked at.
		ClaimVerifier: cosign.SimpleClaimVerifier,
		IgnoreTlog:    true,
		IgnoreSCT:     true,
		Offline:       true,
	})
	return err
}
