package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
)

// ownTypes starts the types of what modelreg keeps of repositories and versions.
const ownTypes = "application/vnd.modelreg."

// detach deletes what refers to a manifest, and what refers to that, and the tags
// by which others find it.
func (c *collection) detach(ctx context.Context, desc ocispec.Descriptor, depth int) (n int, err error) {
	if depth >= maxGCDepth {
		return 0, nil
	}
	refs, err := c.repo.Referrers(ctx, desc, "")
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return 0, err
	}
	gone := map[digest.Digest]bool{}
	for _, r := range refs {
		more, deleted, err := c.detachOne(ctx, desc, r, depth)
		n += more
		if err != nil {
			return n, err
		}
		gone[r.Digest] = deleted
	}
	more, err := c.detachTags(ctx, desc, gone)
	return n + more, err
}

// detachOne deletes r if it refers to desc, for a list can name anything. It
// reports how many manifests it deleted, and whether r is gone.
func (c *collection) detachOne(ctx context.Context, desc, r ocispec.Descriptor, depth int) (n int, gone bool, err error) {
	if c.versions[r.Digest] != nil {
		return 0, false, nil
	}
	_, raw, err := c.repo.Manifest(ctx, r.Digest.String())
	if errors.Is(err, errdef.ErrNotFound) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	if m, err := mediatypes.ParseManifest(raw); err != nil || m.Subject == nil || m.Subject.Digest != desc.Digest {
		return 0, false, nil
	}
	if n, err = c.detach(ctx, r, depth+1); err != nil {
		return n, false, err
	}
	if err := c.delete(ctx, r); err != nil {
		return n, false, err
	}
	return n + 1, true, nil
}

// detachTags deletes what is attached to desc by tags alone, and the list of its
// referrers, of which those that gone names are no more. Whoever may push can let
// such a tag lead anywhere: what is not of the kind, or has another name, loses this
// one and stays.
func (c *collection) detachTags(ctx context.Context, desc ocispec.Descriptor, gone map[digest.Digest]bool) (n int, err error) {
	list := desc.Digest.Algorithm().String() + "-" + desc.Digest.Encoded()
	for _, tag := range append(classicTags(desc.Digest), list) {
		held, raw, err := c.repo.Manifest(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) || err == nil && held.Digest == desc.Digest {
			continue
		}
		if err != nil {
			return n, err
		}
		ours := c.versions[held.Digest] == nil
		switch {
		case !ours:
		case tag == list:
			ours = listsOnly(raw, gone)
		default:
			if ours, err = c.onlyAttached(ctx, desc, held, raw); err != nil {
				return n, err
			}
		}
		if !ours {
			if err := c.untag(ctx, tag); err != nil {
				return n, err
			}
			continue
		}
		if err := c.delete(ctx, held); err != nil {
			return n, err
		}
		if tag != list {
			n++
		}
	}
	return n, nil
}

// listsOnly tells whether an index lists nothing but what is gone.
func listsOnly(raw []byte, gone map[digest.Digest]bool) bool {
	x, err := mediatypes.ParseIndex(raw)
	if err != nil || x.ArtifactType != "" {
		return false
	}
	for _, m := range x.Manifests {
		if !gone[m.Digest] {
			return false
		}
	}
	return true
}

// onlyAttached tells whether what a tag such as sha256-….sig leads to can be a
// signature, attestation or bill of materials, and no other version has it too.
func (c *collection) onlyAttached(ctx context.Context, desc, held ocispec.Descriptor, raw []byte) (bool, error) {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil || m.Subject != nil && m.Subject.Digest != desc.Digest || strings.HasPrefix(m.ArtifactType, ownTypes) {
		return false, nil
	}
	if _, model := mediatypes.Detect(m); model {
		return false, nil
	}
	if c.leading == nil {
		found, err := c.resolve(ctx, c.classic)
		if err != nil {
			return false, err
		}
		c.leading = map[digest.Digest]int{}
		for _, d := range found {
			c.leading[d]++
		}
	}
	return c.leading[held.Digest] <= 1, nil
}

// resolve looks up tags, many at once; "" is what is gone.
func (c *collection) resolve(ctx context.Context, tags []string) ([]digest.Digest, error) {
	found := make([]digest.Digest, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(gcWorkers)
	for i, tag := range tags {
		group.Go(func() error {
			desc, err := c.repo.Resolve(ctx, tag)
			if errors.Is(err, errdef.ErrNotFound) {
				return nil
			}
			found[i] = desc.Digest
			return err
		})
	}
	return found, group.Wait()
}

// untag removes a tag. A registry that removes none keeps it, and nothing is lost.
func (c *collection) untag(ctx context.Context, tag string) error {
	err := c.repo.Untag(ctx, tag)
	if e, ok := errors.AsType[*remote.Error](err); ok && e.Status == http.StatusBadRequest {
		return nil
	}
	if errors.Is(err, errdef.ErrNotFound) || refused(err) {
		return nil
	}
	return err
}

// delete removes a manifest; one that is gone already is none to remove.
func (c *collection) delete(ctx context.Context, desc ocispec.Descriptor) error {
	err := c.repo.Delete(ctx, desc)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if refused(err) {
		return ErrNoDelete
	}
	return err
}

// lookAgain makes sure that nobody has come to need meanwhile what is to be deleted:
// by a name, or by a new version that lists it or was made of it.
func (c *collection) lookAgain(ctx context.Context) error {
	names, held, err := c.tags(ctx)
	if err != nil {
		return err
	}
	tips, err := c.resolve(ctx, names)
	if err != nil {
		return err
	}
	var fresh []string
	for i, tag := range names {
		v := c.versions[tips[i]]
		if v == nil && tips[i] != "" {
			fresh = append(fresh, tag)
		}
		if v != nil && len(v.why) == 0 {
			return fmt.Errorf("tag %s has been set to %s meanwhile: plan again: %w", tag, v.digest, ErrConflict)
		}
	}
	for _, tag := range held {
		if !c.looked[tag] {
			fresh = append(fresh, tag)
		}
	}
	found, err := c.lookAt(ctx, fresh)
	if err != nil {
		return err
	}
	for i, f := range found {
		if f.version == nil {
			continue
		}
		for _, d := range needs(f.version) {
			if v := c.versions[d]; v != nil && len(v.why) == 0 {
				return fmt.Errorf("tag %s has been set to %s meanwhile, which needs %s: plan again: %w", fresh[i], f.version.digest, d, ErrConflict)
			}
		}
	}
	return nil
}

// needs are the versions that one lists or was made of.
func needs(v *gcVersion) []digest.Digest {
	all := membersOf(v.raw)
	for _, e := range lineage.Edges(annotationsOf(v.raw), card.Metadata{}) {
		all = append(all, e.Digest)
	}
	return all
}
