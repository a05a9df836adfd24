package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A list is the referrers of one subject: the index under its referrers tag.
// Nothing else records them. Who changes a list holds the repository's lock.
//
// Nothing of an entry but its digest is believed: some clients write the wrong
// artifactType, and anybody may write an entry for what refers to something
// else.
type list struct {
	contents
	tag     string
	target  digest.Digest        // what the tag points to, or ""
	entries []ocispec.Descriptor // of the index; not checked
}

func (r *Registry) openList(ctx context.Context, name, tag string) (list, error) {
	c, err := r.open(ctx, name)
	if err != nil {
		return list{}, err
	}
	return c.list(tag)
}

func (c contents) list(tag string) (list, error) {
	l := list{contents: c, tag: tag}
	desc, err := c.repo.Tags(c.ctx).Get(c.ctx, tag)
	if _, ok := errors.AsType[distribution.ErrTagUnknown](err); ok {
		return l, nil
	}
	if err != nil {
		return list{}, fmt.Errorf("resolve referrers tag: %w", err)
	}
	l.target = desc.Digest
	index, err := c.get(desc.Digest)
	if errors.Is(err, errNoManifest) {
		return l, nil // nothing that lists anything
	}
	if err != nil {
		return list{}, err
	}
	l.entries = index.doc.Manifests
	return l, nil
}

// live returns those of the entries that are there and belong to the list,
// described anew.
func (l list) live(entries []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var kept []ocispec.Descriptor
	for _, dgst := range digests(entries) {
		m, err := l.get(dgst)
		if errors.Is(err, errNoManifest) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if subject := m.doc.subject(); subject != "" && referrersTag(subject) == l.tag {
			kept = append(kept, m.descriptor())
		}
	}
	return kept, nil
}

// digests returns the valid digests of the entries, sorted, each once.
func digests(entries []ocispec.Descriptor) []digest.Digest {
	all := make([]digest.Digest, 0, len(entries))
	for _, e := range entries {
		if e.Digest.Validate() == nil {
			all = append(all, e.Digest)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// with returns the entries with desc among them.
func (l list) with(desc ocispec.Descriptor) []ocispec.Descriptor {
	return append(l.without(desc.Digest), desc)
}

func (l list) without(dgst digest.Digest) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(l.entries), func(e ocispec.Descriptor) bool {
		return e.Digest == dgst
	})
}

// merge makes the tag list what it did and what a client's index does. Where
// the index is complete and right, the tag takes it byte for byte, so that the
// client finds what it wrote.
func (l list) merge(raw []byte, entries []ocispec.Descriptor) error {
	merged, err := l.live(slices.Concat(l.entries, entries))
	if err != nil {
		return err
	}
	if sameEntries(merged, entries) {
		return l.point(digest.FromBytes(raw), int64(len(raw)))
	}
	return l.store(merged)
}

// sameEntries reports whether two lists say the same in any order.
func sameEntries(a, b []ocispec.Descriptor) bool {
	x, errX := encodeList(a)
	y, errY := encodeList(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// encodeList writes an index of the entries, sorted: the same referrers give
// the same index, in whatever order they came. One that is larger than what
// registries take is refused.
func encodeList(entries []ocispec.Descriptor) ([]byte, error) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	raw, err := json.Marshal(newIndex(entries))
	if err != nil {
		return nil, fmt.Errorf("encode referrers: %w", err)
	}
	if len(raw) > maxManifest {
		return nil, &refusal{http.StatusRequestEntityTooLarge, codeSizeInvalid, "the subject has too many referrers"}
	}
	return raw, nil
}

func newIndex(entries []ocispec.Descriptor) ocispec.Index {
	if entries == nil {
		entries = []ocispec.Descriptor{} // the specification wants an array
	}
	return ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: entries,
	}
}

// store writes an index of the entries and points the tag to it.
func (l list) store(entries []ocispec.Descriptor) error {
	raw, err := encodeList(entries)
	if err != nil {
		return err
	}
	return l.storeRaw(raw)
}

// storeRaw writes an index and points the tag to it. The index before it stays,
// for those who are about to read it by its digest, until garbage is collected.
func (l list) storeRaw(raw []byte) error {
	m, desc, err := distribution.UnmarshalManifest(ocispec.MediaTypeImageIndex, raw)
	if err != nil {
		return fmt.Errorf("encode referrers: %w", err)
	}
	if _, err := l.manifests.Put(l.ctx, m); err != nil {
		return fmt.Errorf("store referrers: %w", err)
	}
	return l.point(desc.Digest, desc.Size)
}

func (l list) point(dgst digest.Digest, size int64) error {
	if dgst == l.target {
		return nil
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: dgst, Size: size}
	if err := l.repo.Tags(l.ctx).Tag(l.ctx, l.tag, desc); err != nil {
		return fmt.Errorf("move referrers tag: %w", err)
	}
	return nil
}
