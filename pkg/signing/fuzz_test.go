package signing_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

// No bytes but those that alice signed verify: whatever passes as a bundle
// carries her statement.
func FuzzBundle(f *testing.F) {
	alice, mallory := fixedKey(1), fixedKey(2)
	r := newFake()
	model := r.model(f, "model")
	text := statement(signType, model.Descriptor.Digest)
	f.Add(alice.bundle(f, inToto, text))
	f.Add(mallory.bundle(f, inToto, text))
	f.Add(alice.bundle(f, inToto, statement("https://example.com/scan", model.Descriptor.Digest)))
	f.Add(alice.bundle(f, "text/plain", text))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{},"tlogEntries":[{"kindVersion":{}}]},"dsseEnvelope":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newFake()
		model := r.model(t, "model")
		r.attach(t, model, raw, nil)
		_, err := signing.Verify(t.Context(), r, model, alice.trust())
		if err != nil {
			if !errors.Is(err, signing.ErrUntrusted) {
				t.Fatalf("Verify error = %v, want ErrUntrusted", err)
			}
			return
		}
		var b sgbundle.Bundle
		if err := b.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		if got := string(b.GetDsseEnvelope().GetPayload()); got != text {
			t.Fatalf("accepted %q", got)
		}
	})
}

// No bundle with a certificate but one over the statement makes bob a signer, and
// alice is none whatever comes.
func FuzzCertificateBundle(f *testing.F) {
	d := testsigstore.New(f, testsigstore.Options{CertificateLog: true})
	model := newFake().model(f, "model")
	text := statement(signType, model.Descriptor.Digest)
	for _, log := range []testsigstore.Log{testsigstore.NoEntry, testsigstore.RekorV1, testsigstore.RekorV2} {
		f.Add(d.Bundle("bob@example.com", issuer, []byte(text), testsigstore.BundleOptions{Log: log, Stamp: true}))
	}
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{},"tlogEntries":[{"kindVersion":{}}],"timestampVerificationData":{"rfc3161Timestamps":[{}]}},"dsseEnvelope":{}}`))
	roots := rootsOf(f, d)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newFake()
		model := r.model(t, "model")
		r.attach(t, model, raw, nil)
		trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: issuer}}, Roots: roots}
		if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
			t.Fatalf("as alice: Verify = %+v, %v", report, err)
		}
		trust.Identities[0].Subject = "bob@example.com"
		if _, err := signing.Verify(t.Context(), r, model, trust); err == nil {
			var b sgbundle.Bundle
			if err := b.UnmarshalJSON(raw); err != nil || string(b.GetDsseEnvelope().GetPayload()) != text {
				t.Fatalf("accepted %q", raw)
			}
		}
	})
}

// Whatever a trusted root says, it is refused or can be verified with.
func FuzzParseTrustedRoot(f *testing.F) {
	d := testsigstore.New(f, testsigstore.Options{CertificateLog: true})
	r, model := signedModel(f, d, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true})
	f.Add(d.TrustedRoot())
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{"certChain":{"certificates":[{}]}}],"timestampAuthorities":[{"certChain":{}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		roots, err := signing.ParseTrustedRoot(raw)
		if err != nil {
			return
		}
		trust := signing.Trust{Keys: []*signing.PublicKey{fixedKey(1).key}, Roots: roots}
		if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
			t.Fatalf("Verify = %+v, %v", report, err)
		}
	})
}

// Whatever a signing configuration says, it is refused, or what it names is a
// few services or is refused when it comes to signing.
func FuzzParseSigningConfig(f *testing.F) {
	f.Add(testsigstore.New(f, testsigstore.Options{}).Serve().SigningConfig(testsigstore.RekorV2))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogUrls":[{}],"rekorTlogConfig":{"selector":"EXACT","count":4294967295}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := signing.ParseSigningConfig(raw)
		if err != nil {
			return
		}
		if _, err := signing.NewKeyless(func(context.Context) (string, error) { return "", nil }, s); err == nil && len(s.Logs)+len(s.Timestamps) > 8 {
			t.Fatalf("accepted %+v", s)
		}
	})
}

// No manifest behind the signature tag makes more of what is there: it is
// accepted only if alice's signature is in it.
func FuzzClassicManifest(f *testing.F) {
	alice := fixedKey(1)
	seed := newFake()
	model := seed.model(f, "model")
	p := payload(model.Descriptor.Digest)
	layer := seed.layer(f, p, alice.sign(f, p))
	seed.classic(f, model, layer)
	f.Add(seed.blobs[seed.tags[classicTag(model)].Digest])
	seed.classic(f, model, repeat(layer, 65)...)
	f.Add(seed.blobs[seed.tags[classicTag(model)].Digest])
	f.Add([]byte(`{"schemaVersion":2,"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":-1}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newFake()
		model := r.model(t, "model")
		r.blob(t, "", p)
		desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
		if err := r.PushManifest(t.Context(), desc, raw, classicTag(model)); err != nil {
			t.Fatal(err)
		}
		_, err := signing.Verify(t.Context(), r, model, alice.trust())
		known := errors.Is(err, signing.ErrUntrusted) || errors.Is(err, signing.ErrNoSignature) || errors.Is(err, signing.ErrTooMany)
		if err != nil && !known {
			t.Fatalf("Verify error = %v", err)
		}
		if err == nil {
			var m ocispec.Manifest
			if json.Unmarshal(raw, &m) != nil || !alice.signed(m, p) {
				t.Fatalf("accepted %q", raw)
			}
		}
	})
}

// signed tells whether a layer has k's signature of the payload.
func (k *testKey) signed(m ocispec.Manifest, payload []byte) bool {
	return slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool {
		sig, err := base64.StdEncoding.DecodeString(l.Annotations[sigKey])
		return err == nil && l.Digest == digest.FromBytes(payload) &&
			k.raw.VerifySignature(bytes.NewReader(sig), bytes.NewReader(payload)) == nil
	})
}

// No payload but one that names the digest verifies, whoever signed it.
func FuzzClassicPayload(f *testing.F) {
	alice := fixedKey(1)
	r := newFake()
	model := r.model(f, "model")
	f.Add(payload(model.Descriptor.Digest))
	f.Add(payload(digest.FromString("other")))
	f.Add([]byte(`{"critical":{"image":{"Docker-manifest-digest":"x"}}}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		r := newFake()
		model := r.model(t, "model")
		r.classic(t, model, r.layer(t, p, alice.sign(t, p)))
		_, err := signing.Verify(t.Context(), r, model, alice.trust())
		if err == nil && !bytes.Contains(p, []byte(model.Descriptor.Digest.Encoded())) && !bytes.Contains(p, []byte(`\u`)) {
			t.Fatalf("accepted %q", p)
		}
		if err != nil && !errors.Is(err, signing.ErrUntrusted) {
			t.Fatalf("Verify error = %v, want ErrUntrusted", err)
		}
	})
}

// A key that loads is written and loads again as the same key.
func FuzzLoadPublicKey(f *testing.F) {
	f.Add(fixedKey(1).public)
	names, err := filepath.Glob("testdata/*.pub")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		key, err := signing.LoadPublicKey(raw)
		if err != nil {
			return
		}
		again, err := signing.LoadPublicKey(key.PEM())
		if err != nil || again.Fingerprint() != key.Fingerprint() {
			t.Fatalf("%q loads again as %v, %v", raw, again, err)
		}
	})
}
