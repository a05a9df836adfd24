package signing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/signing"
)

// errUnknown stands for any error that leaves the question open: none of the
// three that answer it.
var errUnknown = errors.New("unknown")

func trustAlice() signing.Trust {
	return signing.Trust{Keys: []*signing.PublicKey{alice().key}}
}

// A verifyTest is one repository and what Verify makes of it.
type verifyTest struct {
	setup  func(t *testing.T, r *fakeRepo, model signing.Target)
	err    error  // nil: alice signed it
	reason string // part of the error's text
}

func (tt verifyTest) run(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	tt.setup(t, r, model)
	r.fetched = nil
	report, err := signing.Verify(t.Context(), r, model, trustAlice())
	tt.check(t, report, err)
}

func (tt verifyTest) check(t *testing.T, report *signing.Report, err error) {
	t.Helper()
	answers := []error{signing.ErrNoSignature, signing.ErrUntrusted, signing.ErrTooMany}
	switch tt.err {
	case nil:
		if err != nil || len(report.Signers) != 1 || report.Signers[0].KeyFingerprint != alice().key.Fingerprint() {
			t.Fatalf("Verify = %+v, %v; want alice as the signer", report, err)
		}
		return
	case errUnknown:
		for _, answer := range answers {
			if err == nil || errors.Is(err, answer) {
				t.Fatalf("Verify error = %v, want one that is no answer", err)
			}
		}
	default:
		if !errors.Is(err, tt.err) {
			t.Fatalf("Verify error = %v, want %v", err, tt.err)
		}
	}
	if !strings.Contains(err.Error(), tt.reason) {
		t.Errorf("Verify error = %q, want it to say %q", err, tt.reason)
	}
	if report != nil && len(report.Signers) > 0 {
		t.Errorf("signers = %v in spite of an error", report.Signers)
	}
}

func TestVerifyBundle(t *testing.T) {
	good := func(t *testing.T, m signing.Target) []byte {
		return alice().bundle(t, inToto, statement(signType, m.Descriptor.Digest))
	}
	attach := func(make func(t *testing.T, r *fakeRepo, m signing.Target) []byte, edit func(*ocispec.Manifest)) func(*testing.T, *fakeRepo, signing.Target) {
		return func(t *testing.T, r *fakeRepo, m signing.Target) { r.attach(t, m, make(t, r, m), edit) }
	}
	signed := func(payloadType string, text func(dgst digest.Digest) string) func(*testing.T, *fakeRepo, signing.Target) {
		return attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
			return alice().bundle(t, payloadType, text(m.Descriptor.Digest))
		}, nil)
	}
	plain := func(t *testing.T, _ *fakeRepo, m signing.Target) []byte { return good(t, m) }
	edited := func(edit func(b map[string]any)) func(*testing.T, *fakeRepo, signing.Target) {
		return attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
			var b map[string]any
			if err := json.Unmarshal(good(t, m), &b); err != nil {
				t.Fatal(err)
			}
			edit(b)
			return encode(t, b)
		}, nil)
	}
	envelope := func(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }
	material := func(b map[string]any) map[string]any { return b["verificationMaterial"].(map[string]any) }

	tests := map[string]verifyTest{
		"good": {setup: attach(plain, nil)},
		"listed with the config's artifact type": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, good(t, m), nil)
			r.referrers[m.Descriptor.Digest][0].ArtifactType = emptyType
		}},
		"annotated with another predicate type": {setup: attach(plain, func(m *ocispec.Manifest) {
			m.Annotations["dev.sigstore.bundle.predicateType"] = "https://slsa.dev/provenance/v1"
		})},
		"old statement type": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), "Statement/v1", "Statement/v0.1", 1)
		})},
		"no predicate": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), `,"predicate":{}`, "", 1)
		})},
		"hint left out": {setup: edited(func(b map[string]any) { material(b)["publicKey"] = map[string]any{} })},
		"good one after rubbish": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("rubbish"), nil)
			r.attach(t, m, mallory().bundle(t, inToto, statement(signType, m.Descriptor.Digest)), nil)
			r.attach(t, m, good(t, m), nil)
		}},
		"good one after a referrer that is gone": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			gone := r.attach(t, m, []byte("gone"), nil)
			delete(r.blobs, gone.Digest)
			r.attach(t, m, good(t, m), nil)
		}},

		"none":            {setup: func(*testing.T, *fakeRepo, signing.Target) {}, err: signing.ErrNoSignature},
		"other referrers": {setup: otherReferrers, err: signing.ErrNoSignature},
		"repository gone": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errdef.ErrNotFound }
		}, err: signing.ErrNoSignature},

		"attestation by the trusted key": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement("https://example.com/scan", d), `"predicate":{}`, `"predicate":{"scan":"FAILED"}`, 1)
		}), err: signing.ErrUntrusted, reason: "https://example.com/scan"},
		"model.sig kept as a referrer": {setup: signed(inToto, func(d digest.Digest) string {
			return statement("https://model_signing/signature/v1.0", d)
		}), err: signing.ErrUntrusted, reason: "not a signature"},
		"predicate type in other case": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement("x", d), `"_type"`, `"PredicateType":"`+signType+`","_type"`, 1)
		}), err: signing.ErrUntrusted, reason: `"x"`},
		"predicate type twice": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement("x", d), `"_type"`, `"predicateType":"`+signType+`","_type"`, 1)
		}), err: signing.ErrUntrusted, reason: "not an in-toto statement"},
		"unknown statement type": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), "Statement/v1", "Statement/v9", 1)
		}), err: signing.ErrUntrusted, reason: "Statement/v9"},
		"payload of another type": {setup: signed("application/json", func(d digest.Digest) string {
			return statement(signType, d)
		}), err: signing.ErrUntrusted, reason: "application/json"},
		"payload no JSON": {
			setup: signed(inToto, func(digest.Digest) string { return "yes, signed" }),
			err:   signing.ErrUntrusted, reason: "not an in-toto statement",
		},
		"no subjects": {setup: signed(inToto, func(digest.Digest) string {
			return `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"` + signType + `"}`
		}), err: signing.ErrUntrusted, reason: "another artifact"},
		"digest under another algorithm": {setup: signed(inToto, func(d digest.Digest) string {
			return strings.Replace(statement(signType, d), `"sha256":`, `"sha512":`, 1)
		}), err: signing.ErrUntrusted, reason: "another artifact"},
		"1025 subjects": {setup: signed(inToto, manySubjects), err: signing.ErrUntrusted, reason: "1025 subjects"},

		"another key": {setup: attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
			return mallory().bundle(t, inToto, statement(signType, m.Descriptor.Digest))
		}, nil), err: signing.ErrUntrusted, reason: mallory().key.Fingerprint()},
		"signature damaged": {setup: edited(func(b map[string]any) {
			env := envelope(b)
			env["signatures"] = []any{map[string]any{"sig": "AAAA"}}
		}), err: signing.ErrUntrusted, reason: "forged or damaged"},
		"payload exchanged": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			other := r.model(t, "other")
			var mine, theirs map[string]any
			_ = json.Unmarshal(good(t, m), &mine)
			_ = json.Unmarshal(good(t, other), &theirs)
			envelope(theirs)["payload"] = envelope(mine)["payload"]
			r.attach(t, m, encode(t, theirs), nil)
		}, err: signing.ErrUntrusted, reason: "forged or damaged"},
		"no signature": {
			setup: edited(func(b map[string]any) { envelope(b)["signatures"] = []any{} }),
			err:   signing.ErrUntrusted, reason: "0 signatures",
		},
		"two signatures": {setup: edited(func(b map[string]any) {
			sigs := envelope(b)["signatures"].([]any)
			envelope(b)["signatures"] = append(sigs, sigs[0])
		}), err: signing.ErrUntrusted, reason: "2 signatures"},
		"null signature": {
			setup: edited(func(b map[string]any) { envelope(b)["signatures"] = []any{nil} }),
			err:   signing.ErrUntrusted,
		},
		"message signature": {setup: edited(func(b map[string]any) {
			delete(b, "dsseEnvelope")
			b["messageSignature"] = map[string]any{"signature": "AAAA", "messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": "AAAA"}}
		}), err: signing.ErrUntrusted, reason: "not a DSSE bundle"},
		"certificate": {setup: edited(func(b map[string]any) {
			delete(material(b), "publicKey")
			material(b)["certificate"] = map[string]any{"rawBytes": "AAAA"}
		}), err: signing.ErrUntrusted, reason: "certificate"},
		"log entry that is none": {
			setup: edited(func(b map[string]any) { material(b)["tlogEntries"] = []any{map[string]any{}} }),
			err:   signing.ErrUntrusted, reason: "not a sigstore bundle",
		},
		"bundle of version 0.4": {setup: edited(func(b map[string]any) {
			b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json"
		}), err: signing.ErrUntrusted, reason: "not a sigstore bundle"},
		"bundle with unknown members": {
			setup: edited(func(b map[string]any) { b["dsseEnvelopes"] = 1 }),
			err:   signing.ErrUntrusted, reason: "not a sigstore bundle",
		},

		"bundle of another artifact": {setup: attach(func(t *testing.T, r *fakeRepo, _ signing.Target) []byte {
			return good(t, r.model(t, "other"))
		}, nil), err: signing.ErrUntrusted, reason: "another artifact"},
		"referrer of another artifact": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.referrers[m.Descriptor.Digest] = []ocispec.Descriptor{r.attach(t, r.model(t, "other"), good(t, m), nil)}
		}, err: signing.ErrUntrusted, reason: "subject of the referrer is another artifact"},
		"referrer without subject": {
			setup: attach(plain, func(m *ocispec.Manifest) { m.Subject = nil }),
			err:   signing.ErrUntrusted, reason: "subject of the referrer",
		},
		"two layers": {
			setup: attach(plain, func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }),
			err:   signing.ErrUntrusted, reason: "exactly one",
		},
		"layer of another type": {
			setup: attach(plain, func(m *ocispec.Manifest) { m.Layers[0].MediaType = "application/json" }),
			err:   signing.ErrUntrusted, reason: "exactly one",
		},
		"media type differs": {
			setup: attach(plain, func(m *ocispec.Manifest) { m.MediaType = "application/vnd.docker.distribution.manifest.v2+json" }),
			err:   signing.ErrUntrusted, reason: "says that it is",
		},
		"foreign urls": {
			setup: attach(plain, func(m *ocispec.Manifest) { m.Layers[0].URLs = []string{"http://169.254.169.254/"} }),
			err:   signing.ErrUntrusted,
		},
		"layers and manifests": {setup: layersAndManifests, err: signing.ErrUntrusted},
		"referrer is an index": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, good(t, m), nil)
			r.referrers[m.Descriptor.Digest][0].MediaType = ocispec.MediaTypeImageIndex
		}, err: signing.ErrUntrusted, reason: "no image manifest"},

		"list fails": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errors.New("503") }
		}, err: errUnknown, reason: "503"},
		"pages without end": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errdef.ErrTooManyPages }
		}, err: errUnknown},
		"manifest of a referrer fails": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			bad := r.attach(t, m, good(t, m), nil)
			r.fetch = failing(bad.Digest)
		}, err: errUnknown, reason: "connection reset"},
		"bundle fails": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := good(t, m)
			r.attach(t, m, raw, nil)
			r.fetch = failing(digest.FromBytes(raw))
		}, err: errUnknown, reason: "connection reset"},
		"wrong bytes for a bundle": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := good(t, m)
			r.attach(t, m, raw, nil)
			r.blobs[digest.FromBytes(raw)] = bytes.ToUpper(raw)
		}, err: signing.ErrUntrusted, reason: "mismatch"},
	}
	for name, tt := range tests {
		t.Run(name, tt.run)
	}
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

func TestVerifyClassic(t *testing.T) {
	good := func(t *testing.T, r *fakeRepo, m signing.Target) ocispec.Descriptor {
		p := payload(m.Descriptor.Digest)
		return r.layer(t, p, alice().sign(t, p))
	}
	one := func(edit func(*ocispec.Descriptor)) func(*testing.T, *fakeRepo, signing.Target) {
		return func(t *testing.T, r *fakeRepo, m signing.Target) {
			layer := good(t, r, m)
			edit(&layer)
			r.classic(t, m, layer)
		}
	}
	signed := func(text func(dgst digest.Digest) string) func(*testing.T, *fakeRepo, signing.Target) {
		return func(t *testing.T, r *fakeRepo, m signing.Target) {
			p := []byte(text(m.Descriptor.Digest))
			r.classic(t, m, r.layer(t, p, alice().sign(t, p)))
		}
	}
	tests := map[string]verifyTest{
		"good": {setup: one(func(*ocispec.Descriptor) {})},
		"log entry that makes cosign 2 panic": {setup: one(func(d *ocispec.Descriptor) {
			d.Annotations["dev.sigstore.cosign/bundle"] = `{"SignedEntryTimestamp":"AAAA","Payload":{"body":1,"integratedTime":1,"logIndex":1,"logID":"x"}}`
		})},
		"certificate that is none": {setup: one(func(d *ocispec.Descriptor) {
			d.Annotations["dev.sigstore.cosign/certificate"] = "x"
		})},
		"good one after one by another key": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			p := payload(m.Descriptor.Digest)
			r.classic(t, m, r.layer(t, p, mallory().sign(t, p)), good(t, r, m))
		}},

		"none": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) { r.classic(t, m) }, err: signing.ErrNoSignature},
		"another key": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			p := payload(m.Descriptor.Digest)
			r.classic(t, m, r.layer(t, p, mallory().sign(t, p)))
		}, err: signing.ErrUntrusted, reason: "another key"},
		"copied from another artifact": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.classic(t, m, good(t, r, r.model(t, "other")))
		}, err: signing.ErrUntrusted, reason: "another artifact"},
		"digest twice": {setup: signed(func(d digest.Digest) string {
			return strings.Replace(string(payload(d)), `{"docker-manifest-digest"`, `{"docker-manifest-digest":"x","docker-manifest-digest"`, 1)
		}), err: signing.ErrUntrusted, reason: "not a simple signing payload"},
		"no digest": {
			setup: signed(func(digest.Digest) string { return `{"critical":{"type":"cosign container image signature"}}` }),
			err:   signing.ErrUntrusted, reason: "another artifact",
		},
		"payload of another type": {setup: signed(func(d digest.Digest) string {
			return strings.Replace(string(payload(d)), "cosign container image", "atomic container", 1)
		}), err: signing.ErrUntrusted, reason: "atomic container"},
		"statement as payload": {
			setup: signed(func(d digest.Digest) string { return statement(signType, d) }),
			err:   signing.ErrUntrusted,
		},
		"without signature":    {setup: one(func(d *ocispec.Descriptor) { d.Annotations = nil }), err: signing.ErrUntrusted, reason: "without a signature"},
		"signature not base64": {setup: one(func(d *ocispec.Descriptor) { d.Annotations[sigKey] = "%" }), err: signing.ErrUntrusted, reason: "base64"},
		"endless signature": {
			setup: one(func(d *ocispec.Descriptor) { d.Annotations[sigKey] = strings.Repeat("A", 60_000) }),
			err:   signing.ErrUntrusted, reason: "without a signature",
		},
		"layer of another type": {setup: one(func(d *ocispec.Descriptor) { d.MediaType = inToto }), err: signing.ErrUntrusted, reason: inToto},
		"endless payload":       {setup: one(func(d *ocispec.Descriptor) { d.Size = 1 << 40 }), err: signing.ErrUntrusted, reason: "bytes"},
		"lying size":            {setup: one(func(d *ocispec.Descriptor) { d.Size++ }), err: signing.ErrUntrusted},
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
			r.classic(t, m, repeat(good(t, r, m), 65)...)
		}, err: signing.ErrTooMany, reason: "65 layers"},
		"1001 layers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.classic(t, m, repeat(good(t, r, m), 1001)...)
		}, err: signing.ErrTooMany},
	}
	for name, tt := range tests {
		t.Run(name, tt.run)
	}
}

func repeat(d ocispec.Descriptor, n int) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, n)
	for i := range out {
		out[i] = d
	}
	return out
}

// What is refused by its descriptor must not be fetched at all.
func TestVerifyFetchesNothing(t *testing.T) {
	tests := map[string]verifyTest{
		"5000 referrers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest] = repeat(r.referrers[m.Descriptor.Digest][0], 5000)
		}, err: signing.ErrTooMany, reason: "5000"},
		"65 referrers without a type": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			d := r.attach(t, m, []byte("x"), nil)
			d.ArtifactType = ""
			r.referrers[m.Descriptor.Digest] = repeat(d, 65)
		}, err: signing.ErrTooMany},
		"referrer of 4 MiB": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest][0].Size = 4 << 20
		}, err: signing.ErrUntrusted, reason: "4194304 bytes"},
		"referrer of negative size": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest][0].Size = -1
		}, err: signing.ErrUntrusted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			tt.setup(t, r, model)
			report, err := signing.Verify(t.Context(), r, model, trustAlice())
			tt.check(t, report, err)
			if len(r.fetched) > 0 {
				t.Errorf("fetched %d times, want not at all", len(r.fetched))
			}
		})
	}
}

// A bundle that is a gzip of very much is neither inflated nor believed.
func TestVerifyDoesNotInflate(t *testing.T) {
	var bomb bytes.Buffer
	zw := gzip.NewWriter(&bomb)
	block := bytes.Repeat([]byte(" "), 1<<20)
	for range 256 {
		if _, err := zw.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	r := newFake()
	model := r.model(t, "model")
	r.attach(t, model, bomb.Bytes(), nil)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := signing.Verify(t.Context(), r, model, trustAlice())
	runtime.ReadMemStats(&after)
	if !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("Verify error = %v, want ErrUntrusted", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 5<<20 {
		t.Errorf("Verify allocated %d bytes for a bundle of %d", got, bomb.Len())
	}
}

func TestVerifyMatchRepository(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	if _, err := signing.Sign(t.Context(), r, model, alice().signer, signing.SignOptions{Format: signing.Both}); err != nil {
		t.Fatal(err)
	}
	strict := trustAlice()
	strict.MatchRepository = true
	mirror := model
	mirror.Repository = "mirror.example.com/org/model"

	if _, err := signing.Verify(t.Context(), r, model, strict); err != nil {
		t.Errorf("in its own repository: %v", err)
	}
	if _, err := signing.Verify(t.Context(), r, mirror, trustAlice()); err != nil {
		t.Errorf("in a mirror: %v", err)
	}
	report, err := signing.Verify(t.Context(), r, mirror, strict)
	if !errors.Is(err, signing.ErrUntrusted) || len(report.Rejected) != 2 {
		t.Errorf("in a mirror, strictly: %+v, %v; want both signatures rejected", report, err)
	}
}

// A party counts once, however often it has signed.
func TestVerifyReport(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	for _, opts := range []signing.SignOptions{
		{Format: signing.Both},
		{Format: signing.Both, Annotations: map[string]string{"stage": "prod"}},
	} {
		if _, err := signing.Sign(t.Context(), r, model, alice().signer, opts); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []*testKey{mallory(), alice()} {
		r.attach(t, model, k.bundle(t, inToto, statement("https://example.com/scan", model.Descriptor.Digest)), nil)
	}
	both := signing.Trust{Keys: []*signing.PublicKey{mallory().key, alice().key}}
	report, err := signing.Verify(t.Context(), r, model, both)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Signers) != 1 || len(report.Rejected) != 2 {
		t.Fatalf("report = %+v, want one signer and two rejections", report)
	}
	want := signing.Signatory{
		Kind: "key", KeyFingerprint: alice().key.Fingerprint(),
		Format: signing.Bundle, Descriptor: r.referrers[model.Descriptor.Digest][0],
	}
	if diff := cmp.Diff(want, report.Signers[0]); diff != "" {
		t.Errorf("signer (-want +got):\n%s", diff)
	}
	if got := report.Rejected[0].String(); !strings.Contains(got, "bundle sha256:") || !strings.Contains(got, "scan") {
		t.Errorf("rejection = %q", got)
	}
}

func TestVerifyRefusesToGuess(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	r.fetch = func(ocispec.Descriptor) error { return cancelled.Err() }
	r.attach(t, model, alice().bundle(t, inToto, statement(signType, model.Descriptor.Digest)), nil)

	noRepository, noDigest := model, model
	noRepository.Repository = ""
	noDigest.Descriptor.Digest = "sha256:x"
	tests := map[string]struct {
		target signing.Target
		trust  signing.Trust
	}{
		"no key":        {model, signing.Trust{}},
		"no repository": {noRepository, trustAlice()},
		"no digest":     {noDigest, trustAlice()},
		"cancelled":     {model, trustAlice()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := signing.Verify(cancelled, r, tt.target, tt.trust)
			for _, answer := range []error{signing.ErrNoSignature, signing.ErrUntrusted, signing.ErrTooMany} {
				if err == nil || errors.Is(err, answer) {
					t.Errorf("Verify error = %v, want one that is no answer", err)
				}
			}
		})
	}
}
