package signing_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	scanType = "https://example.com/scan"
	attType  = "application/vnd.dsse.envelope.v1+json"
)

// scan is a statement that a scan of a digest failed.
func scan(dgst digest.Digest) string {
	return strings.Replace(statement(scanType, dgst), `"predicate":{}`, `"predicate":{"scan":"FAILED"}`, 1)
}

// envelope signs any payload as a DSSE envelope.
func (k *testKey) envelope(t testing.TB, payloadType, payload string) []byte {
	t.Helper()
	raw, err := dsse.WrapSigner(k.raw, payloadType).SignMessage(strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// attestations puts an image with the envelopes behind the target's attestation
// tag.
func (r *fakeRepo) attestations(t testing.TB, target signing.Target, envelopes ...[]byte) {
	t.Helper()
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    r.blob(t, ocispec.MediaTypeImageConfig, []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}`)),
	}
	for _, raw := range envelopes {
		layer := r.blob(t, attType, raw)
		layer.Annotations = map[string]string{sigKey: "", "predicateType": "https://example.com/unsigned"}
		m.Layers = append(m.Layers, layer)
	}
	raw := encode(t, m)
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	if err := r.PushManifest(t.Context(), desc, raw, attTag(target)); err != nil {
		t.Fatal(err)
	}
}

func attTag(target signing.Target) string {
	return "sha256-" + target.Descriptor.Digest.Encoded() + ".att"
}

// behindTag puts what alice signed behind the attestation tag.
func behindTag(payloadType string, text func(digest.Digest) string) setup {
	return func(t *testing.T, r *fakeRepo, m signing.Target) {
		r.attestations(t, m, alice().envelope(t, payloadType, text(m.Descriptor.Digest)))
	}
}

// editedEnvelope puts alice's envelope behind the tag after it was changed.
func editedEnvelope(edit func(raw string) string) setup {
	return func(t *testing.T, r *fakeRepo, m signing.Target) {
		r.attestations(t, m, []byte(edit(string(alice().envelope(t, inToto, scan(m.Descriptor.Digest))))))
	}
}

// An attestTest is one repository and what Attestations makes of it.
type attestTest struct {
	setup    setup
	found    []string // predicates of alice
	err      error
	rejected string // part of the only reason; "" if there is none
}

func (tt attestTest) run(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	tt.setup(t, r, model)
	report, err := signing.Attestations(t.Context(), r, model, trustAlice())
	switch {
	case tt.err == errUnknown && (err == nil || errors.Is(err, signing.ErrTooMany)):
		t.Fatalf("Attestations error = %v, want one that is no answer", err)
	case tt.err != errUnknown && !errors.Is(err, tt.err):
		t.Fatalf("Attestations error = %v, want %v", err, tt.err)
	}
	var found, reasons []string
	for _, a := range report.Attestations {
		found = append(found, a.Type+" "+string(a.Raw))
		if a.Signer.KeyFingerprint != alice().key.Fingerprint() || a.Signer.Kind != "key" {
			t.Errorf("signed by %+v, want alice", a.Signer)
		}
	}
	for _, rej := range report.Rejected {
		reasons = append(reasons, rej.Reason)
	}
	if diff := cmp.Diff(tt.found, found); diff != "" {
		t.Errorf("attestations (-want +got):\n%s\nrejected: %q", diff, reasons)
	}
	if got := strings.Join(reasons, "; "); (tt.rejected == "") != (got == "") || !strings.Contains(got, tt.rejected) {
		t.Errorf("rejected %q, want a reason with %q", reasons, tt.rejected)
	}
}

func runAttestTests(t *testing.T, tests map[string]attestTest) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, tests[name].run)
	}
}

var failedScan = []string{scanType + ` {"scan":"FAILED"}`}

func TestAttestationsFound(t *testing.T) {
	runAttestTests(t, map[string]attestTest{
		"none":           {setup: func(*testing.T, *fakeRepo, signing.Target) {}},
		"bundle":         {setup: attachSigned(inToto, scan), found: failedScan},
		"behind the tag": {setup: behindTag(inToto, scan), found: failedScan},
		"old statement type": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(scan(d), "Statement/v1", "Statement/v0.1", 1)
		}), found: failedScan},
		"listed with the config's artifact type": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			attachSigned(inToto, scan)(t, r, m)
			r.referrers[m.Descriptor.Digest][0].ArtifactType = emptyType
		}, found: failedScan},
		"annotated as a signature": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, alice().bundle(t, inToto, scan(m.Descriptor.Digest)), func(m *ocispec.Manifest) {
				m.Annotations["dev.sigstore.bundle.predicateType"] = signType
			})
		}, found: failedScan},
		"one of two subjects": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(scan(d), `"subject":[`, `"subject":[{"digest":{"sha256":"00"}},`, 1)
		}), found: failedScan},
		"numbers as they are": {setup: attachSigned(inToto, func(d digest.Digest) string {
			return strings.Replace(scan(d), `"FAILED"`, `12345678901234567890.10`, 1)
		}), found: []string{scanType + ` {"scan":12345678901234567890.10}`}},
		"signatures are none": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			if _, err := signing.Sign(t.Context(), r, m, alice().signer, signing.SignOptions{Format: signing.Both}); err != nil {
				t.Fatal(err)
			}
		}},
	})
}

// What the statement must say, in either layout.
func TestAttestationsStatement(t *testing.T) {
	replace := func(from, to string) func(digest.Digest) string {
		return func(d digest.Digest) string { return strings.Replace(scan(d), from, to, 1) }
	}
	texts := map[string]struct {
		text     func(digest.Digest) string
		rejected string
	}{
		"of another artifact":         {func(digest.Digest) string { return scan(digest.FromString("other")) }, "another artifact"},
		"digest by another algorithm": {replace(`"sha256":`, `"sha512":`), "another artifact"},
		"no subjects":                 {func(d digest.Digest) string { return strings.Replace(scan(d), "{\"digest\"", "{\"x\"", 1) }, "another artifact"},
		"1025 subjects": {func(d digest.Digest) string {
			return strings.Replace(manySubjects(d), `"predicateType":"`+signType+`"`, `"predicateType":"x:y","predicate":{}`, 1)
		}, "1025 subjects"},
		"subjects of 2 MiB":           {replace(`"subject":[`, `"subject":[`+strings.Repeat(`{"digest":{}},`, 150_000)), "subjects of"},
		"unknown statement type":      {replace("Statement/v1", "Statement/v2"), "Statement/v2"},
		"predicate type twice":        {replace(`"_type"`, `"predicateType":"x:y","_type"`), "not an in-toto statement"},
		"predicate twice":             {replace(`"_type"`, `"predicate":{},"_type"`), "not an in-toto statement"},
		"name twice in the predicate": {replace(`"scan"`, `"scan":"PASSED","scan"`), "not an in-toto statement"},
		"predicate in other case":     {replace(`"predicate"`, `"Predicate"`), "without a predicate"},
		"predicate a text":            {replace(`{"scan":"FAILED"}`, `"SPDXVersion: SPDX-2.2"`), "predicate is no object"},
		"predicate null":              {replace(`{"scan":"FAILED"}`, `null`), "predicate is no object"},
		"predicate type empty":        {replace(scanType, ""), "no URI"},
		"predicate type no URI":       {replace(scanType, "scan"), "no URI"},
		"predicate type of 2 KiB":     {replace(scanType, "x:"+strings.Repeat("y", 2048)), "predicate type of"},
		"payload no JSON":             {func(digest.Digest) string { return "scanned" }, "not an in-toto statement"},
		"model.sig kept as a referrer": {func(digest.Digest) string {
			return statement("https://model_signing/signature/v1.0", digest.FromString("root"))
		}, "another artifact"},
	}
	tests := map[string]attestTest{
		"bundle over another payload type": {setup: attachSigned("application/json", scan), rejected: "application/json"},
		"behind the tag over another type": {setup: behindTag("application/json", scan), rejected: "application/json"},
	}
	for name, tt := range texts {
		tests["bundle "+name] = attestTest{setup: attachSigned(inToto, tt.text), rejected: tt.rejected}
		tests["behind the tag "+name] = attestTest{setup: behindTag(inToto, tt.text), rejected: tt.rejected}
	}
	runAttestTests(t, tests)
}

// Whose it must be.
func TestAttestationsSigner(t *testing.T) {
	runAttestTests(t, map[string]attestTest{
		"bundle by another key": {setup: attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
			return mallory().bundle(t, inToto, scan(m.Descriptor.Digest))
		}, nil), rejected: "another key"},
		"behind the tag by another key": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attestations(t, m, mallory().envelope(t, inToto, scan(m.Descriptor.Digest)))
		}, rejected: "another key"},
		"good one between": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			d := m.Descriptor.Digest
			r.attestations(t, m, alice().envelope(t, inToto, scan(d)), mallory().envelope(t, inToto, scan(d)), alice().envelope(t, inToto, scan(d)))
		}, found: append(failedScan, failedScan...), rejected: "another key"},
		"payload exchanged behind the tag": {setup: editedEnvelope(func(raw string) string {
			e := between(raw, `"payload":"`, `"`)
			payload, _ := base64.StdEncoding.DecodeString(e)
			forged := strings.Replace(string(payload), "FAILED", "PASSED", 1)
			return strings.Replace(raw, e, base64.StdEncoding.EncodeToString([]byte(forged)), 1)
		}), rejected: "changed since"},
		"payload twice, in another case": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			forged := base64.StdEncoding.EncodeToString([]byte(strings.Replace(scan(m.Descriptor.Digest), "FAILED", "PASSED", 1)))
			raw := string(alice().envelope(t, inToto, scan(m.Descriptor.Digest)))
			raw = strings.Replace(raw, `"payload":`, `"Payload":`, 1)
			r.attestations(t, m, []byte(strings.Replace(raw, `{`, `{"payload":"`+forged+`",`, 1)))
		}, rejected: "changed since"},
		"payload twice": {setup: editedEnvelope(func(raw string) string {
			return strings.Replace(raw, `{`, `{"payload":"e30=",`, 1)
		}), rejected: "duplicate"},
		"no signature": {setup: editedEnvelope(func(raw string) string {
			return strings.Replace(raw, between(raw, `"signatures":[`, "]"), "", 1)
		}), rejected: "0 signatures"},
		"two signatures": {setup: editedEnvelope(func(raw string) string {
			sig := between(raw, `"signatures":[`, "]")
			return strings.Replace(raw, sig, sig+","+sig, 1)
		}), rejected: "2 signatures"},
		"signatures of 16 KiB": {setup: editedEnvelope(func(raw string) string {
			return strings.Replace(raw, `"signatures":[`, `"signatures":[`+strings.Repeat("{},", 5<<10), 1)
		}), rejected: "signatures of"},
		"no envelope":     {setup: editedEnvelope(func(string) string { return "[]" }), rejected: "not a DSSE envelope"},
		"signatures null": {setup: editedEnvelope(func(string) string { return `{"payloadType":"` + inToto + `","payload":"e30="}` }), rejected: "0 signatures"},
		"message signature": {setup: attachEdited(func(b map[string]any) {
			delete(b, "dsseEnvelope")
			b["messageSignature"] = map[string]any{"signature": "AAAA", "messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": "AAAA"}}
		}), rejected: "not a DSSE bundle"},
	})
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// What the registry may hold and say.
func TestAttestationsRegistry(t *testing.T) {
	big := func(n int) setup {
		return func(t *testing.T, r *fakeRepo, m signing.Target) {
			for i := range n {
				r.attach(t, m, fmt.Appendf(nil, "%d", i), func(m *ocispec.Manifest) { m.Layers[0].Size = signing.MaxAttestationBytes })
			}
		}
	}
	runAttestTests(t, map[string]attestTest{
		"copied to another artifact's tag": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			other := r.model(t, "other")
			r.attestations(t, m, alice().envelope(t, inToto, scan(other.Descriptor.Digest)))
		}, rejected: "another artifact"},
		"referrer of another artifact": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.referrers[m.Descriptor.Digest] = []ocispec.Descriptor{
				r.attach(t, r.model(t, "other"), alice().bundle(t, inToto, scan(m.Descriptor.Digest)), nil),
			}
		}, rejected: "subject of the referrer is another artifact"},
		"layer of another type": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attestations(t, m)
			r.classic(t, m)
			d := r.tags[classicTag(m)]
			raw := bytes.Replace(r.blobs[d.Digest], []byte(`"layers":[]`), []byte(`"layers":[{"mediaType":"text/plain","digest":"`+d.Digest.String()+`","size":1}]`), 1)
			raw = bytes.Replace(raw, []byte(`"layers":null`), []byte(`"layers":[{"mediaType":"text/plain","digest":"`+d.Digest.String()+`","size":1}]`), 1)
			r.tags[attTag(m)] = r.blob(t, ocispec.MediaTypeImageManifest, raw)
		}, rejected: "no DSSE envelope"},
		"manifest behind the tag malformed": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.tags[attTag(m)] = r.blob(t, ocispec.MediaTypeImageManifest, []byte(`{"layers":[],"manifests":[]}`))
		}, rejected: "malformed"},
		"65 layers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attestations(t, m, slices.Repeat([][]byte{[]byte("{}")}, 65)...)
		}, err: signing.ErrTooMany},
		"5000 referrers": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte("x"), nil)
			r.referrers[m.Descriptor.Digest] = repeat(r.referrers[m.Descriptor.Digest][0], 5000)
		}, err: signing.ErrTooMany},
		"each too large, which costs nothing": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			for i := range 6 {
				r.attach(t, m, fmt.Appendf(nil, "%d", i), func(m *ocispec.Manifest) { m.Layers[0].Size = 25 << 20 })
			}
		}, rejected: "26214400 bytes"},
		"too much in all": {setup: big(6), err: signing.ErrTooMany, rejected: "size"},
		"bundle of 25 MiB": {setup: attach(func(t *testing.T, _ *fakeRepo, m signing.Target) []byte {
			return goodBundle(t, m)
		}, func(m *ocispec.Manifest) { m.Layers[0].Size = 25 << 20 }), rejected: "26214400 bytes"},
		"list fails": {setup: func(_ *testing.T, r *fakeRepo, _ signing.Target) {
			r.list = func() ([]ocispec.Descriptor, error) { return nil, errors.New("503") }
		}, err: errUnknown},
		"envelope fails": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := alice().envelope(t, inToto, scan(m.Descriptor.Digest))
			r.attestations(t, m, raw)
			r.fetch = failing(digest.FromBytes(raw))
		}, err: errUnknown},
		"other bytes for an envelope": {setup: func(t *testing.T, r *fakeRepo, m signing.Target) {
			raw := alice().envelope(t, inToto, scan(m.Descriptor.Digest))
			r.attestations(t, m, raw)
			r.blobs[digest.FromBytes(raw)] = bytes.ToUpper(raw)
		}, rejected: "mismatch"},
	})
}

// What many small pieces would take when they are decoded is not allocated for
// what nobody whom we trust has signed.
func TestAttestationsStayLean(t *testing.T) {
	pieces := strings.Repeat("{},", 1<<20) + "{}"
	for name, attach := range map[string]setup{
		"bundle": func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attach(t, m, []byte(`{"mediaType":"`+bundleType+`","verificationMaterial":{"tlogEntries":[`+pieces+`]}}`), nil)
		},
		"envelope": func(t *testing.T, r *fakeRepo, m signing.Target) {
			r.attestations(t, m, []byte(`{"payloadType":"`+inToto+`","signatures":[`+pieces+`]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			attach(t, r, model)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			report, err := signing.Attestations(t.Context(), r, model, trustAlice())
			runtime.ReadMemStats(&after)
			if err != nil || len(report.Rejected) != 1 || !strings.Contains(report.Rejected[0].Reason, "besides what is signed") {
				t.Errorf("Attestations = %+v, %v; want it rejected for its size", report, err)
			}
			if got, size := after.TotalAlloc-before.TotalAlloc, uint64(len(pieces)); got > 8*size {
				t.Errorf("allocated %d bytes for %d", got, size)
			}
		})
	}
}

func TestAttestationsMatchRepository(t *testing.T) {
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
		r := newFake()
		model := r.model(t, "model")
		if _, err := signing.Attest(t.Context(), r, model, alice().signer, scanPredicate, signing.AttestOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
		strict := trustAlice()
		strict.MatchRepository = true
		mirror := model
		mirror.Repository = "mirror.example.com/org/model"
		for _, tt := range []struct {
			target signing.Target
			trust  signing.Trust
			found  int
		}{{model, strict, 1}, {mirror, trustAlice(), 1}, {mirror, strict, 0}} {
			report, err := signing.Attestations(t.Context(), r, tt.target, tt.trust)
			if err != nil || len(report.Attestations) != tt.found || len(report.Rejected) != 1-tt.found {
				t.Errorf("%v at %s: %+v, %v; want %d", format, tt.target.Repository, report, err, tt.found)
			}
		}
	}
}

func TestAttestationsRefusesToGuess(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	if _, err := signing.Attestations(t.Context(), r, model, signing.Trust{}); err == nil {
		t.Error("without anybody to trust it succeeds")
	}
	model.Repository = ""
	if _, err := signing.Attestations(t.Context(), r, model, trustAlice()); err == nil {
		t.Error("without a repository it succeeds")
	}
}

// No bytes but those that alice signed are an attestation of hers.
func FuzzEnvelope(f *testing.F) {
	alice, mallory := fixedKey(1), fixedKey(2)
	r := newFake()
	model := r.model(f, "model")
	text := scan(model.Descriptor.Digest)
	f.Add(alice.envelope(f, inToto, text))
	f.Add(mallory.envelope(f, inToto, text))
	f.Add(alice.envelope(f, "text/plain", text))
	f.Add([]byte(`{"payloadType":"` + inToto + `","payload":"","signatures":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newFake()
		model := r.model(t, "model")
		r.attestations(t, model, raw)
		report, err := signing.Attestations(t.Context(), r, model, alice.trust())
		if err != nil {
			t.Fatalf("Attestations error = %v", err)
		}
		for _, a := range report.Attestations {
			if a.Type != scanType || string(a.Raw) != `{"scan":"FAILED"}` {
				t.Fatalf("accepted %+v", a)
			}
		}
		if len(report.Attestations)+len(report.Rejected) != 1 {
			t.Fatalf("report = %+v, want one verdict", report)
		}
	})
}
