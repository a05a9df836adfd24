package signing_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	certificateKey = "dev.sigstore.cosign/certificate"
	entryKey       = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
)

// withClassic attaches a signature in the classic layout, with its annotations.
func withClassic(t testing.TB, p []byte, annotations map[string]string) (*fakeRepo, signing.Target) {
	t.Helper()
	r := newFake()
	model := r.model(t, "model")
	layer := r.blob(t, "application/vnd.dev.cosign.simplesigning.v1+json", p)
	layer.Annotations = annotations
	r.classic(t, model, layer)
	return r, model
}

func modelDigest(t testing.TB) digest.Digest {
	t.Helper()
	return newFake().model(t, "model").Descriptor.Digest
}

// What cosign signed without a key before there were bundles counts like a
// bundle.
func TestVerifyClassicCertificate(t *testing.T) {
	p := payload(modelDigest(t))
	tests := map[string]struct {
		deployment testsigstore.Options
		opts       testsigstore.BundleOptions
		trust      func(*signing.Trust)
		logged     bool
	}{
		"log":                {opts: testsigstore.BundleOptions{Log: testsigstore.RekorV1}, logged: true},
		"log, and stamped":   {opts: testsigstore.BundleOptions{Log: testsigstore.RekorV1, Stamp: true}, logged: true},
		"stamped, no log":    {deployment: testsigstore.Options{NoLog: true}, opts: testsigstore.BundleOptions{Stamp: true}},
		"certificate logged": {deployment: testsigstore.Options{CertificateLog: true}, opts: testsigstore.BundleOptions{Log: testsigstore.RekorV1}, logged: true},
		"log ignored": {
			opts:  testsigstore.BundleOptions{Stamp: true},
			trust: func(t *signing.Trust) { t.IgnoreLog = true },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := testsigstore.New(t, tt.deployment)
			r, model := withClassic(t, p, d.Classic(who, issuer, p, tt.opts))
			trust := trustWho(t, d)
			if tt.trust != nil {
				tt.trust(&trust)
			}
			report, err := signing.Verify(t.Context(), r, model, trust)
			if err != nil || len(report.Signers) != 1 {
				t.Fatalf("Verify = %+v, %v", report, err)
			}
			if s := report.Signers[0]; s.Identity != who || s.Issuer != issuer || s.Logged != tt.logged || s.Time.IsZero() || s.Format != signing.Classic {
				t.Errorf("signer = %+v", s)
			}
		})
	}
}

func TestVerifyClassicCertificateRejects(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	p := payload(modelDigest(t))
	logged := testsigstore.BundleOptions{Log: testsigstore.RekorV1}
	good := d.Classic(who, issuer, p, logged)
	other := d.Classic(who, issuer, payload(digest.FromString("other")), testsigstore.BundleOptions{Log: testsigstore.RekorV1, Stamp: true})
	with := func(key, value string) map[string]string {
		m := maps.Clone(good)
		m[key] = value
		return m
	}
	entry := func(change func(entry, payload map[string]any)) map[string]string {
		var doc map[string]any
		if err := json.Unmarshal([]byte(good[entryKey]), &doc); err != nil {
			t.Fatal(err)
		}
		change(doc, doc["Payload"].(map[string]any))
		return with(entryKey, string(encode(t, doc)))
	}
	tests := map[string]map[string]string{
		"somebody else":                  d.Classic("bob@example.com", issuer, p, logged),
		"another deployment":             testsigstore.New(t, testsigstore.Options{}).Classic(who, issuer, p, logged),
		"not in the log":                 d.Classic(who, issuer, p, testsigstore.BundleOptions{Stamp: true}),
		"no time":                        d.Classic(who, issuer, p, testsigstore.BundleOptions{}),
		"another's certificate":          with(certificateKey, other[certificateKey]),
		"another's entry":                with(entryKey, other[entryKey]),
		"no certificate":                 with(certificateKey, ""),
		"certificate that is none":       with(certificateKey, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"certificate that is a key":      with(certificateKey, string(alice().public)),
		"certificate that is too large":  with(certificateKey, strings.Repeat("x", 100<<10)),
		"timestamp that is a number":     with(timestampKey, `{"SignedRFC3161Timestamp":1}`),
		"entry with a number for a body": entry(func(_, p map[string]any) { p["body"] = 1 }),
		"entry with an empty body":       entry(func(_, p map[string]any) { p["body"] = "" }),
		"entry of another kind":          entry(func(_, p map[string]any) { p["body"] = []byte(`{"apiVersion":"0.0.1","kind":"x"}`) }),
		"entry without a log":            entry(func(_, p map[string]any) { delete(p, "logID") }),
		"entry at another time":          entry(func(_, p map[string]any) { p["integratedTime"] = 1 }),
		"entry without a promise":        entry(func(e, _ map[string]any) { delete(e, "SignedEntryTimestamp") }),
		"entry that is a list":           with(entryKey, "[]"),
		"entry twice":                    with(entryKey, `{"SignedEntryTimestamp":"","SignedEntryTimestamp":""}`),
		"no signature":                   with(sigKey, ""),
		"another's signature":            with(sigKey, other[sigKey]),
	}
	for name, annotations := range tests {
		t.Run(name, func(t *testing.T) {
			r, model := withClassic(t, p, annotations)
			report, err := signing.Verify(t.Context(), r, model, trustWho(t, d))
			if !errors.Is(err, signing.ErrUntrusted) || len(report.Rejected) != 1 {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
	// The controls: it is the annotations that were wrong.
	r, model := withClassic(t, p, good)
	if report, err := signing.Verify(t.Context(), r, model, trustWho(t, d)); err != nil {
		t.Errorf("Verify = %+v, %v", report, err)
	}
	q := payload(digest.FromString("other"))
	r, model = withClassic(t, q, other)
	if report, err := signing.Verify(t.Context(), r, model, trustWho(t, d)); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("signature of another model: Verify = %+v, %v", report, err)
	}
}

// Whatever lies beside a classic signature, it makes nobody else the signer, and
// nothing but a refusal.
func FuzzClassicEvidence(f *testing.F) {
	d := testsigstore.New(f, testsigstore.Options{})
	p := payload(modelDigest(f))
	good := d.Classic(who, issuer, p, testsigstore.BundleOptions{Log: testsigstore.RekorV1, Stamp: true})
	bob := d.Classic("bob@example.com", issuer, p, testsigstore.BundleOptions{Log: testsigstore.RekorV1, Stamp: true})
	roots := rootsOf(f, d)
	f.Add(bob[certificateKey], bob[entryKey], bob[timestampKey])
	f.Add(bob[certificateKey], `{"SignedEntryTimestamp":"","Payload":{"body":1}}`, `{}`)
	f.Add("", good[entryKey], "")
	f.Fuzz(func(t *testing.T, certificate, entry, timestamp string) {
		r, model := withClassic(t, p, map[string]string{
			sigKey: bob[sigKey], certificateKey: certificate, entryKey: entry, timestampKey: timestamp,
		})
		trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: issuer}}, Roots: roots}
		if report, err := signing.Verify(t.Context(), r, model, trust); !errors.Is(err, signing.ErrUntrusted) {
			t.Fatalf("Verify = %+v, %v", report, err)
		}
	})
}
