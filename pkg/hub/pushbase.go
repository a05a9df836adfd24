package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A base is the version that the files of a directory were, when they last came
// from a registry or went there.
type base struct {
	ref    ref.Reference
	digest digest.Digest // empty if it is not known
	pulled bool          // it is known by what a pull has kept in the directory
}

// baseIn tells which version of the repository of r the files of a directory
// were: by what a pull has kept there, or by what was pushed from there.
func (h *Hub) baseIn(dir string, r ref.Reference) base {
	o, err := artifact.ReadOrigin(dir)
	if err == nil {
		at, err := ref.Parse(o.Reference)
		if err != nil || at.Name() != r.Name() {
			return base{}
		}
		return base{ref: at, digest: o.Descriptor.Digest, pulled: true}
	}
	if !errors.Is(err, fs.ErrNotExist) || h.opts.Store == nil {
		return base{}
	}
	for _, pushed := range h.opts.Store.Pushes(dir) {
		if at, err := ref.Parse(pushed); err == nil && at.Name() == r.Name() {
			return base{ref: at, digest: at.Digest}
		}
	}
	return base{}
}

// lastPush is what was last pushed from a directory that was not pulled.
func (h *Hub) lastPush(dir string) (ref.Reference, bool) {
	if h.opts.Store == nil {
		return ref.Reference{}, false
	}
	for _, pushed := range h.opts.Store.Pushes(dir) {
		if at, err := ref.Parse(pushed); err == nil && at.Digest != "" {
			return at, true
		}
	}
	return ref.Reference{}, false
}

// isBehind tells whether the branch has gone on from the version that the files
// come from, so that they must not take the place of what it points to. Those of
// another branch count only if the branch goes on from their version.
func (h *Hub) isBehind(ctx context.Context, repo *remote.Repository, c *commit) bool {
	if c.base.digest == "" || c.base.digest == c.tip.Digest || isIndex(c.tip) {
		return false
	}
	return c.base.ref.Tag == c.branch || h.descends(ctx, &target{repo: repo}, c.tip.Digest, c.base.digest)
}

// beginBranch makes a branch that does not exist yet go on from the version that its
// files were pulled as, if that is in the repository.
func (h *Hub) beginBranch(ctx context.Context, repo *remote.Repository, c *commit) error {
	if !c.base.pulled || c.base.digest == "" {
		return nil
	}
	desc, raw, err := repo.Manifest(ctx, c.base.digest.String())
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		h.warn("%s, which the files were pulled as, is not there any more: %s begins a new history", c.base.ref, ref.DecodeBranch(c.branch))
		return nil
	case err != nil:
		return fmt.Errorf("look at what the files were pulled as: %w", err)
	}
	c.record.Parents = []digest.Digest{c.base.digest}
	if !isIndex(desc) {
		c.ahead = raw
	}
	return nil
}

// ahead is the manifest of the version that the files were, if what the branch
// points to now is in its history: then the branch was moved back, and a push of
// the same files moves it on again.
func (h *Hub) ahead(ctx context.Context, repo *remote.Repository, c *commit) []byte {
	if !h.descends(ctx, &target{repo: repo}, c.base.digest, c.tip.Digest) {
		return nil
	}
	_, raw, err := repo.Manifest(ctx, c.base.digest.String())
	if err != nil {
		return nil // it has been read a moment ago; a version of its own does too
	}
	return raw
}

// noteBase keeps for the next push and for [Hub.Status] which version the files
// of a directory are. A directory that was pulled has a record that says so,
// which only another version of its branch changes; else the store knows.
func (h *Hub) noteBase(dir string, r ref.Reference, c *commit, packed *artifact.Packed) {
	at := r.WithTag(c.branch).WithDigest(packed.Descriptor.Digest)
	_, err := artifact.ReadOrigin(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && h.opts.Store != nil:
		if err := h.opts.Store.NotePush(dir, at.String()); err != nil {
			h.warn("what was pushed from %s is not remembered: %v", dir, err)
		}
	case err == nil && c.follows(c.base):
		if err := artifact.RecordPushed(dir, at.String(), packed); err != nil {
			h.warn("%s still says that its files are those of %s: %v", dir, c.base.ref, err)
		}
	}
}

// follows tells whether a version is the next of that line.
func (c *commit) follows(b base) bool {
	return b.digest != "" && (b.ref.Tag == c.branch || b.digest == c.tip.Digest || slices.Contains(c.record.Parents, b.digest))
}
