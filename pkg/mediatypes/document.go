package mediatypes

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of what [ParseManifest] and [ParseIndex] accept.
const (
	MaxManifestBytes   = 4 << 20 // of a manifest or index
	MaxDepth           = 64      // of nested JSON objects and arrays
	MaxLayers          = 10_000  // of a manifest
	MaxIndexEntries    = 1_024   // of an index
	MaxAnnotations     = 256     // of one object
	MaxAnnotationBytes = 64 << 10
	MaxBlobBytes       = 1 << 53 // the largest size that every JSON reader agrees on
	maxMediaTypeBytes  = 255     // RFC 6838, section 4.2: 127 on each side of the slash
)

// ErrMalformed is wrapped by every error of [ParseManifest] and [ParseIndex]:
// the bytes are not such a document, or exceed a limit.
var ErrMalformed = errors.New("malformed document")

// document is a manifest or index as it stands on the wire. Pointers tell what
// was there from what was not.
type document struct {
	SchemaVersion *int64       `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType"`
	Config        *descriptor  `json:"config"`
	Layers        *descriptors `json:"layers"`
	Manifests     *descriptors `json:"manifests"`
	Subject       *descriptor  `json:"subject"`
	Annotations   annotations  `json:"annotations"`
}

// ParseManifest decodes an image manifest: OCI, also without the mediaType that
// KitOps leaves out, or Docker's schema 2 as Ollama writes it. A layer's "name",
// which only Ollama has, becomes its [AnnotationTitle] unless it has one.
//
// Every digest in the result is sha256 or sha512 in lower case, every size is
// between 0 and [MaxBlobBytes], embedded data has the digest of its descriptor,
// and there are no urls. It does not say that the manifest is a model's:
// [Detect] does. Paths in annotations are not checked here. All errors wrap
// [ErrMalformed].
func ParseManifest(raw []byte) (ocispec.Manifest, error) {
	d, err := decode(raw)
	if err != nil {
		return ocispec.Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	m, err := d.manifest()
	if err != nil {
		return ocispec.Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

// ParseIndex decodes an image index or Docker's manifest list, with the same
// promises as [ParseManifest].
func ParseIndex(raw []byte) (ocispec.Index, error) {
	d, err := decode(raw)
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("parse index: %w", err)
	}
	x, err := d.index()
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("parse index: %w", err)
	}
	return x, nil
}

func decode(raw []byte) (*document, error) {
	if len(raw) > MaxManifestBytes {
		return nil, malformed("%d bytes, more than %d", len(raw), MaxManifestBytes)
	}
	if err := checkDepth(raw); err != nil {
		return nil, err
	}
	var d document
	// Unlike encoding/json, this one is case-sensitive, and refuses duplicate
	// names, invalid UTF-8 and trailing data: two readers cannot disagree.
	if err := json.Unmarshal(raw, &d); err != nil {
		if errors.Is(err, ErrMalformed) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.SchemaVersion == nil || *d.SchemaVersion != 2 {
		return nil, malformed("schemaVersion is not 2")
	}
	if err := checkMediaTypes(d.ArtifactType); err != nil {
		return nil, fmt.Errorf("artifactType: %w", err)
	}
	return &d, nil
}

// checkDepth reads raw once, token by token, so that deep nesting is refused
// before anything is built from it.
func checkDepth(raw []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		_, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if dec.StackDepth() > MaxDepth {
			return malformed("nested deeper than %d", MaxDepth)
		}
	}
}

func (d *document) manifest() (ocispec.Manifest, error) {
	var m ocispec.Manifest
	switch d.MediaType {
	case "", ManifestOCI, ManifestDocker:
	default:
		return m, malformed("mediaType %q is no manifest's", d.MediaType)
	}
	if d.Manifests != nil {
		return m, malformed("a manifest with a list of manifests")
	}
	if d.Config == nil {
		return m, malformed("no config")
	}
	config, err := d.Config.check()
	if err != nil {
		return m, fmt.Errorf("config: %w", err)
	}
	layers, err := checkAll("layers", d.Layers, MaxLayers)
	if err != nil {
		return m, err
	}
	subject, err := d.subject()
	if err != nil {
		return m, err
	}
	return ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    d.MediaType,
		ArtifactType: d.ArtifactType,
		Config:       config,
		Layers:       layers,
		Subject:      subject,
		Annotations:  d.Annotations,
	}, nil
}

func (d *document) index() (ocispec.Index, error) {
	var x ocispec.Index
	switch d.MediaType {
	case "", IndexOCI, IndexDocker:
	default:
		return x, malformed("mediaType %q is no index's", d.MediaType)
	}
	if d.Config != nil || d.Layers != nil {
		return x, malformed("an index with config or layers")
	}
	if d.Manifests == nil {
		return x, malformed("no manifests")
	}
	manifests, err := checkAll("manifests", d.Manifests, MaxIndexEntries)
	if err != nil {
		return x, err
	}
	subject, err := d.subject()
	if err != nil {
		return x, err
	}
	return ocispec.Index{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    d.MediaType,
		ArtifactType: d.ArtifactType,
		Manifests:    manifests,
		Subject:      subject,
		Annotations:  d.Annotations,
	}, nil
}

func (d *document) subject() (*ocispec.Descriptor, error) {
	if d.Subject == nil {
		return nil, nil
	}
	desc, err := d.Subject.check()
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	return &desc, nil
}

func checkAll(field string, list *descriptors, limit int) ([]ocispec.Descriptor, error) {
	if list == nil {
		return nil, nil
	}
	if len(*list) > limit {
		return nil, malformed("%d %s, more than %d", len(*list), field, limit)
	}
	out := make([]ocispec.Descriptor, len(*list))
	for i := range *list {
		desc, err := (*list)[i].check()
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		out[i] = desc
	}
	return out, nil
}
