package hub

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A gcFound is what a tag or a digest leads to: a version, the tombstone of one, or
// neither.
type gcFound struct {
	version *gcVersion
	buried  digest.Digest
}

// read reads all tags and what they hold. Whoever may push can set any keep-tag,
// and write any note. So only a version of a model whose own keep-tag holds it, or
// has its tombstone, can become needless; other things behind keep-tags are left
// alone.
func (c *collection) read(ctx context.Context) error {
	c.names, c.versions, c.condemned = map[string]digest.Digest{}, map[digest.Digest]*gcVersion{}, map[digest.Digest]time.Time{}
	if err := c.readNote(ctx); err != nil {
		return err
	}
	names, held, err := c.tags(ctx)
	if err != nil {
		return err
	}
	found, err := c.lookAt(ctx, slices.Concat(names, held))
	if err != nil {
		return err
	}
	c.looked = map[string]bool{}
	for _, tag := range held {
		c.looked[tag] = true
	}
	buried := map[digest.Digest]bool{}
	for i, tag := range slices.Concat(names, held) {
		v := found[i].version
		switch {
		case v != nil:
			v = c.known(v)
			if i < len(names) {
				c.names[tag] = v.digest
			} else if tag == keepTag(v.digest) {
				v.held = true
			}
		case found[i].buried != "" && tag == keepTag(found[i].buried):
			buried[found[i].buried] = true
		}
	}
	return c.readBuried(ctx, buried)
}

// readBuried reads the versions that earlier runs condemned, and whose keep-tags
// have tombstones already: a run that was stopped has left them.
func (c *collection) readBuried(ctx context.Context, buried map[digest.Digest]bool) error {
	for d := range buried {
		if v := c.versions[d]; v != nil { // kept by a name
			v.buried = true
		}
	}
	maps.DeleteFunc(buried, func(d digest.Digest, _ bool) bool { return c.condemned[d].IsZero() })
	left := slices.Sorted(maps.Keys(buried))
	references := make([]string, len(left))
	for i, d := range left {
		references[i] = d.String()
	}
	found, err := c.lookAt(ctx, references)
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.version != nil {
			v := c.known(f.version)
			v.held, v.buried = true, true
		}
	}
	return nil
}

// known is the one record of a version.
func (c *collection) known(v *gcVersion) *gcVersion {
	if have := c.versions[v.digest]; have != nil {
		return have
	}
	c.versions[v.digest] = v
	return v
}

// lookAt reads what tags or digests lead to, many at once.
func (c *collection) lookAt(ctx context.Context, references []string) ([]gcFound, error) {
	found := make([]gcFound, len(references))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(gcWorkers)
	for i, reference := range references {
		group.Go(func() (err error) {
			found[i], err = lookAtVersion(ctx, c.repo, reference)
			return err
		})
	}
	return found, group.Wait()
}

// lookAtVersion reads what a tag or digest leads to; nothing for what is gone.
func lookAtVersion(ctx context.Context, repo *remote.Repository, reference string) (gcFound, error) {
	desc, raw, err := repo.Manifest(ctx, reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return gcFound{}, nil
	}
	if err != nil {
		return gcFound{}, err
	}
	if stone, ok := record.ParseTombstone(raw); ok {
		return gcFound{buried: stone.Digest}, nil
	}
	return gcFound{version: &gcVersion{
		digest: desc.Digest, mediaType: desc.MediaType, commit: commitOf(desc, raw), raw: raw, mention: annotationsOf(raw)[versionKey], model: isVersion(desc, raw),
	}}, nil
}

// isVersion tells whether a manifest is a version of a model, and so none of what is
// attached to versions or kept of them.
func isVersion(desc ocispec.Descriptor, raw []byte) bool {
	if desc.MediaType == ocispec.MediaTypeImageIndex {
		x, err := mediatypes.ParseIndex(raw)
		return err == nil && x.Subject == nil && x.ArtifactType == mediatypes.ArtifactIndex
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil || m.Subject != nil {
		return false
	}
	_, ok := mediatypes.Detect(m)
	return ok
}
