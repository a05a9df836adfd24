package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// revision goes the steps of a reference, such as main~2, and returns it with
// the digest of the version that they lead to.
func (h *Hub) revision(ctx context.Context, repo, names *remote.Repository, r ref.Reference) (ref.Reference, error) {
	steps, err := ref.ParseRevision(r.Revision)
	if err != nil {
		return r, err
	}
	from := r
	from.Revision = ""
	if from.Tag == ref.Head {
		from.Tag = ""
	}
	t, err := h.lookUp(ctx, repo, names, from)
	if errors.Is(err, errdef.ErrNotFound) && from.Tag != "" && !steps[0].At.IsZero() {
		t, err = h.deleted(ctx, repo, from, steps[0].At, err)
	}
	if err != nil {
		return r, err
	}
	at := t.desc.Digest
	walk := h.survivors(repo, r)
	for _, s := range steps {
		switch {
		case !s.At.IsZero():
			at, err = h.at(ctx, t, s.At)
		case s.Parent > 1:
			at, err = parent(ctx, walk, at, s.Parent)
		default: // ^1 is ~1, and neither ~0 nor ^0 goes anywhere
			for range s.Back + s.Parent {
				if at, err = parent(ctx, walk, at, 1); err != nil {
					break
				}
			}
		}
		if err != nil {
			return r, missing(MissingHistory, r, fmt.Errorf("resolve %s: %w", r, err))
		}
	}
	return r.WithDigest(at), nil
}

// survivors reads single versions of the repository of r. One that was removed is
// an error that says so, as where its digest is asked for.
func (h *Hub) survivors(repo *remote.Repository, r ref.Reference) func(context.Context, digest.Digest) (lineage.Commit, error) {
	read := reader(repo)
	return func(ctx context.Context, d digest.Digest) (lineage.Commit, error) {
		c, err := read(ctx, d)
		if err != nil {
			err = lost(ctx, repo, r.WithTag("").WithDigest(d), err)
		}
		return c, err
	}
}

// deleted is an alias that is not there, and whose log tells where it was at a time:
// a log outlives its alias. Without one the error is notFound.
func (h *Hub) deleted(ctx context.Context, repo *remote.Repository, r ref.Reference, at time.Time, notFound error) (*target, error) {
	t := &target{repo: repo, ref: r}
	_, logged, err := h.protectedAt(ctx, t, at)
	if err == nil && !logged {
		err = notFound
	}
	return t, err
}

// parent is the nth parent of a version, from 1.
func parent(ctx context.Context, read func(context.Context, digest.Digest) (lineage.Commit, error), d digest.Digest, n int) (digest.Digest, error) {
	c, err := read(ctx, d)
	if err != nil {
		return "", err
	}
	if n > len(c.Parents) {
		return "", fmt.Errorf("version %s has %s: %w", short(d), parentCount(len(c.Parents)), errdef.ErrNotFound)
	}
	return c.Parents[n-1], nil
}

func parentCount(n int) string {
	switch n {
	case 0:
		return "no parent: it is the first of its history"
	case 1:
		return "one parent"
	}
	return fmt.Sprintf("%d parents", n)
}

// short cuts a digest to what people tell versions apart by.
func short(d digest.Digest) string { return d.Encoded()[:min(12, len(d.Encoded()))] }

// at is the version that a branch pointed to at a time: the first in its line
// that says it was made by then. One that does not say counts as made right after
// the one before it.
func (h *Hub) at(ctx context.Context, t *target, when time.Time) (digest.Digest, error) {
	if d, logged, err := h.protectedAt(ctx, t, when); logged || err != nil {
		return d, err
	}
	read := h.survivors(t.repo, t.ref)
	dated := false
	undated := digest.Digest("") // the newest of those without a date, since one with a date
	for d, n := t.desc.Digest, 0; n < lineage.MaxCommits; n++ {
		c, err := read(ctx, d)
		if err != nil {
			return "", err
		}
		switch {
		case c.Created.IsZero():
			undated = cmp.Or(undated, d)
		case c.Created.After(when):
			dated, undated = true, ""
		default:
			return cmp.Or(undated, d), nil
		}
		if len(c.Parents) == 0 {
			break
		}
		d = c.Parents[0]
	}
	if !dated {
		return "", fmt.Errorf("%w: no version says when it was made, so none can be found by its time: push with --created or SOURCE_DATE_EPOCH, or name a version by ~N", ErrUsage)
	}
	return "", fmt.Errorf("no version is as old as %s: %w", when.Format(time.RFC3339), errdef.ErrNotFound)
}
