package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"
)

// moveVersion is [Hub.moveTo] for a version, and for the tags of its variants.
func (h *Hub) moveVersion(ctx context.Context, t *target, tag string, m moving) (*Move, error) {
	done, err := h.moveTo(ctx, t, tag, m)
	if err != nil || !done.Changed {
		return done, err
	}
	return done, h.moveVariants(ctx, t, tag, digest.Digest(done.From), m)
}

// moveVariants makes the tags of variants follow that of their version, which was
// moved from another version to t. Whoever pulls a variant by its own tag must not
// get what the version was rolled back from. Tags that are not there are not made.
func (h *Hub) moveVariants(ctx context.Context, t *target, tag string, from digest.Digest, m moving) error {
	if from == "" || from == t.desc.Digest || !isIndex(t.desc) {
		return nil
	}
	was, err := variantsIn(ctx, t, from)
	if err != nil {
		return err
	}
	now, err := variantsIn(ctx, t, t.desc.Digest)
	if err != nil {
		return err
	}
	names := slices.Concat(slices.Collect(maps.Keys(was)), slices.Collect(maps.Keys(now)))
	slices.Sort(names)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(variantWorkers)
	for _, name := range slices.Compact(names) {
		g.Go(func() error { return h.moveVariant(gctx, t, variantTag(tag, name), now[name], m) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("tag %s is moved, and not all of those of its variants are: %w", tag, err)
	}
	return nil
}

// moveVariant moves the tag of a variant, if there is one, to what that is now: the
// zero descriptor if the version has no such variant.
func (h *Hub) moveVariant(ctx context.Context, t *target, tag string, to ocispec.Descriptor, m moving) error {
	_, err := t.repo.Resolve(ctx, tag)
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("look at tag %s: %w", tag, err)
	case to.Digest == "":
		h.warn("%s: its variant is not in this version, and stays with another", tag)
		return nil
	}
	_, err = h.move(ctx, &target{repo: t.repo, ref: t.ref.WithTag(tag).WithDigest(to.Digest), desc: to, signed: to}, tag, m)
	return err
}
