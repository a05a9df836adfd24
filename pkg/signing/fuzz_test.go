package signing_test

import (
	"bytes"
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
