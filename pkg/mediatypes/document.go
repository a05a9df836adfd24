package mediatypes

import (
	_ "crypto/sha256" // go-digest hashes only with what is linked in
	_ "crypto/sha512"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
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
	SchemaVersion *int64            `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        *[]descriptor     `json:"layers"`
	Manifests     *[]descriptor     `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`

	// Docker's schema 1 has these and no other sign of itself.
	FSLayers *[]any `json:"fsLayers"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         *int64            `json:"size"`
	URLs         []string          `json:"urls"`
	Annotations  map[string]string `json:"annotations"`
	Data         []byte            `json:"data"`
	Platform     *ocispec.Platform `json:"platform"`
	ArtifactType string            `json:"artifactType"`

	// Name is Ollama's, for a tensor or a config file.
	Name string `json:"name"`
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
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.FSLayers != nil {
		return nil, malformed("Docker schema 1 is not supported")
	}
	if d.SchemaVersion == nil || *d.SchemaVersion != 2 {
		return nil, malformed("schemaVersion is not 2")
	}
	if err := checkAnnotations(d.Annotations); err != nil {
		return nil, err
	}
	if d.ArtifactType != "" {
		if err := checkMediaType(d.ArtifactType); err != nil {
			return nil, fmt.Errorf("artifactType: %w", err)
		}
	}
	return &d, nil
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

func checkAll(field string, list *[]descriptor, limit int) ([]ocispec.Descriptor, error) {
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

// check turns a descriptor from outside into one that can be relied on.
func (d *descriptor) check() (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	if err := checkMediaType(d.MediaType); err != nil {
		return none, err
	}
	if d.ArtifactType != "" {
		if err := checkMediaType(d.ArtifactType); err != nil {
			return none, fmt.Errorf("artifactType: %w", err)
		}
	}
	dgst := digest.Digest(d.Digest)
	if !validDigest(d.Digest) {
		return none, malformed("digest %.80q is not sha256 or sha512 in lower-case hex", d.Digest)
	}
	if d.Size == nil || *d.Size < 0 || *d.Size > MaxBlobBytes {
		return none, malformed("%s: no size between 0 and 2^53", dgst)
	}
	if len(d.URLs) > 0 {
		return none, malformed("%s: foreign urls are not followed", dgst)
	}
	if d.Data != nil && (int64(len(d.Data)) != *d.Size || dgst.Algorithm().FromBytes(d.Data) != dgst) {
		return none, malformed("%s: embedded data is not what digest and size say", dgst)
	}
	if err := checkAnnotations(d.Annotations); err != nil {
		return none, fmt.Errorf("%s: %w", dgst, err)
	}
	return ocispec.Descriptor{
		MediaType:    d.MediaType,
		Digest:       dgst,
		Size:         *d.Size,
		Annotations:  titled(d.Annotations, d.Name),
		Data:         d.Data,
		Platform:     d.Platform,
		ArtifactType: d.ArtifactType,
	}, nil
}

// titled adds Ollama's name of a layer where everybody else has it.
func titled(a map[string]string, name string) map[string]string {
	if name == "" || a[AnnotationTitle] != "" {
		return a
	}
	if a == nil {
		a = make(map[string]string, 1)
	}
	a[AnnotationTitle] = name
	return a
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// validDigest is stricter than go-digest, which takes sha384 too.
func validDigest(s string) bool {
	alg, hex, _ := strings.Cut(s, ":")
	switch {
	case alg == "sha256" && len(hex) == 64:
	case alg == "sha512" && len(hex) == 128:
	default:
		return false
	}
	return strings.Trim(hex, "0123456789abcdef") == ""
}
