package signing

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// maxDetached bounds the bundles of one predicate type that are fetched.
const maxDetached = 8

// AttachDetached attaches a bundle that [SignDetached] made to a version, as a
// referrer that says which type its predicate is of. It is no signature of the
// version: [Verify] and [Count] pass it over.
func AttachDetached(ctx context.Context, repo Repository, t Target, bundle []byte, predicateType string) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if err := t.check(); err != nil {
		return none, fmt.Errorf("attach statement: %w", err)
	}
	candidates, err := bundleReferrers(ctx, repo, t)
	if err != nil {
		return none, err
	}
	if len(candidates) >= MaxReferrers {
		return none, fmt.Errorf("%w: %d referrers may be bundles already", ErrTooMany, len(candidates))
	}
	layer := content.NewDescriptorFromBytes(mediaTypeBundle, bundle)
	empty := ocispec.DescriptorEmptyJSON
	for _, b := range []struct {
		desc ocispec.Descriptor
		raw  []byte
	}{{layer, bundle}, {empty, empty.Data}} {
		if err := push(ctx, repo, b.desc, bytes.NewReader(b.raw)); err != nil {
			return none, err
		}
	}
	manifest, err := referrer(t, layer, predicateType)
	if err != nil {
		return none, err
	}
	if err := repo.PushReferrer(ctx, manifest, t.Descriptor); err != nil {
		return none, fmt.Errorf("push referrer of %s: %w", t.Descriptor.Digest, err)
	}
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest), nil
}

// UnverifiedStatement returns the statement in a bundle that nobody has checked
// the signature of.
func UnverifiedStatement(bundle []byte) (statement []byte, err error) {
	if len(bundle) > MaxDetachedBytes {
		return nil, fmt.Errorf("bundle of %d bytes, more than %d", len(bundle), MaxDetachedBytes)
	}
	err = guard(func() error {
		b, err := readBundle(bundle)
		if err != nil {
			return err
		}
		if b.GetDsseEnvelope().GetPayloadType() != payloadInToto {
			return reject("not a DSSE bundle over an in-toto statement")
		}
		statement = b.GetDsseEnvelope().GetPayload()
		return nil
	})
	return statement, err
}

// UnverifiedSigner returns who a bundle says has signed it. Anybody can say anything.
func UnverifiedSigner(bundle []byte) (s Signatory, err error) {
	if len(bundle) > MaxDetachedBytes {
		return s, fmt.Errorf("bundle of %d bytes, more than %d", len(bundle), MaxDetachedBytes)
	}
	err = guard(func() error {
		b, err := readBundle(bundle)
		if err != nil {
			return err
		}
		s = bundleClaim(b)
		return nil
	})
	return s, err
}

// DetachedOf fetches the bundles that are attached to a version and say that
// their predicate is of a type, no more than eight. Nothing of them has been
// verified. An error is the registry's, and the last; what is wrong with one
// referrer passes that over.
func DetachedOf(ctx context.Context, repo Reader, t Target, predicateType string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		candidates, err := bundleReferrers(ctx, repo, t)
		if err != nil {
			yield(nil, err)
			return
		}
		v := verification{repo: repo, target: t}
		n := 0
		for _, desc := range candidates {
			if desc.Annotations[annotationPred] != predicateType || n == maxDetached {
				continue
			}
			n++
			layer, err := v.bundleLayer(ctx, desc)
			var raw []byte
			if err == nil {
				raw, err = fetch(ctx, repo, layer, MaxDetachedBytes)
			}
			if err != nil && isOwnFault(err) {
				continue
			}
			if !yield(raw, err) || err != nil {
				return
			}
		}
	}
}
