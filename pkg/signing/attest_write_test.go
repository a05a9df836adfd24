package signing_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/signing"
)

var scanPredicate = signing.Predicate{Type: scanType, Raw: []byte("{ \"scan\": \"FAILED\" }\n")}

func TestAttest(t *testing.T) {
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
		t.Run(format.String(), func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			opts := signing.AttestOptions{Format: format}
			made, err := signing.Attest(t.Context(), r, model, alice().signer, scanPredicate, opts)
			if err != nil || r.blobs[made.Digest] == nil {
				t.Fatalf("Attest = %v, %v; want the manifest that was written", made, err)
			}
			written := r.written
			again, err := signing.Attest(t.Context(), r, model, alice().signer, scanPredicate, opts)
			if err != nil || again.Digest != "" || r.written != written {
				t.Errorf("the same again: %v, %v, %d writes; want none", again, err, r.written-written)
			}
			twice := opts
			twice.Again = true
			again, err = signing.Attest(t.Context(), r, model, alice().signer, scanPredicate, twice)
			if err != nil || again.Digest == "" || again.Digest == made.Digest {
				t.Errorf("the same once more as asked: %v, %v; want another", again, err)
			}
			for _, more := range []struct {
				key *testKey
				p   signing.Predicate
			}{
				{mallory(), scanPredicate},
				{alice(), signing.Predicate{Type: scanType, Raw: []byte(`{"scan":"PASSED"}`)}},
				{alice(), signing.Predicate{Type: "https://example.com/other", Raw: scanPredicate.Raw}},
			} {
				if d, err := signing.Attest(t.Context(), r, model, more.key.signer, more.p, opts); err != nil || d.Digest == "" {
					t.Errorf("Attest = %v, %v; want another one", d, err)
				}
			}
			report, err := signing.Attestations(t.Context(), r, model, trustAlice())
			if err != nil || len(report.Attestations) != 4 || len(report.Rejected) != 1 {
				t.Fatalf("Attestations = %+v, %v; want alice's four", report, err)
			}
			first := report.Attestations[0]
			if first.Type != scanType || string(first.Raw) != `{"scan":"FAILED"}` || first.Signer.Format != format {
				t.Errorf("read back as %+v", first)
			}
			if _, err := signing.Verify(t.Context(), r, model, trustAlice()); err == nil {
				t.Error("attestations count as a signature")
			}
		})
	}
}

func TestAttestRefuses(t *testing.T) {
	object := []byte("{}")
	tests := map[string]struct {
		p      signing.Predicate
		format signing.Format
		reason string
	}{
		"no type":           {signing.Predicate{Raw: object}, signing.Bundle, "no URI"},
		"type no URI":       {signing.Predicate{Type: "scan", Raw: object}, signing.Bundle, "no URI"},
		"a signature":       {signing.Predicate{Type: signType, Raw: object}, signing.Bundle, "signature"},
		"type too long":     {signing.Predicate{Type: "x:" + strings.Repeat("y", 2000), Raw: object}, signing.Bundle, "bytes"},
		"no predicate":      {signing.Predicate{Type: scanType}, signing.Bundle, "not JSON"},
		"no JSON":           {signing.Predicate{Type: scanType, Raw: []byte("{")}, signing.Bundle, "not JSON"},
		"two documents":     {signing.Predicate{Type: scanType, Raw: []byte("{}{}")}, signing.Bundle, "not JSON"},
		"no object":         {signing.Predicate{Type: scanType, Raw: []byte("[1]")}, signing.Bundle, "no JSON object"},
		"a name twice":      {signing.Predicate{Type: scanType, Raw: []byte(`{"a":1,"a":2}`)}, signing.Bundle, "not JSON"},
		"predicate too big": {signing.Predicate{Type: scanType, Raw: bytes.Repeat([]byte(" "), 17<<20)}, signing.Bundle, "bytes"},
		"both layouts":      {scanPredicate, signing.Both, "both"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newFake()
			model := r.model(t, "model")
			before := r.written
			_, err := signing.Attest(t.Context(), r, model, alice().signer, tt.p, signing.AttestOptions{Format: tt.format})
			if err == nil || !strings.Contains(err.Error(), tt.reason) || r.written != before {
				t.Errorf("Attest error = %v, %d writes; want it to say %q and none", err, r.written-before, tt.reason)
			}
		})
	}
}

// The largest predicate that may be written is read again.
func TestAttestLargest(t *testing.T) {
	if raced {
		t.Skip("tools/test.sh runs it without the race detector, with which it takes a minute")
	}
	const text = `{"text":""}`
	p := signing.Predicate{Type: scanType, Raw: []byte(`{"text":"` + strings.Repeat("x", signing.MaxPredicateBytes-len(text)) + `"}`)}
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
		r := newFake()
		model := r.model(t, "model")
		if _, err := signing.Attest(t.Context(), r, model, alice().signer, p, signing.AttestOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
		report, err := signing.Attestations(t.Context(), r, model, trustAlice())
		if err != nil || len(report.Attestations) != 1 || len(report.Attestations[0].Raw) != signing.MaxPredicateBytes {
			t.Errorf("%v: %d found, %v, rejected %v", format, len(report.Attestations), err, report.Rejected)
		}
		// It is no reason to fetch so much for a signature.
		if _, err := signing.Verify(t.Context(), r, model, trustAlice()); err == nil {
			t.Error("an attestation counts as a signature")
		}
	}
}

// An attestation that another signer's has pushed out is put back.
func TestAttestClassicRace(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	theirs := mallory().envelope(t, inToto, scan(model.Descriptor.Digest))
	r.tagged = func(tag string) {
		if tag == attTag(model) {
			r.tagged = nil
			r.attestations(t, model, theirs)
		}
	}
	if _, err := signing.Attest(t.Context(), r, model, alice().signer, scanPredicate, signing.AttestOptions{Format: signing.Classic}); err != nil {
		t.Fatal(err)
	}
	report, err := signing.Attestations(t.Context(), r, model, trustAlice())
	if err != nil || len(report.Attestations) != 1 || len(report.Rejected) != 1 {
		t.Errorf("Attestations = %+v, %v; want alice's and the other one", report, err)
	}
}

func TestAttestRegistry(t *testing.T) {
	overBoth(t, func(t *testing.T, _ *testreg.Server, repo registryRepo) {
		for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
			model := repo.model(t, "of-"+format.String())
			opts := signing.AttestOptions{Format: format}
			for range 2 {
				if _, err := signing.Attest(t.Context(), repo, model, alice().signer, scanPredicate, opts); err != nil {
					t.Fatal(err)
				}
			}
			report, err := signing.Attestations(t.Context(), repo, model, trustAlice())
			if err != nil || len(report.Attestations) != 1 {
				t.Errorf("%v: Attestations = %+v, %v; want one", format, report, err)
			}
		}
	})
}
