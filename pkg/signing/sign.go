package signing

import (
	"bytes"
	"context"
	"crypto/x509"
	stdjson "encoding/json"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	cosignbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/protobuf/encoding/protojson"
	"oras.land/oras-go/v2/content"
)

// SignOptions adjusts [Sign]. The zero value attaches a bundle.
type SignOptions struct {
	// Format is the layout to write. With Classic, of several signers at the
	// same moment one may lose: the tag is read, changed and written back.
	Format Format

	// Annotations are signed along, as "cosign sign -a" does.
	Annotations map[string]string

	// Again adds a signature also where the same party has signed the same
	// before.
	Again bool
}

// Sign signs the target's digest and attaches the signature in its repository.
// It returns the manifests that it wrote: none for a layout in which the same
// party has signed the same before, unless asked to. A bundle that is in no log, or has no timestamp,
// and would have one by the signer's services, is made again.
//
// The private key sees the digest alone; that the target exists and is what the
// caller thinks it is, is the caller's to know. Sign refuses with [ErrTooMany]
// when one more signature would be too many for [Verify].
func Sign(ctx context.Context, repo Repository, t Target, s *Signer, opts SignOptions) ([]ocispec.Descriptor, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var steps []func(context.Context, Repository, Target, *Signer, SignOptions) (ocispec.Descriptor, error)
	switch opts.Format {
	case Bundle:
		steps = append(steps, signBundle)
	case Classic:
		steps = append(steps, signClassic)
	case Both:
		steps = append(steps, signBundle, signClassic)
	default:
		return nil, fmt.Errorf("sign: unknown format %d", opts.Format)
	}
	var made []ocispec.Descriptor
	for _, sign := range steps {
		desc, err := sign(ctx, repo, t, s, opts)
		if err != nil {
			return made, fmt.Errorf("sign: %w", err)
		}
		if desc.Digest != "" {
			made = append(made, desc)
		}
	}
	return made, nil
}

// signBundle attaches a signature as a bundle, unless it is there.
func signBundle(ctx context.Context, repo Repository, t Target, s *Signer, opts SignOptions) (ocispec.Descriptor, error) {
	st := newStatement(t, Predicate{Type: predicateSign, Raw: emptyPredicate()}).annotate(opts.Annotations)
	v, err := s.own(ctx, repo, t)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	v.again = opts.Again
	return v.attach(ctx, repo, s, st)
}

// emptyPredicate is that of a signature.
func emptyPredicate() jsontext.Value { return jsontext.Value("{}") }

// attach attaches a statement as a bundle, unless v finds it there.
func (v *verification) attach(ctx context.Context, repo Repository, s *Signer, st *statement) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	v.want(s.services)
	found, err := v.findBundle(ctx, st)
	if err != nil || found {
		return none, err
	}
	raw, err := makeBundle(ctx, s, st)
	if err != nil {
		return none, err
	}
	if int64(len(raw)) > v.bundleLimit() {
		return none, fmt.Errorf("make bundle: %d bytes, more than %d", len(raw), v.bundleLimit())
	}
	layer := content.NewDescriptorFromBytes(mediaTypeBundle, raw)
	if err := push(ctx, repo, layer, bytes.NewReader(raw)); err != nil {
		return none, err
	}
	empty := ocispec.DescriptorEmptyJSON
	if err := push(ctx, repo, empty, bytes.NewReader(empty.Data)); err != nil {
		return none, err
	}
	manifest, err := referrer(v.target, layer, st.PredicateType)
	if err != nil {
		return none, err
	}
	if err := repo.PushReferrer(ctx, manifest, v.target.Descriptor); err != nil {
		return none, fmt.Errorf("push referrer of %s: %w", v.target.Descriptor.Digest, err)
	}
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest), nil
}

// want has only those bundles count that have what the services would say: it
// cannot be added to a bundle later.
func (v *verification) want(s Services) {
	v.wanted = demand{log: len(s.Logs) > 0, timestamp: len(s.Timestamps) > 0}
	if s.Roots != nil {
		v.trust.Roots = s.Roots
		v.trust.RequireLog, v.trust.RequireTimestamp = v.wanted.log, v.wanted.timestamp
	}
}

// checkWanted tells what a bundle does not have, without looking at whose it is.
func (v *verification) checkWanted(m *protobundle.VerificationMaterial) error {
	if v.wanted.log && len(m.GetTlogEntries()) == 0 {
		return reject("bundle without an entry of a log")
	}
	if v.certified != nil {
		var chain []*x509.Certificate
		if m.GetPublicKey() == nil {
			var err error
			if chain, err = chainOf(m); err != nil {
				return err
			}
		}
		if !v.certified(chain) {
			return errOtherChain
		}
	}
	if v.wanted.timestamp && len(m.GetTimestampVerificationData().GetRfc3161Timestamps()) == 0 {
		return reject("bundle without a timestamp")
	}
	return nil
}

// errOtherChain says of a signature by the same key that it is not the same.
var errOtherChain = reject("other certificates beside it, or none")

// findBundle tells whether those whom v trusts have signed the statement already,
// and that is enough.
func (v *verification) findBundle(ctx context.Context, st *statement) (bool, error) {
	candidates, err := bundleReferrers(ctx, v.repo, v.target)
	if err != nil {
		return false, err
	}
	for _, desc := range candidates {
		if v.again {
			break
		}
		_, there, err := v.bundle(ctx, desc)
		if err != nil && !isOwnFault(err) {
			return false, fmt.Errorf("read signatures: %w", err)
		}
		if err == nil && there.same(st) {
			return true, nil
		}
	}
	if len(candidates) >= MaxReferrers {
		return false, fmt.Errorf("%w: %d referrers may be bundles already", ErrTooMany, len(candidates))
	}
	return false, nil
}

func makeBundle(ctx context.Context, s *Signer, st *statement) ([]byte, error) {
	payload, err := st.encode()
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	if s.token != nil || !s.services.none() {
		raw, err := s.witnessed(ctx, payload)
		if err != nil {
			return nil, fmt.Errorf("sign statement: %w", err)
		}
		return raw, nil
	}
	envelope, err := dsse.WrapSigner(s.signer, payloadInToto).SignMessage(bytes.NewReader(payload), options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	raw, err := cosignbundle.MakeNewBundle(s.public.key, nil, payload, envelope, s.public.pem, nil)
	if err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if s.chain == nil {
		return raw, nil
	}
	b, err := readBundle(raw)
	if err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	b.VerificationMaterial = s.material()
	return protojson.Marshal(b.Bundle)
}

// referrer returns the manifest that attaches a bundle, as cosign's
// WriteAttestationNewBundleFormat writes it. That function itself talks to a
// registry, past the repository that this package is given.
func referrer(t Target, layer ocispec.Descriptor, predicateType string) ([]byte, error) {
	config := ocispec.DescriptorEmptyJSON
	config.Data = nil
	config.ArtifactType = mediaTypeBundle
	return stdjson.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: mediaTypeBundle,
		Config:       config,
		Layers:       []ocispec.Descriptor{layer},
		Subject: &ocispec.Descriptor{
			MediaType: t.Descriptor.MediaType, Digest: t.Descriptor.Digest, Size: t.Descriptor.Size,
		},
		Annotations: map[string]string{
			annotationBundle:          "dsse-envelope",
			annotationPred:            predicateType,
			ocispec.AnnotationCreated: time.Now().UTC().Format(time.RFC3339),
		},
	})
}
