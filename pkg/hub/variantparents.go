package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A past is what variants were in the versions before, by name: in each of those
// that the new version is made from, and in the one in whose place it comes, which
// is none unless a version is amended.
type past struct {
	parents  []map[string]ocispec.Descriptor
	replaced map[string]ocispec.Descriptor
}

// lookBack finds the variants of the versions that the new one has as parents.
func (p *variantPush) lookBack(ctx context.Context) (past, error) {
	var before past
	c := p.opts.commit
	for _, d := range c.record.Parents {
		had, err := p.variantsAt(ctx, d)
		if err != nil {
			return past{}, err
		}
		before.parents = append(before.parents, had)
	}
	if !p.opts.Amend {
		return before, nil
	}
	had, err := p.variantsAt(ctx, c.tip.Digest)
	before.replaced = had
	return before, err
}

// variantsAt are the variants of a version of the repository, by name.
func (p *variantPush) variantsAt(ctx context.Context, d digest.Digest) (map[string]ocispec.Descriptor, error) {
	tip := p.opts.commit
	return variantsIn(ctx, &target{repo: p.repo, ref: p.ref, desc: tip.tip, raw: tip.raw}, d)
}

// variantsIn are the variants of a version of t's repository, by name. One without
// variants is the one that its files say; one that is gone, or that cannot be read,
// has none.
func variantsIn(ctx context.Context, t *target, d digest.Digest) (map[string]ocispec.Descriptor, error) {
	at := &target{repo: t.repo.Origin(), ref: t.ref.WithDigest(d), desc: t.desc, raw: t.raw}
	var err error
	if at.raw == nil || at.desc.Digest != d {
		at.desc, at.raw, err = at.repo.Manifest(ctx, d.String())
	}
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the variants of %s: %w", d, err)
	}
	if !isIndex(at.desc) {
		return map[string]ocispec.Descriptor{ofManifest(at.desc, at.raw).Name: at.desc}, nil
	}
	index, err := mediatypes.ParseIndex(at.raw)
	if err != nil {
		return nil, nil // a version may follow what nobody can read
	}
	found := listed(index, isModel)
	called, err := variantsOf(ctx, at, found)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the variants of %s: %w", d, err)
	}
	had := make(map[string]ocispec.Descriptor, len(found))
	for i, v := range called {
		if _, again := had[v.Name]; v.Name != "" && !again {
			had[v.Name] = found[i]
		}
	}
	return had, nil
}

// descent is the commit of one variant. It says what the version says, and has as
// parents what the versions before had by the same name: at once if the name is
// given, else when the files tell it.
func (p *variantPush) descent(ctx context.Context, name string) (*commit, error) {
	whole := p.opts.commit.record
	c := &commit{
		record: lineage.Commit{Message: whole.Message, Author: whole.Author},
		look:   func(context.Context) error { return nil }, // the branch is that of the index
	}
	if name != "" {
		return c, p.follow(ctx, c, name)
	}
	c.trace = func(made artifact.Made) error {
		return p.follow(ctx, c, variantOf(made.Model, made.Files, made.Manifest.Annotations).Name)
	}
	return c, nil
}

// follow makes a commit go on from what the variant of that name was. One that is
// what its only parent was is that version still, whatever is said of the new one:
// its digest stays, and its signatures with it.
func (p *variantPush) follow(ctx context.Context, c *commit, name string) error {
	if name == "" {
		return nil
	}
	for _, had := range p.past.parents {
		if desc, ok := had[name]; ok && !slices.Contains(c.record.Parents, desc.Digest) {
			c.record.Parents = append(c.record.Parents, desc.Digest)
		}
	}
	var err error
	if parents := c.record.Parents; len(parents) == 1 {
		c.tip, c.raw, err = p.forebear(ctx, name, parents[0])
	}
	if err != nil {
		return err
	}
	was, ok := p.past.replaced[name]
	if !ok || slices.Contains(c.record.Parents, was.Digest) {
		return nil
	}
	return p.amend(ctx, c, name, was)
}

// amend makes a commit take the place of what the variant was in the version that is
// amended. It stays that one if its files are the same and nothing is said anew.
func (p *variantPush) amend(ctx context.Context, c *commit, name string, was ocispec.Descriptor) error {
	desc, raw, err := p.forebear(ctx, name, was.Digest)
	if err != nil || raw == nil {
		return err
	}
	said, err := lineage.ParseCommit(desc, raw)
	if err != nil {
		return nil // what cannot be read says nothing
	}
	c.record.ChangeID = said.ChangeID
	if !p.opts.commit.explicit {
		c.ahead = raw
	}
	return nil
}

// forebear reads what a variant was. One that is gone is none, and the history has
// a gap there.
func (p *variantPush) forebear(ctx context.Context, name string, d digest.Digest) (ocispec.Descriptor, []byte, error) {
	desc, raw, err := p.repo.Origin().Manifest(ctx, d.String())
	if errors.Is(err, errdef.ErrNotFound) {
		p.hub.warn("variant %s was %s, which is not there any more", name, d)
		return ocispec.Descriptor{}, nil, nil
	}
	if err != nil {
		return desc, nil, fmt.Errorf("look at what variant %s was: %w", name, err)
	}
	return desc, raw, nil
}
