package signing

import (
	"github.com/go-json-experiment/json/jsontext"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
