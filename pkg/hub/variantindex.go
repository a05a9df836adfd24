package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// index is the version: the variants by name, what they have in common, and the
// history. It is the tip of the branch where it would say the same.
func (p *variantPush) index() ([]byte, ocispec.Descriptor, error) {
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: mediatypes.ArtifactIndex,
		Annotations: p.common(),
	}
	for _, m := range p.members {
		desc := m.desc
		desc.Annotations = m.variant.Annotations()
		desc.Platform = &ocispec.Platform{Architecture: mediatypes.PlatformUnknown, OS: mediatypes.PlatformUnknown}
		index.Manifests = append(index.Manifests, desc)
	}
	raw, err := p.opts.commit.hookIndex(&index)
	if err == nil && raw == nil {
		raw, err = encodeIndex(index)
	}
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	desc := content.NewDescriptorFromBytes(index.MediaType, raw)
	desc.ArtifactType = index.ArtifactType
	return raw, desc, nil
}

// encodeIndex writes an index as package artifact writes manifests.
func encodeIndex(index ocispec.Index) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(index); err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	raw := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(raw) > mediatypes.MaxManifestBytes {
		return nil, fmt.Errorf("encode index: %d bytes, more than %d: %w", len(raw), mediatypes.MaxManifestBytes, errdef.ErrSizeExceedsLimit)
	}
	return raw, nil
}

// sharedAnnotations are those that an index has where all its variants that say
// something say the same.
var sharedAnnotations = []string{
	ocispec.AnnotationTitle, ocispec.AnnotationLicenses, ocispec.AnnotationCreated, ocispec.AnnotationBaseImageName, ocispec.AnnotationBaseImageDigest,
	mediatypes.AnnotationTask, mediatypes.AnnotationLanguages, mediatypes.AnnotationDatasets, mediatypes.AnnotationTags,
	mediatypes.AnnotationBaseModel, mediatypes.AnnotationBaseRelation, mediatypes.AnnotationArchitecture, mediatypes.AnnotationContextLength,
}

// common is what an index says of all its variants, and what the user adds.
func (p *variantPush) common() map[string]string {
	out := map[string]string{}
	for _, key := range sharedAnnotations {
		values := map[string]bool{}
		for _, m := range p.members {
			if v := m.annotations[key]; v != "" {
				values[v] = true
			}
		}
		if len(values) == 1 {
			out[key] = slices.Collect(maps.Keys(values))[0]
		}
	}
	var formats []string
	code := false
	for _, m := range p.members {
		formats = append(formats, split(m.annotations[mediatypes.AnnotationFormats])...)
		code = code || m.annotations[mediatypes.AnnotationCode] == "true"
	}
	slices.Sort(formats)
	if formats = slices.Compact(formats); len(formats) > 0 {
		out[mediatypes.AnnotationFormats] = strings.Join(formats, ",")
	}
	if code {
		out[mediatypes.AnnotationCode] = "true"
	}
	if p.opts.Created.IsZero() {
		delete(out, ocispec.AnnotationCreated)
	}
	maps.Copy(out, p.opts.Annotations)
	return out
}

// hookIndex is [commit.hook] for an index.
func (c *commit) hookIndex(index *ocispec.Index) ([]byte, error) {
	if !c.explicit && c.raw != nil && isIndex(c.tip) {
		if tip, err := mediatypes.ParseIndex(c.raw); err == nil && sameIndex(tip, *index) {
			return c.raw, nil
		}
	}
	record, err := c.record.Annotations()
	if err != nil {
		return nil, err
	}
	for k, v := range record {
		if _, given := index.Annotations[k]; !given {
			index.Annotations[k] = v
		}
	}
	return nil, nil
}

// sameIndex tells whether two indexes say the same of everything but their
// history.
func sameIndex(a, b ocispec.Index) bool {
	same := func(a, b ocispec.Descriptor) bool {
		return a.Digest == b.Digest && a.ArtifactType == b.ArtifactType && maps.Equal(a.Annotations, b.Annotations)
	}
	return a.ArtifactType == b.ArtifactType && slices.EqualFunc(a.Manifests, b.Manifests, same) &&
		maps.Equal(withoutHistory(a.Annotations), withoutHistory(b.Annotations))
}

func withoutHistory(annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	maps.DeleteFunc(out, func(k, _ string) bool { return lineage.IsHistory(k) })
	return out
}
