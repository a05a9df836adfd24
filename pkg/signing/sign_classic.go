package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
	"github.com/sigstore/sigstore/pkg/signature/options"
	simplesigning "github.com/sigstore/sigstore/pkg/signature/payload"
	"oras.land/oras-go/v2/content"
)

// classicTries bounds how often a signature is put back that somebody else's
// has pushed out.
const classicTries = 8

// signClassic adds a signature to those behind the tag, unless it is there.
func signClassic(ctx context.Context, repo Repository, t Target, s *Signer, opts SignOptions) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if s.signer == nil {
		return none, errKeylessClassic
	}
	tag, ok := attachedTag(t.Descriptor.Digest, suffixSignatures)
	if !ok {
		return none, fmt.Errorf("the classic format has no tag for a %s digest", t.Descriptor.Digest.Algorithm())
	}
	payload, err := makePayload(t, opts.Annotations)
	if err != nil {
		return none, err
	}
	var sig oci.Signature
	made := none
	for range classicTries {
		_, image, err := readClassic(ctx, repo, t)
		if err != nil {
			return none, err
		}
		there := sig != nil && image.has(sig)
		if !opts.Again {
			there = image.holds(ctx, payload, t, s)
		}
		if there {
			return made, nil
		}
		if sig == nil {
			if sig, err = signPayload(ctx, s, payload); err != nil {
				return none, err
			}
		}
		if made, err = addClassic(ctx, repo, tag, image, sig); err != nil {
			return none, err
		}
	}
	return none, fmt.Errorf("tag %s keeps changing: signature lost %d times", tag, classicTries)
}

func makePayload(t Target, annotations map[string]string) ([]byte, error) {
	claim := simplesigning.SimpleContainerImage{Critical: simplesigning.Critical{
		Identity: simplesigning.Identity{DockerReference: t.Repository},
		Image:    simplesigning.Image{DockerManifestDigest: t.Descriptor.Digest.String()},
		Type:     simplesigning.CosignSignatureType,
	}}
	if len(annotations) > 0 {
		claim.Optional = make(map[string]any, len(annotations))
		for k, v := range annotations {
			claim.Optional[k] = v
		}
	}
	payload, err := stdjson.Marshal(claim)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	if len(payload) > MaxPayloadBytes {
		return nil, errors.New("encode payload: too many annotations")
	}
	return payload, nil
}

func signPayload(ctx context.Context, s *Signer, payload []byte) (oci.Signature, error) {
	raw, err := s.signer.SignMessage(bytes.NewReader(payload), options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("sign payload: %w", err)
	}
	return static.NewSignature(payload, base64.StdEncoding.EncodeToString(raw), s.annotated()...)
}

// holds tells whether the image has a signature of the payload by the signer's key,
// with its certificates.
func (image *classicImage) holds(ctx context.Context, payload []byte, t Target, s *Signer) bool {
	if image == nil {
		return false
	}
	want := content.NewDescriptorFromBytes(cosigntypes.SimpleSigningMediaType, payload)
	for _, layer := range image.manifest.Layers {
		if layer.MediaType != want.MediaType || layer.Digest != want.Digest {
			continue
		}
		sig := layer.Annotations[static.SignatureAnnotationKey]
		chain, err := classicChain(layer.Annotations)
		if err != nil || !s.has(chain) {
			continue
		}
		if _, err := classicKey(ctx, payload, sig, t, []*PublicKey{s.public}); err == nil {
			return true
		}
	}
	return false
}

// has tells whether the image has just this signature or attestation.
func (image *classicImage) has(sig oci.Signature) bool {
	dgst, errDigest := sig.Digest()
	annotations, err := sig.Annotations()
	if image == nil || err != nil || errDigest != nil {
		return false
	}
	for _, layer := range image.manifest.Layers {
		if layer.Digest.String() == dgst.String() && layer.Annotations[static.SignatureAnnotationKey] == annotations[static.SignatureAnnotationKey] {
			return true
		}
	}
	return false
}

// addClassic writes the image with one more signature or attestation and moves
// the tag to it.
func addClassic(ctx context.Context, repo Repository, tag string, image *classicImage, sig oci.Signature) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	base, err := image.open(ctx, repo)
	if err != nil {
		return none, err
	}
	annotations, err := sig.Annotations()
	if err != nil {
		return none, err
	}
	next, err := mutate.Append(base, mutate.Addendum{Layer: sig, Annotations: annotations})
	if err != nil {
		return none, fmt.Errorf("append signature: %w", err)
	}
	manifest, err := next.RawManifest()
	if err != nil {
		return none, fmt.Errorf("append signature: %w", err)
	}
	config, err := next.RawConfigFile()
	if err != nil {
		return none, fmt.Errorf("append signature: %w", err)
	}
	payload, err := sig.Payload()
	if err != nil {
		return none, err
	}
	layerType, err := sig.MediaType()
	if err != nil {
		return none, err
	}
	for mediaType, blob := range map[types.MediaType][]byte{layerType: payload, types.OCIConfigJSON: config} {
		if err := push(ctx, repo, content.NewDescriptorFromBytes(string(mediaType), blob), bytes.NewReader(blob)); err != nil {
			return none, err
		}
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	if err := repo.PushManifest(ctx, desc, manifest, tag); err != nil {
		return none, fmt.Errorf("push manifest %s: %w", tag, err)
	}
	return desc, nil
}

// open returns the image as go-containerregistry's, to be appended to. A nil
// image opens as the empty one that cosign starts from.
func (image *classicImage) open(ctx context.Context, repo Reader) (v1.Image, error) {
	if image == nil {
		base := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		return mutate.ConfigMediaType(base, types.OCIConfigJSON), nil
	}
	if n := len(image.manifest.Layers); n >= MaxClassic {
		return nil, fmt.Errorf("%w: %d layers already", ErrTooMany, n)
	}
	config, err := fetch(ctx, repo, image.manifest.Config, maxConfigBytes)
	if err != nil {
		return nil, fmt.Errorf("config of the signature image: %w", err)
	}
	return partial.CompressedToImage(imageCore{manifest: image.raw, config: config})
}

// imageCore is an image of which only manifest and config are at hand, which is
// all that appending needs.
type imageCore struct{ manifest, config []byte }

func (c imageCore) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c imageCore) RawManifest() ([]byte, error)        { return c.manifest, nil }
func (c imageCore) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (c imageCore) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	return nil, fmt.Errorf("layer %s is not at hand", h)
}
