package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// ErrBundleTrust says that the trust files of a bundle are not those that were
// asked for.
var ErrBundleTrust = errors.New("the bundle's trust files are others")

// A TrustKind is a kind of file that says whom to trust.
type TrustKind string

// The kinds, as they are named in results.
const (
	TrustKey        TrustKind = "key"          // one public key, PEM
	TrustRoot       TrustKind = "trusted-root" // sigstore's trusted_root.json
	TrustIdentities TrustKind = "identities"   // whose certificates count, JSON
	TrustPolicy     TrustKind = "policy"

	// TrustSignedPolicy is a policy of a registry, with who has signed it: what
	// [Hub.CarryPolicy] returns.
	TrustSignedPolicy TrustKind = "signed-policy"
)

// trustTypes are the media types of the kinds.
var trustTypes = map[TrustKind]string{
	TrustKey:        "application/x-pem-file",
	TrustRoot:       "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
	TrustIdentities: "application/vnd.modelreg.identities.v1+json",
	TrustPolicy:     "application/yaml",

	TrustSignedPolicy: "application/vnd.modelreg.policy.signed.v1+json",
}

const (
	artifactTrust     = "application/vnd.modelreg.trust.v1"
	maxTrustFiles     = 64
	maxTrustFileBytes = 1 << 20
)

// A TrustFile says whom to trust, where nobody can be asked.
type TrustFile struct {
	Kind TrustKind `json:"kind"`
	Name string    `json:"name"` // of the file, for people

	// Digest is that of the bytes; it is set by whoever reads a bundle.
	Digest string `json:"digest"`

	Raw []byte `json:"-"`
}

// BundleTrust is what a bundle says of whom to trust. Whoever makes a bundle
// can write anything there: it is the digest that tells whether it is what the
// sender put in.
type BundleTrust struct {
	Digest string      `json:"digest"` // of all of it
	Files  []TrustFile `json:"files"`
}

// trustDocument returns the manifest that holds trust files, the same for the
// same files, and all blobs of it.
func trustDocument(files []TrustFile) (ocispec.Descriptor, []smallBlob, error) {
	if len(files) > maxTrustFiles {
		return ocispec.Descriptor{}, nil, fmt.Errorf("%w: %d trust files, more than %d", ErrUsage, len(files), maxTrustFiles)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactTrust,
		Config: ocispec.DescriptorEmptyJSON,
	}
	blobs := []smallBlob{{ocispec.DescriptorEmptyJSON, ocispec.DescriptorEmptyJSON.Data}}
	sorted := slices.SortedFunc(slices.Values(files), func(a, b TrustFile) int {
		return strings.Compare(string(a.Kind)+a.Name+string(digest.FromBytes(a.Raw)), string(b.Kind)+b.Name+string(digest.FromBytes(b.Raw)))
	})
	for _, f := range sorted {
		if len(f.Raw) > maxTrustFileBytes || trustTypes[f.Kind] == "" {
			return ocispec.Descriptor{}, nil, fmt.Errorf("%w: trust file %s: %d bytes of kind %q", ErrUsage, f.Name, len(f.Raw), f.Kind)
		}
		desc := content.NewDescriptorFromBytes(trustTypes[f.Kind], f.Raw)
		blobs = append(blobs, smallBlob{desc, f.Raw})
		desc.Annotations = map[string]string{ocispec.AnnotationTitle: f.Name}
		m.Layers = append(m.Layers, desc)
	}
	raw, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("encode trust files: %w", err)
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, raw)
	desc.ArtifactType = artifactTrust
	return desc, append(blobs, smallBlob{desc, raw}), nil
}

// readTrust reads the trust files of a bundle, nil if it has none.
func readTrust(ctx context.Context, l *layout.Layout) (*BundleTrust, error) {
	entries, err := l.Entries()
	if err != nil {
		return nil, err
	}
	var found *ocispec.Descriptor
	for _, e := range entries {
		if e.Descriptor.ArtifactType != artifactTrust || e.Tag != "" || e.Repository != "" {
			continue
		}
		if found != nil && found.Digest != e.Descriptor.Digest {
			return nil, fmt.Errorf("%w: two sets of trust files", layout.ErrMalformed)
		}
		found = &e.Descriptor
	}
	if found == nil {
		return nil, nil
	}
	raw, err := fetchSmall(ctx, l, *found, mediatypes.MaxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("read trust files: %w", err)
	}
	m, err := mediatypes.ParseManifest(raw)
	if err == nil && len(m.Layers) > maxTrustFiles {
		err = fmt.Errorf("%w: %d trust files, more than %d", layout.ErrMalformed, len(m.Layers), maxTrustFiles)
	}
	if err != nil {
		return nil, fmt.Errorf("read trust files: %w", err)
	}
	t := &BundleTrust{Digest: found.Digest.String(), Files: []TrustFile{}}
	for _, layer := range m.Layers {
		f := TrustFile{Name: layer.Annotations[ocispec.AnnotationTitle], Digest: layer.Digest.String()}
		for kind, mediaType := range trustTypes {
			if mediaType == layer.MediaType {
				f.Kind = kind
			}
		}
		if f.Kind == "" {
			return nil, fmt.Errorf("%w: trust file of type %s is not known here", layout.ErrMalformed, layer.MediaType)
		}
		if f.Raw, err = fetchSmall(ctx, l, layer, maxTrustFileBytes); err != nil {
			return nil, fmt.Errorf("read trust file %.200q: %w", f.Name, err)
		}
		t.Files = append(t.Files, f)
	}
	return t, nil
}

// fetchSmall reads a blob that has at most limit bytes, and compares its digest.
func fetchSmall(ctx context.Context, from content.Fetcher, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", layout.ErrMalformed, desc.Size, limit)
	}
	return content.FetchAll(ctx, from, ocispec.Descriptor{MediaType: "application/octet-stream", Digest: desc.Digest, Size: desc.Size})
}

// trust returns whom the files say to trust: nobody in person where there are
// neither keys nor identities, and nothing to obey where there is no policy.
func (t *BundleTrust) trust() (trusted, error) {
	trust := &signing.Trust{}
	var policies []*policy.Policy
	for _, f := range t.Files {
		var err error
		switch f.Kind {
		case TrustKey:
			var key *signing.PublicKey
			if key, err = signing.LoadPublicKey(f.Raw); err == nil {
				trust.Keys = append(trust.Keys, key)
			}
		case TrustRoot:
			trust.Roots, err = signing.ParseTrustedRoot(f.Raw)
		case TrustIdentities:
			var ids []signing.Identity
			if ids, err = ParseIdentities(f.Raw); err == nil {
				trust.Identities = append(trust.Identities, ids...)
			}
		case TrustPolicy:
			var p *policy.Policy
			if p, err = policy.Parse(f.Raw); err == nil {
				policies = append(policies, p)
			}
		}
		if err != nil {
			return trusted{}, fmt.Errorf("trust file %.200q of the bundle: %w", f.Name, err)
		}
	}
	out := trusted{policies: policies, roots: trust.Roots}
	if len(trust.Keys)+len(trust.Identities) > 0 {
		out.trust = trust
		return out, trust.Check()
	}
	return out, nil
}

// trusted is whom the files of a bundle say to trust.
type trusted struct {
	trust    *signing.Trust // nil where nobody is named
	policies []*policy.Policy
	roots    *signing.Roots // nil where there are none
}

// An identity is one of signing's, as JSON.
type identity struct {
	Issuer        string `json:"issuer,omitempty"`
	Subject       string `json:"subject,omitempty"`
	IssuerRegexp  string `json:"issuerRegexp,omitempty"`
	SubjectRegexp string `json:"subjectRegexp,omitempty"`
}

// FormatIdentities writes identities for a file of kind [TrustIdentities].
func FormatIdentities(ids []signing.Identity) ([]byte, error) {
	out := make([]identity, len(ids))
	for i, id := range ids {
		out[i] = identity{Issuer: id.Issuer, Subject: id.Subject, IssuerRegexp: id.IssuerRegexp, SubjectRegexp: id.SubjectRegexp}
	}
	raw, err := json.Marshal(out, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode identities: %w", err)
	}
	return raw, nil
}

// ParseIdentities reads what [FormatIdentities] wrote. What it does not know is
// an error: it could be a condition.
func ParseIdentities(raw []byte) ([]signing.Identity, error) {
	var list []identity
	if err := json.Unmarshal(raw, &list, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: identities: %w", layout.ErrMalformed, err)
	}
	ids := make([]signing.Identity, len(list))
	for i, id := range list {
		ids[i] = signing.Identity{Issuer: id.Issuer, Subject: id.Subject, IssuerRegexp: id.IssuerRegexp, SubjectRegexp: id.SubjectRegexp}
		if err := ids[i].Check(); err != nil {
			return nil, fmt.Errorf("%w: identities: %w", layout.ErrMalformed, err)
		}
	}
	return ids, nil
}
