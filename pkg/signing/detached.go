package signing

import (
	"bytes"
	"context"
	"fmt"

	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/encoding/protojson"
)

// MaxDetachedBytes bounds a bundle that is kept as a file, in bytes. One over a
// hundred thousand files has about half as many.
const MaxDetachedBytes = 48 << 20

// A Detached is a statement, and who signed it, that was in a bundle kept as a
// file and not in a registry.
type Detached struct {
	// Statement is the in-toto statement, as it was signed. It may be about
	// anything: what it says is for the caller to judge.
	Statement []byte

	Signer Signatory

	// Hint is what the bundle calls the key. Nothing vouches for it.
	Hint string
}

// SignDetached signs an in-toto statement and returns it in a sigstore bundle,
// to be kept as a file. A hint, unless empty, is what the bundle calls the key
// in place of what cosign calls it.
func SignDetached(ctx context.Context, s *Signer, statement []byte, hint string) ([]byte, error) {
	st, err := parseStatement(statement)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	if s.chain != nil && !s.services.none() {
		return nil, errChainAlone
	}
	raw, err := makeBundle(ctx, s, st)
	if err != nil {
		return nil, err
	}
	if hint == "" && s.chain == nil {
		return raw, nil
	}
	b, err := readBundle(raw)
	if err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if s.chain != nil {
		b.VerificationMaterial = chainMaterial(s.chain)
		return protojson.Marshal(b.Bundle)
	}
	if key := b.VerificationMaterial.GetPublicKey(); key != nil {
		key.Hint = hint
	}
	return b.MarshalJSON()
}

// VerifyDetached checks that trust signed the statement in a bundle. It looks at
// neither subjects nor predicate, and Trust.MatchRepository means nothing to it.
// Whatever is wrong with the bundle wraps [ErrUntrusted].
func VerifyDetached(ctx context.Context, bundle []byte, trust Trust) (d *Detached, err error) {
	if err := trust.Check(); err != nil {
		return nil, fmt.Errorf("verify signature: %w", err)
	}
	if len(bundle) > MaxDetachedBytes {
		return nil, fmt.Errorf("%w: bundle of %d bytes, more than %d", ErrUntrusted, len(bundle), MaxDetachedBytes)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = guard(func() (err error) {
		d, err = openDetached(bundle, trust)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return d, nil
}

func openDetached(raw []byte, trust Trust) (*Detached, error) {
	b, err := readBundle(raw)
	if err != nil {
		return nil, err
	}
	if b.MediaType != mediaTypeBundle {
		return nil, reject("sigstore bundle of media type %q, not %q", b.MediaType, mediaTypeBundle)
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return nil, reject("not a DSSE bundle")
	}
	if n := len(envelope.Signatures); n != 1 {
		return nil, reject("bundle with %d signatures instead of one", n)
	}
	if envelope.PayloadType != payloadInToto {
		return nil, reject("bundle over a %q, not an in-toto statement", envelope.PayloadType)
	}
	d := &Detached{Statement: envelope.Payload, Hint: b.VerificationMaterial.GetPublicKey().GetHint()}
	v := verification{trust: trust}
	if err := v.prepare(); err != nil {
		return nil, err
	}
	switch {
	case b.VerificationMaterial.GetX509CertificateChain() != nil:
		d.Signer, err = trust.chainSigner(b.VerificationMaterial, envelope)
	case b.VerificationMaterial.GetPublicKey() == nil:
		d.Signer, err = v.certificateSigner(b, artifact{})
	case trust.RequireLog || trust.RequireTimestamp || witnessed(b):
		d.Signer, err = v.keySigner(b, artifact{})
	default:
		// A list of many files is not taken apart only to find the key.
		d.Signer, err = trust.plainSigner(envelope, d.Hint)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// witnessed tells whether a log or a timestamp authority has something to say
// about a bundle.
func witnessed(b *sgbundle.Bundle) bool {
	m := b.GetVerificationMaterial()
	return len(m.GetTlogEntries())+len(m.GetTimestampVerificationData().GetRfc3161Timestamps()) > 0
}

// plainSigner finds the key that signed an envelope.
func (t Trust) plainSigner(envelope *protodsse.Envelope, hint string) (Signatory, error) {
	// Pre-authentication encoding, as the DSSE protocol 1.0 defines it.
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(payloadInToto), payloadInToto, len(envelope.Payload))
	pae = append(pae, envelope.Payload...)
	for _, key := range t.Keys {
		for _, verifier := range key.verifiers {
			if verifier.VerifySignature(bytes.NewReader(envelope.Signatures[0].Sig), bytes.NewReader(pae)) == nil {
				return key.signatory(), nil
			}
		}
	}
	return Signatory{}, reject("signed with another key (hint %.80q), or changed since", hint)
}
