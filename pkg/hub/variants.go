package hub

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/store"
)

// maxVariants bounds the variants of one version that are looked at.
const maxVariants = 16

// A Variant is a coding of weights in fewer bytes, beside a version. It is
// lossless, and seen only by who asks for it.
type Variant struct {
	// Base is the version to which differences are coded; nil codes the
	// exponents of floating-point numbers.
	Base *ref.Reference
}

// A variantSource reads a base from the store, and what that has not from the
// registry.
type variantSource struct {
	*remote.Repository
	store *store.Store
}

// FetchRange implements transfer.RangeFetcher.
func (s variantSource) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if s.store != nil {
		if rc, err := s.store.FetchRange(ctx, desc, offset, length); err == nil {
			return rc, nil
		}
	}
	return s.Repository.FetchRange(ctx, desc, offset, length)
}

// variants resolves what variants are to, and returns what tells which of them
// a version lacks.
func (h *Hub) variants(ctx context.Context, repo *remote.Repository, asked []Variant) (func(context.Context, ocispec.Descriptor) ([]artifact.Variant, error), error) {
	if len(asked) == 0 {
		return nil, nil
	}
	all := make([]artifact.Variant, len(asked))
	for i, v := range asked {
		if v.Base == nil {
			continue
		}
		t, err := h.named(ctx, *v.Base)
		if err != nil {
			return nil, err
		}
		a, err := artifact.Open(ctx, manifestAtHand{t.repo, t}, t.desc)
		if err != nil {
			return nil, fmt.Errorf("open base %s: %w", t.ref, err)
		}
		all[i] = artifact.Variant{Base: a, Source: variantSource{t.repo, h.opts.Store}}
	}
	return func(ctx context.Context, version ocispec.Descriptor) ([]artifact.Variant, error) {
		have := make(map[digest.Digest]bool)
		for _, c := range h.codings(ctx, &target{repo: repo, desc: version}) {
			have[c.Version] = true
		}
		var lacking []artifact.Variant
		for _, v := range all {
			base := digest.Digest("")
			if v.Base != nil {
				base = v.Base.Descriptor.Digest
			}
			if !have[base] && base != version.Digest {
				lacking = append(lacking, v)
			}
			have[base] = true
		}
		return lacking, nil
	}, nil
}

// pushVariants lists codings as referrers of the version that they are of.
func pushVariants(ctx context.Context, t *target, coded []artifact.CodedLayer) error {
	if len(coded) == 0 {
		return nil
	}
	raws, err := artifact.PushVariants(ctx, t.repo, t.desc, coded)
	if err != nil {
		return err
	}
	for _, raw := range raws {
		if err := t.repo.PushReferrer(ctx, raw, t.desc); err != nil {
			return fmt.Errorf("push variant: %w", err)
		}
	}
	return nil
}

// codings lists the codings of a version's layers. What cannot be had or read
// is left out: nothing depends on it.
func (h *Hub) codings(ctx context.Context, t *target) []artifact.CodedLayer {
	refs, err := t.repo.Referrers(ctx, t.desc, mediatypes.ArtifactVariant)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errdef.ErrNotFound) {
			h.warn("codings of the weights cannot be listed: %v", err)
		}
		return nil
	}
	var all []artifact.CodedLayer
	looked := 0
	for _, desc := range refs {
		if desc.ArtifactType != mediatypes.ArtifactVariant || desc.Size > mediatypes.MaxManifestBytes {
			continue
		}
		if looked++; looked > maxVariants {
			break
		}
		raw, err := content.FetchAll(ctx, t.repo, desc)
		if err != nil {
			continue
		}
		if coded, err := artifact.ParseVariant(raw, t.desc.Digest); err == nil {
			all = append(all, coded...)
		}
	}
	return all
}
