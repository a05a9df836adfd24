package signing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Types of predicates that are named in more than one place.
const (
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	PredicateVuln       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	PredicateTestResult = "https://in-toto.io/attestation/test-result/v0.1"
	PredicateOMS        = "https://model_signing/signature/v1.0" // OpenSSF Model Signing
)

// predicateNames are the short names of predicate types: cosign's, and
// test-result.
func predicateNames() map[string]string {
	return map[string]string{
		"custom":           "https://cosign.sigstore.dev/attestation/v1",
		"cyclonedx":        "https://cyclonedx.org/bom",
		"link":             "https://in-toto.io/Link/v1",
		"openvex":          "https://openvex.dev/ns",
		"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
		"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
		"slsaprovenance1":  PredicateProvenance,
		"spdx":             "https://spdx.dev/Document",
		"spdxjson":         "https://spdx.dev/Document",
		"test-result":      PredicateTestResult,
		"vuln":             PredicateVuln,
	}
}

// PredicateNames lists the short names that [PredicateType] knows.
func PredicateNames() []string { return slices.Sorted(maps.Keys(predicateNames())) }

// PredicateType returns the URI of a predicate type that is given by its short
// name, as on cosign's command line, or as it is.
func PredicateType(name string) (string, error) {
	if uri, ok := predicateNames()[name]; ok {
		return uri, nil
	}
	if err := checkPredicateType(name); err != nil {
		return "", fmt.Errorf("%w: give one, or one of %s", err, strings.Join(PredicateNames(), ", "))
	}
	return name, nil
}

// PredicateName returns the short name of a predicate type, or the type itself
// when it has none.
func PredicateName(uri string) string {
	if uri == predicateSign {
		return "signature"
	}
	if uri == PredicateOMS {
		return "model-signing"
	}
	for _, name := range PredicateNames() {
		if predicateNames()[name] == uri {
			return name
		}
	}
	return uri
}
