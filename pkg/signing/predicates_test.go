package signing_test

import (
	"testing"

	"github.com/modelreg/modelreg/pkg/signing"
)

func TestPredicateType(t *testing.T) {
	tests := map[string]string{ // as cosign's --type means them
		"slsaprovenance":          "https://slsa.dev/provenance/v0.2",
		"slsaprovenance02":        "https://slsa.dev/provenance/v0.2",
		"slsaprovenance1":         "https://slsa.dev/provenance/v1",
		"cyclonedx":               "https://cyclonedx.org/bom",
		"spdx":                    "https://spdx.dev/Document",
		"spdxjson":                "https://spdx.dev/Document",
		"vuln":                    "https://cosign.sigstore.dev/attestation/vuln/v1",
		"openvex":                 "https://openvex.dev/ns",
		"link":                    "https://in-toto.io/Link/v1",
		"custom":                  "https://cosign.sigstore.dev/attestation/v1",
		"test-result":             "https://in-toto.io/attestation/test-result/v0.1",
		"https://acme.example/v1": "https://acme.example/v1",
		"urn:acme:eval":           "urn:acme:eval",
	}
	for name, want := range tests {
		if got, err := signing.PredicateType(name); err != nil || got != want {
			t.Errorf("PredicateType(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "vulns", "acme.example/v1", "https://sigstore.dev/cosign/sign/v1"} {
		if got, err := signing.PredicateType(name); err == nil {
			t.Errorf("PredicateType(%q) = %q, want an error", name, got)
		}
	}
}

func TestPredicateName(t *testing.T) {
	for uri, want := range map[string]string{
		"https://slsa.dev/provenance/v1":        "slsaprovenance1",
		"https://sigstore.dev/cosign/sign/v1":   "signature",
		"https://model_signing/signature/v1.0":  "model-signing",
		"https://acme.example/v1":               "https://acme.example/v1",
		"https://cyclonedx.org/bom":             "cyclonedx",
		"https://slsa.dev/provenance/v0.2":      "slsaprovenance",
		"https://cosign.sigstore.dev/other/1.0": "https://cosign.sigstore.dev/other/1.0",
	} {
		if got := signing.PredicateName(uri); got != want {
			t.Errorf("PredicateName(%q) = %q, want %q", uri, got, want)
		}
	}
}
