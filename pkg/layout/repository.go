package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A Repository is the tags and referrers of one repository of a layout. Its
// blobs are those of all of it.
type Repository struct {
	*Layout
	name string
}

// Repository returns the repository with that name. "" is the only one that
// the layout has; where there are several, the error wraps [ErrSeveral].
func (l *Layout) Repository(name string) (*Repository, error) {
	if name != "" {
		return &Repository{l, name}, nil
	}
	names, err := l.Repositories()
	if err != nil {
		return nil, err
	}
	switch len(names) {
	case 0:
		return &Repository{l, ""}, nil
	case 1:
		return &Repository{l, names[0]}, nil
	}
	return nil, fmt.Errorf("%w: %d", ErrSeveral, len(names))
}

// ErrSeveral is wrapped by errors of not saying which repository is meant.
var ErrSeveral = errors.New("layout holds several repositories")

// Name returns the repository's name; "" if it has none.
func (r *Repository) Name() string { return r.name }

// Tags lists the tags, in the order of index.json.
func (r *Repository) Tags(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		entries, err := r.Entries()
		if err != nil {
			yield("", err)
			return
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			if e.Repository == r.name && e.Tag != "" && !yield(e.Tag, nil) {
				return
			}
		}
	}
}

// Resolve returns what a tag or digest stands for.
func (r *Repository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	desc, _, err := r.Manifest(ctx, reference)
	return desc, err
}

// Manifest returns the manifest that a tag or digest names, with bytes that
// have its digest.
func (r *Repository) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, listed, err := r.find(reference)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("find %.200q: %w", reference, err)
	}
	raw, err := r.document(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	mediaType, err := manifestType(listed, raw)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: desc.Digest, Size: desc.Size}, raw, nil
}

// document reads a manifest, whatever it is.
func (r *Repository) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > mediatypes.MaxManifestBytes {
		return nil, fmt.Errorf("manifest %s of %d bytes: %w", desc.Digest, desc.Size, errdef.ErrSizeExceedsLimit)
	}
	f, err := r.open(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := content.ReadAll(f, desc)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", desc.Digest, err)
	}
	return raw, nil
}

// find returns digest and size of a manifest, and the media type that it is
// listed with.
func (r *Repository) find(reference string) (desc ocispec.Descriptor, listed string, err error) {
	dgst, err := digest.Parse(reference)
	byDigest := err == nil
	entries, err := r.Entries()
	if err != nil {
		return desc, "", err
	}
	for _, e := range entries {
		if byDigest && e.Descriptor.Digest == dgst || !byDigest && e.Tag == reference && e.Repository == r.name {
			return e.Descriptor, e.Descriptor.MediaType, nil
		}
	}
	if !byDigest {
		return desc, "", errdef.ErrNotFound
	}
	f, err := r.at.blob(dgst)
	if err != nil {
		return desc, "", err
	}
	return ocispec.Descriptor{Digest: dgst, Size: f.Size()}, "", f.Close()
}

// Referrers lists the manifests that name desc as their subject: those in its
// fallback tag, whose subjects the caller has to check, and the entries of
// index.json that do. An artifactType that is not empty keeps others out, but
// not those of which the list does not say.
func (r *Repository) Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	if err := checkDesc(desc); err != nil {
		return nil, err
	}
	all, err := r.fallback(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	listed, err := r.listed(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	seen := make(map[digest.Digest]bool)
	var found []ocispec.Descriptor
	for _, d := range append(all, listed...) {
		if seen[d.Digest] || checkDesc(d) != nil || !ofType(d, artifactType) {
			continue
		}
		seen[d.Digest] = true
		found = append(found, d)
	}
	if len(found) > maxReferrerList {
		return nil, fmt.Errorf("%d referrers of %s: %w", len(found), desc.Digest, errdef.ErrSizeExceedsLimit)
	}
	return found, nil
}

func ofType(d ocispec.Descriptor, want string) bool {
	return want == "" || d.ArtifactType == want || d.ArtifactType == "" || d.ArtifactType == ocispec.MediaTypeEmptyJSON
}

// FallbackTag is the tag under which the referrers of a manifest are listed (OCI
// distribution specification, section "Referrers Tag Schema"). The digest must be
// valid.
func FallbackTag(dgst digest.Digest) string {
	return dgst.Algorithm().String() + "-" + dgst.Encoded()[:64]
}

// fallback reads the fallback tag. One that is no index lists nothing.
func (r *Repository) fallback(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	desc, _, err := r.find(FallbackTag(subject))
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if desc.Digest == subject {
		return nil, nil
	}
	raw, err := r.document(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("read referrers of %s: %w", subject, err)
	}
	index, ok := parseFallback(raw)
	if !ok {
		return nil, nil
	}
	return index.Manifests, nil
}

func parseFallback(raw []byte) (index ocispec.Index, ok bool) {
	err := json.Unmarshal(raw, &index)
	return index, err == nil && (index.MediaType == "" || index.MediaType == ocispec.MediaTypeImageIndex)
}

// listed are the entries of index.json whose subject this is.
func (r *Repository) listed(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	entries, err := r.Entries()
	if err != nil {
		return nil, err
	}
	var found []ocispec.Descriptor
	for _, e := range entries {
		of, err := r.subject(ctx, e.Descriptor)
		if err != nil {
			return nil, err
		}
		if of == subject {
			found = append(found, e.Descriptor)
		}
	}
	return found, nil
}

// subject returns the subject of a manifest, and "" for what has none or is no
// manifest.
func (r *Repository) subject(ctx context.Context, desc ocispec.Descriptor) (digest.Digest, error) {
	r.mu.Lock()
	of, known := r.subjects[desc.Digest]
	r.mu.Unlock()
	if known || desc.Size > mediatypes.MaxManifestBytes {
		return of, nil
	}
	raw, err := r.document(ctx, desc)
	if errors.Is(err, errdef.ErrNotFound) {
		return "", nil // whoever wants it will be told
	}
	if err != nil {
		return "", err
	}
	var doc struct {
		Subject *ocispec.Descriptor `json:"subject"`
	}
	if json.Unmarshal(raw, &doc) == nil && doc.Subject != nil {
		of = doc.Subject.Digest
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subjects == nil {
		r.subjects = make(map[digest.Digest]digest.Digest)
	}
	r.subjects[desc.Digest] = of
	return of, nil
}

// PushManifest writes a manifest and points the tags at it. Without tags it is
// listed nowhere: it is what an index leads to.
func (r *Repository) PushManifest(ctx context.Context, desc ocispec.Descriptor, raw []byte, tags ...string) error {
	if err := r.write(ctx, desc, raw); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := r.Tag(ctx, desc, tag); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) write(ctx context.Context, desc ocispec.Descriptor, raw []byte) error {
	if err := r.Push(ctx, desc, bytes.NewReader(raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return fmt.Errorf("push manifest: %w", err)
	}
	return nil
}

// Tag points a tag at a manifest that is in the layout.
func (r *Repository) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	if tag == "" || len(tag) > maxNameBytes {
		return fmt.Errorf("tag %.200q: %w", tag, errdef.ErrInvalidReference)
	}
	if there, err := r.Exists(ctx, desc); err != nil || !there {
		return errors.Join(err, fmt.Errorf("tag %s: %w", desc.Digest, errdef.ErrNotFound))
	}
	entry := Name(entryDescriptor(desc), r.name, tag, false)
	return r.change(ctx, func(list []ocispec.Descriptor) ([]ocispec.Descriptor, error) { return put(list, entry), nil })
}

// entryDescriptor is what of a descriptor goes into index.json.
func entryDescriptor(desc ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size,
		ArtifactType: desc.ArtifactType, Annotations: desc.Annotations, Platform: desc.Platform,
	}
}

// PushReferrer writes a manifest whose subject is the one given, and lists it
// for both kinds of readers.
func (r *Repository) PushReferrer(ctx context.Context, raw []byte, subject ocispec.Descriptor) error {
	entry, err := Referrer(raw, subject)
	if err != nil {
		return fmt.Errorf("push referrer of %s: %w", subject.Digest, err)
	}
	if err := r.write(ctx, entry, raw); err != nil {
		return err
	}
	return r.change(ctx, func(list []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		known, err := r.fallback(ctx, subject.Digest)
		if err != nil {
			return nil, err
		}
		listed := put(list, Name(Listed(entry), r.name, "", false))
		fallback, raw, err := Fallback(append(known, entry))
		if err != nil {
			return nil, err
		}
		if err := r.write(ctx, fallback, raw); err != nil {
			return nil, err
		}
		tag := Name(fallback, r.name, FallbackTag(subject.Digest), false)
		now := listed
		if now == nil {
			now = list
		}
		if again := put(now, tag); again != nil {
			return again, nil
		}
		return listed, nil
	})
}

// Listed is what of a referrer's descriptor index.json holds.
func Listed(desc ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, ArtifactType: desc.ArtifactType}
}

// Referrer returns the list entry for a manifest that refers to subject, as the
// distribution specification builds it in section "Listing Referrers".
func Referrer(raw []byte, subject ocispec.Descriptor) (ocispec.Descriptor, error) {
	var m struct {
		MediaType    string              `json:"mediaType"`
		ArtifactType string              `json:"artifactType"`
		Config       ocispec.Descriptor  `json:"config"`
		Subject      *ocispec.Descriptor `json:"subject"`
		Annotations  map[string]string   `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return ocispec.Descriptor{}, malformed("referrer: %v", err)
	}
	if m.Subject == nil || m.Subject.Digest != subject.Digest {
		return ocispec.Descriptor{}, fmt.Errorf("%w: its subject is another", errdef.ErrInvalidReference)
	}
	if m.ArtifactType == "" {
		m.ArtifactType = m.Config.MediaType
	}
	return ocispec.Descriptor{
		MediaType: m.MediaType, ArtifactType: m.ArtifactType, Annotations: m.Annotations,
		Digest: digest.FromBytes(raw), Size: int64(len(raw)),
	}, nil
}

// Fallback returns the index that lists these referrers, each once.
func Fallback(referrers []ocispec.Descriptor) (ocispec.Descriptor, []byte, error) {
	seen := make(map[digest.Digest]bool)
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, d := range referrers {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			index.Manifests = append(index.Manifests, d)
		}
	}
	raw, err := json.Marshal(index, json.Deterministic(true))
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("encode referrers: %w", err)
	}
	if len(raw) > mediatypes.MaxManifestBytes {
		return ocispec.Descriptor{}, nil, fmt.Errorf("list of %d referrers: %w", len(index.Manifests), errdef.ErrSizeExceedsLimit)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw, nil
}
