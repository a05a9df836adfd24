package signing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/signing"
)

type setup = func(t *testing.T, r *fakeRepo, m signing.Target)

// goodBundle is alice's signature of the target, as cosign makes it.
func goodBundle(t *testing.T, m signing.Target) []byte {
	t.Helper()
	return alice().bundle(t, inToto, statement(signType, m.Descriptor.Digest))
}

// attach attaches a bundle by a manifest that edit has changed.
func attach(bundle func(t *testing.T, r *fakeRepo, m signing.Target) []byte, edit func(*ocispec.Manifest)) setup {
	return func(t *testing.T, r *fakeRepo, m signing.Target) { r.attach(t, m, bundle(t, r, m), edit) }
}

func attachGood(edit func(*ocispec.Manifest)) setup {
	return attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte { return goodBundle(t, m) }, edit)
}

// attachSigned attaches what alice signed of a text about the target.
func attachSigned(payloadType string, text func(dgst digest.Digest) string) setup {
	return attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
		return alice().bundle(t, payloadType, text(m.Descriptor.Digest))
	}, nil)
}

// attachEdited attaches a good bundle that was changed afterwards.
func attachEdited(edit func(b map[string]any)) setup {
	return attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
		var b map[string]any
		if err := json.Unmarshal(goodBundle(t, m), &b); err != nil {
			t.Fatal(err)
		}
		edit(b)
		return encode(t, b)
	}, nil)
}

func envelope(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }

func material(b map[string]any) map[string]any { return b["verificationMaterial"].(map[string]any) }

// What must not keep a good bundle from counting.
func TestVerifyBundleAccepts(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"good": {setup: attachGood(nil)},
		"listed with the config's artifact type": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, goodBundle(t, m), nil)
			r.referrers[m.Descriptor.Digest][0].ArtifactType = emptyType
		}},
		"annotated with another predicate type": {setup: attachGood(func(m *ocispec.Manifest) {
			m.Annotations["dev.sigstore.bundle.predicateType"] = "https://slsa.dev/provenance/v1"
		})},
		"old statement type": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), "Statement/v1", "Statement/v0.1", 1)
		})},
		"no predicate": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), `,"predicate":{}`, "", 1)
		})},
		"hint left out": {setup: attachEdited(func(b map[string]any) { material(b)["publicKey"] = map[string]any{} })},
		"good one after rubbish": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("rubbish"), nil)
			r.attach(t, m, mallory().bundle(t, inToto, statement(signType, m.Descriptor.Digest)), nil)
			r.attach(t, m, goodBundle(t, m), nil)
		}},
		"good one after a referrer that is gone": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			gone := r.attach(t, m, []byte("gone"), nil)
			delete(r.blobs, gone.Digest)
			r.attach(t, m, goodBundle(t, m), nil)
		}},
	})
}

// Nothing that could be a signature.
func TestVerifyBundleNone(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"none":            {setup: func(*testing.T, *fakeRepo, signing.Target) {}, err: signing.ErrNoSignature},
		"other referrers": {setup: otherReferrers, err: signing.ErrNoSignature},
		"repository gone": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errdef.ErrNotFound }
		}, err: signing.ErrNoSignature},
	})
}

// What the signed statement must say.
func TestVerifyBundleStatement(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"attestation by the trusted key": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement("https://example.com/scan", d), `"predicate":{}`, `"predicate":{"scan":"FAILED"}`, 1)
		}), err: signing.ErrUntrusted, reason: "https://example.com/scan"},
		"model.sig kept as a referrer": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return statement("https://model_signing/signature/v1.0", d)
		}), err: signing.ErrUntrusted, reason: "not a signature"},
		"predicate type in other case": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement("x", d), `"_type"`, `"PredicateType":"`+signType+`","_type"`, 1)
		}), err: signing.ErrUntrusted, reason: `"x"`},
		"predicate type twice": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement("x", d), `"_type"`, `"predicateType":"`+signType+`","_type"`, 1)
		}), err: signing.ErrUntrusted, reason: "not an in-toto statement"},
		"unknown statement type": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), "Statement/v1", "Statement/v9", 1)
		}), err: signing.ErrUntrusted, reason: "Statement/v9"},
		"payload of another type": {setup: attachSigned("application/json", func(d digest.Digest) string {
			return statement(signType, d)
		}), err: signing.ErrUntrusted, reason: "application/json"},
		"payload no JSON": {
			setup: attachSigned(inToto, func(digest.Digest) string { return "yes, signed" }),
			err:   signing.ErrUntrusted, reason: "not an in-toto statement",
		},
		"no subjects": {setup: attachSigned(inToto, func(digest.Digest) string {
			return `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"` + signType + `"}`
		}), err: signing.ErrUntrusted, reason: "another artifact"},
		"digest under another algorithm": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), `"sha256":`, `"sha512":`, 1)
		}), err: signing.ErrUntrusted, reason: "another artifact"},
		"1025 subjects": {setup: attachSigned(inToto, manySubjects), err: signing.ErrUntrusted, reason: "1025 subjects"},
	})
}

// What the bundle around it must be.
func TestVerifyBundleEnvelope(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"another key": {setup: attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
			return mallory().bundle(t, inToto, statement(signType, m.Descriptor.Digest))
		}, nil), err: signing.ErrUntrusted, reason: mallory().key.Fingerprint()},
		"signature damaged": {setup: attachEdited(func(b map[string]any) {
			env := envelope(b)
			env["signatures"] = []any{map[string]any{"sig": "AAAA"}}
		}), err: signing.ErrUntrusted, reason: "forged or damaged"},
		"payload exchanged": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			other := r.model(t, "other")
			var mine, theirs map[string]any
			_ = json.Unmarshal(goodBundle(t, m), &mine)
			_ = json.Unmarshal(goodBundle(t, other), &theirs)
			envelope(theirs)["payload"] = envelope(mine)["payload"]
			r.attach(t, m, encode(t, theirs), nil)
		}, err: signing.ErrUntrusted, reason: "forged or damaged"},
		"no signature": {
			setup: attachEdited(func(b map[string]any) { envelope(b)["signatures"] = []any{} }),
			err:   signing.ErrUntrusted, reason: "0 signatures",
		},
		"two signatures": {setup: attachEdited(func(b map[string]any) {
			sigs := envelope(b)["signatures"].([]any)
			envelope(b)["signatures"] = append(sigs, sigs[0])
		}), err: signing.ErrUntrusted, reason: "2 signatures"},
		"null signature": {
			setup: attachEdited(func(b map[string]any) { envelope(b)["signatures"] = []any{nil} }),
			err:   signing.ErrUntrusted,
		},
		"message signature": {setup: attachEdited(func(b map[string]any) {
			delete(b, "dsseEnvelope")
			b["messageSignature"] = map[string]any{"signature": "AAAA", "messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": "AAAA"}}
		}), err: signing.ErrUntrusted, reason: "not a DSSE bundle"},
		"certificate": {setup: attachEdited(func(b map[string]any) {
			delete(material(b), "publicKey")
			material(b)["certificate"] = map[string]any{"rawBytes": "AAAA"}
		}), err: signing.ErrUntrusted, reason: "certificate"},
		"log entry that is none": {
			setup: attachEdited(func(b map[string]any) { material(b)["tlogEntries"] = []any{map[string]any{}} }),
			err:   signing.ErrUntrusted, reason: "not a sigstore bundle",
		},
		"bundle of version 0.4": {setup: attachEdited(func(b map[string]any) {
			b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json"
		}), err: signing.ErrUntrusted, reason: "not a sigstore bundle"},
		"bundle with unknown members": {
			setup: attachEdited(func(b map[string]any) { b["dsseEnvelopes"] = 1 }),
			err:   signing.ErrUntrusted, reason: "not a sigstore bundle",
		},
	})
}

// What the referrer must be.
func TestVerifyBundleReferrer(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"bundle of another artifact": {setup: attach(func(t *testing.T, r *fakeRepo, _ signing.Target) []byte {
			return goodBundle(t, r.model(t, "other"))
		}, nil), err: signing.ErrUntrusted, reason: "another artifact"},
		"referrer of another artifact": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.referrers[m.Descriptor.Digest] = []ocispec.Descriptor{r.attach(t, r.model(t, "other"), goodBundle(t, m), nil)}
		}, err: signing.ErrUntrusted, reason: "subject of the referrer is another artifact"},
		"referrer without subject": {
			setup: attachGood(func(m *ocispec.Manifest) { m.Subject = nil }),
			err:   signing.ErrUntrusted, reason: "subject of the referrer",
		},
		"two layers": {
			setup: attachGood(func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }),
			err:   signing.ErrUntrusted, reason: "exactly one",
		},
		"layer of another type": {
			setup: attachGood(func(m *ocispec.Manifest) { m.Layers[0].MediaType = "application/json" }),
			err:   signing.ErrUntrusted, reason: "exactly one",
		},
		"media type differs": {
			setup: attachGood(func(m *ocispec.Manifest) { m.MediaType = "application/vnd.docker.distribution.manifest.v2+json" }),
			err:   signing.ErrUntrusted, reason: "says that it is",
		},
		"foreign urls": {
			setup: attachGood(func(m *ocispec.Manifest) { m.Layers[0].URLs = []string{"http://169.254.169.254/"} }),
			err:   signing.ErrUntrusted,
		},
		"layers and manifests": {setup: layersAndManifests, err: signing.ErrUntrusted},
		"referrer is an index": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, goodBundle(t, m), nil)
			r.referrers[m.Descriptor.Digest][0].MediaType = ocispec.MediaTypeImageIndex
		}, err: signing.ErrUntrusted, reason: "no image manifest"},
	})
}

// What a registry can do to all of it.
func TestVerifyBundleRegistry(t *testing.T) {
	runAll(t, map[string]verifyTest{
		"list fails": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errors.New("503") }
		}, err: errUnknown, reason: "503"},
		"pages without end": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errdef.ErrTooManyPages }
		}, err: errUnknown},
		"more than anybody lists": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errdef.ErrSizeExceedsLimit }
		}, err: signing.ErrTooMany},
		"manifest of a referrer fails": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			bad := r.attach(t, m, goodBundle(t, m), nil)
			r.fetch = failing(bad.Digest)
		}, err: errUnknown, reason: "connection reset"},
		"bundle fails": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := goodBundle(t, m)
			r.attach(t, m, raw, nil)
			r.fetch = failing(digest.FromBytes(raw))
		}, err: errUnknown, reason: "connection reset"},
		"wrong bytes for a bundle": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := goodBundle(t, m)
			r.attach(t, m, raw, nil)
			r.blobs[digest.FromBytes(raw)] = bytes.ToUpper(raw)
		}, err: signing.ErrUntrusted, reason: "mismatch"},
	})
}

func otherReferrers(t *testing.T, r *fakeRepo, m signing.Target) {
	for i := range 200 {
		r.attach(t, m, fmt.Appendf(nil, "%d", i), func(m *ocispec.Manifest) {
			m.ArtifactType = "application/vnd.modelreg.eval.v1+json"
		})
	}
}

func manySubjects(d digest.Digest) string {
	one := fmt.Sprintf(`{"digest":{"sha256":%q}}`, d.Encoded())
	return `{"_type":"https://in-toto.io/Statement/v1","subject":[` + strings.Repeat(one+",", 1024) + one +
		`],"predicateType":"` + signType + `"}`
}

func layersAndManifests(t *testing.T, r *fakeRepo, m signing.Target) {
	layer := r.blob(t, bundleType, alice().bundle(t, inToto, statement(signType, m.Descriptor.Digest)))
	raw := encode(t, referrerManifest(m, layer))
	raw = append(bytes.TrimSuffix(raw, []byte("}")), `,"manifests":[]}`...)
	if err := r.PushReferrer(t.Context(), raw, m.Descriptor); err != nil {
		t.Fatal(err)
	}
}

func failing(dgst digest.Digest) func(ocispec.Descriptor) error {
	return func(desc ocispec.Descriptor) error {
		if desc.Digest == dgst {
			return errors.New("connection reset")
		}
		return nil
	}
}
