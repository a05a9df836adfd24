// Package record is what a repository says about itself and its names: the
// [Record] behind the tag _modelreg, the [Entry] of the log that each protected
// alias has, the [Status] of a version, and the [Tombstone] that is left of one
// that was removed.
//
// It reads and writes documents, and decides what they say. It asks no registry:
// package hub brings the bytes. All that it reads comes from strangers, so sizes
// and counts are bounded by the constants of this package, and what cannot be
// read wraps [ErrMalformed]. What it returns is text of strangers all the same,
// to be escaped before a terminal sees it.
package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// Tag is where the record of a repository is.
const Tag = "_modelreg"

// ArtifactType is the type of a record's manifest, and of its one layer.
const ArtifactType = "application/vnd.modelreg.repository.v1+json"

// Limits of a record.
const (
	MaxBytes   = 64 << 10 // of the document
	maxGlobs   = 64       // in one list
	maxParties = 64       // in one list
	maxText    = 4 << 10  // of a notice, in bytes
)

// ErrMalformed says that a document is not what it should be.
var ErrMalformed = fmt.Errorf("record: %w", mediatypes.ErrMalformed)

// A Record is what a repository says about itself. The zero value is that of a
// repository that says nothing.
type Record struct {
	// DefaultBranch is the tag that a reference without one means.
	DefaultBranch string `json:"defaultBranch,omitzero"`

	// Immutable are globs of tags that are set once: releases.
	Immutable []string `json:"immutable,omitempty"`

	// Protected are globs of tags whose moves are logged: aliases.
	Protected []string `json:"protected,omitempty"`

	// Publishers are those whose statements about versions count as the
	// repository's own. With none, there is nobody to tell from others.
	Publishers []Party `json:"publishers,omitempty"`

	// Evaluators are those whose measurements are trusted besides.
	Evaluators []Party `json:"evaluators,omitempty"`

	// Evaluations are repositories, host/name, in which others keep what they have
	// measured of the versions.
	Evaluations []string `json:"evaluations,omitempty"`

	// Redirect is the repository, host/name, that this one has moved to.
	Redirect string `json:"redirect,omitzero"`

	// Status is what became of the repository as a whole: [Deprecated] or [Retired];
	// the zero Status while it is in use.
	Status Status `json:"status,omitzero"`

	// Notice is shown to those who look at the repository.
	Notice string `json:"notice,omitzero"`

	// Retention are the rules of what may be removed, as package hub reads them.
	Retention jsontext.Value `json:"retention,omitempty"`

	// Unknown are the members that this package knows nothing of. They are kept.
	Unknown jsontext.Value `json:",embed"`
}

// A Party is one who can be trusted: a key, or whom a certificate names and who
// vouched for that.
type Party struct {
	// Name is for people.
	Name string `json:"name,omitzero"`

	// Key is a public key in PEM.
	Key string `json:"key,omitzero"`

	// Identity is a mail address or URI, and Issuer its OIDC provider.
	Identity string `json:"identity,omitzero"`
	Issuer   string `json:"issuer,omitzero"`
}

// Parse reads a record and checks it.
func Parse(raw []byte) (Record, error) {
	var r Record
	if len(raw) > MaxBytes {
		return r, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(raw), MaxBytes)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := r.Check(); err != nil {
		return r, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

// Check tells why a record cannot be written.
func (r *Record) Check() error {
	if b := r.DefaultBranch; b != "" && !ref.ValidTag(b) {
		return fmt.Errorf("default branch %.80q is no tag", b)
	}
	for name, globs := range map[string][]string{"immutable": r.Immutable, "protected": r.Protected} {
		if len(globs) > maxGlobs {
			return fmt.Errorf("%s: more than %d globs", name, maxGlobs)
		}
		if _, err := glob.Matcher(globs, nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, parties := range map[string][]Party{"publishers": r.Publishers, "evaluators": r.Evaluators} {
		if len(parties) > maxParties {
			return fmt.Errorf("%s: more than %d", name, maxParties)
		}
		for _, p := range parties {
			if err := p.check(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(r.Evaluations) > maxParties {
		return fmt.Errorf("evaluations: more than %d", maxParties)
	}
	for _, name := range r.Evaluations {
		if err := checkName(name); err != nil {
			return fmt.Errorf("evaluations: %w", err)
		}
	}
	if len(r.Notice) > maxText {
		return fmt.Errorf("notice of %d bytes, more than %d", len(r.Notice), maxText)
	}
	if err := r.Status.checkWhole(); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return checkRedirect(r.Redirect)
}

func (p Party) check() error {
	switch {
	case p.Key != "" && p.Identity+p.Issuer != "":
		return errors.New("a party is a key or an identity, not both")
	case p.Key == "" && (p.Identity == "" || p.Issuer == ""):
		return errors.New("a party without a key needs an identity and its issuer")
	}
	return nil
}

func checkRedirect(name string) error {
	if name == "" {
		return nil
	}
	if err := checkName(name); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	return nil
}

func checkName(name string) error {
	r, err := ref.Parse(name)
	if err != nil {
		return err
	}
	if r.Name() != name || r.Scheme != "" {
		return fmt.Errorf("%.300q is not the name of a repository, HOST/NAME", name)
	}
	return nil
}

// IsImmutable tells whether a tag is set once and never moved.
func (r *Record) IsImmutable(tag string) bool { return matches(r.Immutable, tag) }

// IsProtected tells whether moves of a tag are logged.
func (r *Record) IsProtected(tag string) bool { return matches(r.Protected, tag) }

// matches holds a tag against globs, and those of branches also as people write
// them.
func matches(globs []string, tag string) bool {
	if len(globs) == 0 {
		return false
	}
	fits, err := glob.Matcher(globs, nil)
	return err == nil && (fits(tag) || fits(ref.DecodeBranch(tag)))
}

// Same tells whether two records say the same.
func (r *Record) Same(other *Record) bool {
	a, errA := r.encode()
	b, errB := other.encode()
	return errA == nil && errB == nil && slices.Equal(a, b)
}

// Encode is the record as a document, the same each time. It is nil for one that
// cannot be written.
func (r *Record) Encode() []byte {
	raw, err := r.encode()
	if err != nil {
		return nil
	}
	return raw
}

func (r *Record) encode() ([]byte, error) { return json.Marshal(r, json.Deterministic(true)) }

// Manifest is the record as a manifest and the one blob that it names. The blob
// is in the manifest too, so that one request reads all of it. The parent, if
// there is one, is the manifest of the record before.
func (r *Record) Manifest(parent digest.Digest) (manifest, blob []byte, err error) {
	if err := r.Check(); err != nil {
		return nil, nil, fmt.Errorf("write record: %w", err)
	}
	if blob, err = r.encode(); err != nil {
		return nil, nil, fmt.Errorf("write record: %w", err)
	}
	if len(blob) > MaxBytes {
		return nil, nil, fmt.Errorf("write record: %d bytes, more than %d", len(blob), MaxBytes)
	}
	m := small(ArtifactType)
	m.Layers = []ocispec.Descriptor{{MediaType: ArtifactType, Digest: digest.FromBytes(blob), Size: int64(len(blob)), Data: blob}}
	if parent != "" {
		m.Annotations = map[string]string{mediatypes.AnnotationParents: parent.String()}
	}
	manifest, err = json.Marshal(m, json.Deterministic(true))
	return manifest, blob, err
}

// Layer finds the layer of a record in its manifest. Its bytes are in Data if
// whoever wrote it put them there.
func Layer(manifest []byte) (ocispec.Descriptor, error) {
	m, err := ofType(manifest, ArtifactType)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if len(m.Layers) != 1 || m.Layers[0].Size < 0 || m.Layers[0].Size > MaxBytes {
		return ocispec.Descriptor{}, fmt.Errorf("%w: not one layer of at most %d bytes", ErrMalformed, MaxBytes)
	}
	l := m.Layers[0]
	if len(l.Data) > 0 && (l.Digest.Validate() != nil || l.Digest.Algorithm().FromBytes(l.Data) != l.Digest) {
		return ocispec.Descriptor{}, fmt.Errorf("%w: the bytes beside the layer's digest are others", ErrMalformed)
	}
	return l, nil
}

// ofType reads a manifest of the type.
func ofType(manifest []byte, artifactType string) (ocispec.Manifest, error) {
	m, err := mediatypes.ParseManifest(manifest)
	if err != nil {
		return ocispec.Manifest{}, err
	}
	if m.ArtifactType != artifactType {
		return ocispec.Manifest{}, fmt.Errorf("%w: of type %.100q, not %s", ErrMalformed, m.ArtifactType, artifactType)
	}
	return m, nil
}

// small is a manifest of the type that has only annotations.
func small(artifactType string) ocispec.Manifest {
	return ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON},
	}
}

// clip cuts text of users to what an annotation should hold.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
