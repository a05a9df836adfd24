package signing_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/signing"
)

// goodLayer is alice's signature of the target, as cosign 2 makes it.
func goodLayer(t *testing.T, r *fakeRepo, m signing.Target) ocispec.Descriptor {
	t.Helper()
	p := payload(m.Descriptor.Digest)
	return r.layer(t, p, alice().sign(t, p))
}

// tagLayer puts a good signature behind the tag after edit has changed it.
func tagLayer(edit func(*ocispec.Descriptor)) setup {
	return func(t *testing.T, r *fakeRepo, m signing.Target) {
		layer := goodLayer(t, r, m)
		edit(&layer)
		r.classic(t, m, layer)
	}
}

// tagSigned puts behind the tag what alice signed of a text about the target.
func tagSigned(text func(dgst digest.Digest) string) setup {
	return func(t *testing.T, r *fakeRepo, m signing.Target) {
		p := []byte(text(m.Descriptor.Digest))
		r.classic(t, m, r.layer(t, p, alice().sign(t, p)))
	}
}

// What must not keep a good signature from counting.
func TestVerifyClassicAccepts(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"good": {setup: tagLayer(func(*ocispec.Descriptor) {})},
		"log entry that makes cosign 2 panic": {setup: tagLayer(func(d *ocispec.Descriptor) {
			d.Annotations["dev.sigstore.cosign/bundle"] = `{"SignedEntryTimestamp":"AAAA","Payload":{"body":1,"integratedTime":1,"logIndex":1,"logID":"x"}}`
		})},
		"certificate that is none": {setup: tagLayer(func(d *ocispec.Descriptor) {
			d.Annotations["dev.sigstore.cosign/certificate"] = "x"
		})},
		"good one after one by another key": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			p := payload(m.Descriptor.Digest)
			r.classic(t, m, r.layer(t, p, mallory().sign(t, p)), goodLayer(t, r, m))
		}},
	})
}

// What the signed payload must say.
func TestVerifyClassicPayload(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"none": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) { r.classic(t, m) }, err: signing.ErrNoSignature},
		"another key": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			p := payload(m.Descriptor.Digest)
			r.classic(t, m, r.layer(t, p, mallory().sign(t, p)))
		}, err: signing.ErrUntrusted, reason: "another key"},
		"copied from another artifact": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.classic(t, m, goodLayer(t, r, r.model(t, "other")))
		}, err: signing.ErrUntrusted, reason: "another artifact"},
		"digest twice": {setup: tagSigned(func(d digest.Digest) string {
			return strings.Replace(string(payload(d)), `{"docker-manifest-digest"`, `{"docker-manifest-digest":"x","docker-manifest-digest"`, 1)
		}), err: signing.ErrUntrusted, reason: "not a simple signing payload"},
		"no digest": {
			setup: tagSigned(func(digest.Digest) string { return `{"critical":{"type":"cosign container image signature"}}` }),
			err:   signing.ErrUntrusted, reason: "another artifact",
		},
		"payload of another type": {setup: tagSigned(func(d digest.Digest) string {
			return strings.Replace(string(payload(d)), "cosign container image", "atomic container", 1)
		}), err: signing.ErrUntrusted, reason: "atomic container"},
		"statement as payload": {
			setup: tagSigned(func(d digest.Digest) string { return statement(signType, d) }),
			err:   signing.ErrUntrusted,
		},
	})
}

// What the layers and the tag must be.
func TestVerifyClassicLayer(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"without signature":    {setup: tagLayer(func(d *ocispec.Descriptor) { d.Annotations = nil }), err: signing.ErrUntrusted, reason: "without a signature"},
		"signature not base64": {setup: tagLayer(func(d *ocispec.Descriptor) { d.Annotations[sigKey] = "%" }), err: signing.ErrUntrusted, reason: "base64"},
		"endless signature": {
			setup: tagLayer(func(d *ocispec.Descriptor) { d.Annotations[sigKey] = strings.Repeat("A", 60_000) }),
			err:   signing.ErrUntrusted, reason: "without a signature",
		},
		"layer of another type": {setup: tagLayer(func(d *ocispec.Descriptor) { d.MediaType = inToto }), err: signing.ErrUntrusted, reason: inToto},
		"endless payload":       {setup: tagLayer(func(d *ocispec.Descriptor) { d.Size = 1 << 40 }), err: signing.ErrUntrusted, reason: "bytes"},
		"lying size":            {setup: tagLayer(func(d *ocispec.Descriptor) { d.Size++ }), err: signing.ErrUntrusted},
		"tag is no manifest": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			_ = r.PushManifest(t.Context(), content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, []byte("x")), []byte("x"), classicTag(m))
		}, err: signing.ErrUntrusted, reason: "malformed"},
		"tag is an index": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			_ = r.PushManifest(t.Context(), content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw), raw, classicTag(m))
		}, err: signing.ErrUntrusted, reason: "malformed"},
		"tag fails": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.manifest = func(string) (ocispec.Descriptor, []byte, error, bool) {
				return ocispec.Descriptor{}, nil, errors.New("503"), true
			}
		}, err: errUnknown, reason: "503"},
		"65 layers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.classic(t, m, repeat(goodLayer(t, r, m), 65)...)
		}, err: signing.ErrTooMany, reason: "65 layers"},
		"1001 layers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.classic(t, m, repeat(goodLayer(t, r, m), 1001)...)
		}, err: signing.ErrTooMany},
	})
}
