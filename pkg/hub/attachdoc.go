package hub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A document is something of one layer that is attached to a version.
type document struct {
	artifactType, layerType string
	title                   string // of the layer, as a file; may be empty
	raw                     []byte
	annotations             map[string]string // of the manifest
}

// attach writes a document as a referrer of t, and tells whether it was not there
// yet.
func attach(ctx context.Context, t *target, doc document) (desc ocispec.Descriptor, made bool, err error) {
	return attachTo(ctx, t.repo, t.signed, doc)
}

// attachTo is attach for any subject, which need not be in the repository.
func attachTo(ctx context.Context, repo *remote.Repository, subject ocispec.Descriptor, doc document) (desc ocispec.Descriptor, made bool, err error) {
	layer := content.NewDescriptorFromBytes(doc.layerType, doc.raw)
	raw, err := doc.manifest(subject, layer)
	if err != nil {
		return desc, false, err
	}
	desc = content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	refs, err := repo.Referrers(ctx, subject, doc.artifactType)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return desc, false, err
	}
	if slices.ContainsFunc(refs, func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest }) {
		return desc, false, nil
	}
	empty := ocispec.DescriptorEmptyJSON
	empty.Data = nil
	for _, blob := range []struct {
		desc ocispec.Descriptor
		raw  []byte
	}{{layer, doc.raw}, {empty, ocispec.DescriptorEmptyJSON.Data}} {
		if err := repo.Push(ctx, blob.desc, bytes.NewReader(blob.raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return desc, false, err
		}
	}
	return desc, true, repo.PushReferrer(ctx, raw, subject)
}

func (doc document) manifest(subject, layer ocispec.Descriptor) ([]byte, error) {
	if doc.title != "" {
		layer.Annotations = map[string]string{mediatypes.AnnotationTitle: doc.title}
	}
	return json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: doc.artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer},
		Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}, Annotations: doc.annotations,
	}, json.Deterministic(true))
}

func compareDigests(a, b digest.Digest) int { return cmp.Compare(a, b) }

// readDirCard reads the card of a directory; nil if it has none.
func readDirCard(dir string) (*card.Card, error) {
	f, err := os.Open(filepath.Join(dir, cardFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read card: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, card.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read card: %w", err)
	}
	return card.Parse(raw)
}
