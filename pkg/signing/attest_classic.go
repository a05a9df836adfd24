package signing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// annotationPredClassic is where cosign repeats the type of a predicate. It is
// not signed and nothing is made of it.
const annotationPredClassic = "predicateType"

// classicAttestations tells found of each layer behind the attestation tag, with
// who signed it and what it says. The first error of found ends it.
func (v *verification) classicAttestations(ctx context.Context, found func(Signatory, *statement, error) error) error {
	desc, image, err := readBehind(ctx, v.repo, v.target, suffixAttestations)
	if err != nil {
		return found(Signatory{Format: Classic, Descriptor: desc}, nil, err)
	}
	if image == nil {
		return nil
	}
	for _, layer := range image.manifest.Layers {
		var signer Signatory
		var st *statement
		err := guard(func() (err error) {
			signer, st, err = v.envelope(ctx, layer)
			return err
		})
		signer.Format, signer.Descriptor = Classic, layer
		if err := found(signer, st, err); err != nil {
			return err
		}
	}
	return nil
}

// envelope fetches and checks one layer behind the attestation tag.
func (v *verification) envelope(ctx context.Context, layer ocispec.Descriptor) (Signatory, *statement, error) {
	none := Signatory{}
	if layer.MediaType != cosigntypes.DssePayloadType {
		return none, nil, reject("layer is no DSSE envelope but %q", layer.MediaType)
	}
	raw, err := v.fetchBundle(ctx, layer)
	if err != nil {
		return none, nil, err
	}
	e, err := parseEnvelope(raw)
	if err != nil {
		return none, nil, err
	}
	st, err := parseStatement(e.Payload)
	if err != nil {
		return none, nil, err
	}
	if err := v.checkStatement(st); err != nil {
		return none, nil, err
	}
	signer, err := v.envelopeSigner(layer.Annotations, e)
	return signer, st, err
}

// envelopeSigner tells who signed an envelope. What it has beside its signature
// decides only where a certificate or a log is asked for.
func (v *verification) envelopeSigner(annotations map[string]string, e *envelope) (Signatory, error) {
	return v.attachedSigner(annotations,
		func() (*PublicKey, error) { return e.signedBy(v.trust.Keys) },
		func() (Signatory, error) {
			b, err := classicBundle(annotations, &protobundle.Bundle{Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
				PayloadType: e.PayloadType, Payload: e.Payload, Signatures: []*protodsse.Signature{{Sig: e.signature}},
			}}})
			if err != nil {
				return Signatory{}, err
			}
			of, err := v.about()
			if err != nil {
				return Signatory{}, err
			}
			return v.classicMaterial(annotations, b, of)
		})
}

// An envelope is a DSSE envelope with one signature.
type envelope struct {
	PayloadType string         `json:"payloadType"`
	Payload     []byte         `json:"payload"`
	Signatures  jsontext.Value `json:"signatures"`

	signature []byte
}

// parseEnvelope decodes an envelope over an in-toto statement. What is verified
// is what is decoded here: the bytes are not given to another parser, which
// might find something else in them.
func parseEnvelope(raw []byte) (*envelope, error) {
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, reject("not a DSSE envelope: %v", err)
	}
	if e.PayloadType != payloadInToto {
		return nil, reject("envelope over a %q, not an in-toto statement", e.PayloadType)
	}
	if len(e.Signatures) > maxSignature {
		return nil, reject("signatures of %d bytes, more than %d", len(e.Signatures), maxSignature)
	}
	var list []struct {
		Sig []byte `json:"sig"`
	}
	if len(e.Signatures) > 0 {
		if err := json.Unmarshal(e.Signatures, &list); err != nil {
			return nil, reject("not a DSSE envelope: %v", err)
		}
	}
	if len(list) != 1 {
		return nil, reject("envelope with %d signatures instead of one", len(list))
	}
	e.signature = list[0].Sig
	return &e, nil
}

// signedBy finds the key that signed the envelope. What an envelope says of its
// key is only a hint, so that all are tried.
func (e *envelope) signedBy(keys []*PublicKey) (*PublicKey, error) {
	// The pre-authentication encoding of DSSE, protocol.md.
	head := fmt.Sprintf("DSSEv1 %d %s %d ", len(e.PayloadType), e.PayloadType, len(e.Payload))
	for _, key := range keys {
		for _, verifier := range key.verifiers {
			signed := io.MultiReader(bytes.NewReader([]byte(head)), bytes.NewReader(e.Payload))
			if verifier.VerifySignature(bytes.NewReader(e.signature), signed) == nil {
				return key, nil
			}
		}
	}
	return nil, reject("signed with another key, or changed since")
}

// attachClassic adds a statement to those behind the attestation tag, unless v
// finds it there.
func (v *verification) attachClassic(ctx context.Context, repo Repository, s *Signer, st *statement) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if s.signer == nil {
		return none, errKeylessClassic
	}
	tag, ok := attachedTag(v.target.Descriptor.Digest, suffixAttestations)
	if !ok {
		return none, fmt.Errorf("the classic format has no tag for a %s digest", v.target.Descriptor.Digest.Algorithm())
	}
	var signed oci.Signature
	made := none
	for range classicTries {
		_, image, err := readBehind(ctx, repo, v.target, suffixAttestations)
		if err != nil {
			return none, err
		}
		there := signed != nil && image.has(signed)
		if !v.again {
			there, err = v.holdsStatement(ctx, st)
		}
		if err != nil || there {
			return made, err
		}
		if signed == nil {
			if signed, err = signStatement(ctx, s, st); err != nil {
				return none, err
			}
		}
		if made, err = addClassic(ctx, repo, tag, image, signed); err != nil {
			return none, err
		}
	}
	return none, fmt.Errorf("tag %s keeps changing: attestation lost %d times", tag, classicTries)
}

// errThere ends the search for a statement that is found.
var errThere = errors.New("it is there")

// holdsStatement tells whether those whom v trusts have signed the statement
// behind the tag already.
func (v *verification) holdsStatement(ctx context.Context, st *statement) (bool, error) {
	v.spent = 0 // the tag is read again after each try to change it
	err := v.classicAttestations(ctx, func(_ Signatory, there *statement, err error) error {
		switch {
		case err == nil && there.same(st):
			return errThere
		case err != nil && !isOwnFault(err):
			return fmt.Errorf("read attestations: %w", err)
		}
		return nil
	})
	if errors.Is(err, errThere) {
		return true, nil
	}
	return false, err
}

// signStatement makes the layer that cosign makes of a statement.
func signStatement(ctx context.Context, s *Signer, st *statement) (oci.Signature, error) {
	payload, err := st.encode()
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	raw, err := dsse.WrapSigner(s.signer, payloadInToto).SignMessage(bytes.NewReader(payload), options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	if n := len(raw); n > MaxAttestationBytes {
		return nil, fmt.Errorf("envelope of %d bytes, more than %d", n, MaxAttestationBytes)
	}
	opts := append(s.annotated(), static.WithLayerMediaType(cosigntypes.DssePayloadType),
		static.WithAnnotations(map[string]string{annotationPredClassic: st.PredicateType}))
	return static.NewAttestation(raw, opts...)
}
