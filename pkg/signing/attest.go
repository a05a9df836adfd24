package signing

import (
	"github.com/go-json-experiment/json/jsontext"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of attestations.
const (
	MaxPredicateBytes   = 16 << 20 // of a predicate
	MaxAttestationBytes = 24 << 20 // of a bundle or an envelope that holds one: it is in base64 there
)

// A Predicate is what an attestation says of an artifact.
type Predicate struct {
	Type string         // a URI
	Raw  jsontext.Value // one JSON object
}

// An Attestation is a statement about an artifact that a trusted party signed.
type Attestation struct {
	Predicate
	Signer Signatory

	// Descriptor is the manifest of the referrer that holds it, or its layer
	// behind the attestation tag.
	Descriptor ocispec.Descriptor
}

// errIsSignature says of a statement that it is no attestation, and nothing to
// complain about either.
var errIsSignature = reject("a signature, not an attestation")

// checkAttestation tells whether a statement is an attestation by its form.
func checkAttestation(st *statement) error {
	if st.PredicateType == predicateSign {
		return errIsSignature
	}
	if st.PredicateType == "" {
		return reject("statement without a predicate type")
	}
	if len(st.Predicate) == 0 {
		return reject("statement without a predicate")
	}
	if n := len(st.Predicate); n > MaxPredicateBytes {
		return reject("predicate of %d bytes, more than %d", n, MaxPredicateBytes)
	}
	return nil
}
