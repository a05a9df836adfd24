package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
)

// maxForkWalk bounds the versions that are looked at to tell whether one
// descends from another.
const maxForkWalk = 256

// A ForkError says that two versions were made of one branch, of which neither
// descends from the other. Both are in the registry, and are kept there.
type ForkError struct {
	Repository string // host/name
	Branch     string
	Ours       digest.Digest // the version that was to become the tip
	Theirs     digest.Digest // the one that another writer made
	Moved      bool          // whether the branch pointed to Ours for a moment

	// Stands says that the branch pointed to Ours when it was last looked at,
	// and that the other writer had said that he is about to move it.
	Stands bool
}

func (e *ForkError) Error() string {
	if e.Stands {
		return fmt.Sprintf("fork of %s: it points to %s, as was asked for, but another writer of the same moment was about to move it to %s; both versions are kept", e.Branch, e.Ours, e.Theirs)
	}
	if e.Moved {
		return fmt.Sprintf("fork of %s: another writer moved it to %s while it was set to %s; both versions are kept", e.Branch, e.Theirs, e.Ours)
	}
	return fmt.Sprintf("fork of %s: it points to %s, which %s does not descend from; both versions are kept", e.Branch, e.Theirs, e.Ours)
}

// Unwrap returns [ErrConflict].
func (e *ForkError) Unwrap() error { return ErrConflict }

// errAhead says that a branch has gone on from the version that it was to be set
// to.
var errAhead = errors.New("the branch is ahead already")

// advance moves a branch to a version that continues it, and reports whether the
// branch was written.
//
// Registries have no compare-and-swap on tags. So a writer first announces his
// version under a tag that all writers of the branch share, then looks whether
// the branch is where it was, moves it, and looks whether the announcement is
// still his own. Of all who start from one tip at most one finds that: were there
// two, the later announcement would have come after the other's second look, so
// after his move, and its writer would have found the branch moved. That one has
// won. Others may have moved the branch away from him, or be about to; see
// [Hub.settle].
func (h *Hub) advance(ctx context.Context, t *target, how releasing) (bool, error) {
	c := how.commit
	if t.desc.Digest == c.tip.Digest {
		return false, nil
	}
	// Who cannot win must not make others give way.
	mayWin := c.raw != nil && (c.mayReplace() || h.mayFollow(ctx, t, c, c.tip) == nil)
	announced := mayWin && announce(ctx, t, c) == nil
	moved, err := h.move(ctx, t, c.branch, moving{
		before:  func(ctx context.Context, now ocispec.Descriptor) error { return h.mayFollow(ctx, t, c, now) },
		message: c.record.Message, author: c.record.Author, signer: how.signer,
	})
	switch {
	case errors.Is(err, errAhead):
		return false, nil
	case err == nil && moved && announced:
		return h.settle(ctx, t, c)
	case err == nil || !errors.Is(err, ErrConflict) || errors.Is(err, ErrImmutable):
		return moved, err
	}
	if _, told := errors.AsType[*ForkError](err); told {
		return false, err
	}
	now, again := t.repo.Resolve(ctx, c.branch)
	if again != nil {
		return moved, err
	}
	if now.Digest == t.desc.Digest || h.descends(ctx, t, now.Digest, t.desc.Digest) {
		return true, nil
	}
	return false, newFork(t, c, now.Digest, true)
}

// writerTag is the tag under which the writers of a branch announce themselves,
// and winnerTag the one under which one of them says that it is his.
func writerTag(branch string) string {
	const digits = 40
	return writerPrefix + digest.FromString(branch).Encoded()[:digits]
}

func winnerTag(branch string) string { return writerTag(branch) + ".won" }

// announce tells other writers of the branch what this one is about to move it to,
// and looks who has won the last race for it.
func announce(ctx context.Context, t *target, c *commit) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.repo.Tag(gctx, t.desc, writerTag(c.branch)) })
	g.Go(func() error {
		won, err := t.repo.Resolve(gctx, winnerTag(c.branch))
		if c.wonBefore = won.Digest; errors.Is(err, errdef.ErrNotFound) {
			return nil
		}
		return err
	})
	return g.Wait()
}

// settle ends the race for a branch that t was moved to. The winner says so, and
// then looks at the branch; the others look for a winner after they have moved
// it. So one of the two sees the other, and sees to it that the branch is the
// winner's.
func (h *Hub) settle(ctx context.Context, t *target, c *commit) (bool, error) {
	last, err := t.repo.Resolve(ctx, writerTag(c.branch))
	if err != nil {
		return true, fmt.Errorf("check who writes %s: %w", c.branch, err)
	}
	if last.Digest != t.desc.Digest && !h.descends(ctx, t, last.Digest, t.desc.Digest) {
		return false, h.giveWay(ctx, t, c, last)
	}
	if err := t.repo.Tag(ctx, t.desc, winnerTag(c.branch)); err != nil {
		return true, fmt.Errorf("tag %s as %s: %w", t.desc.Digest, winnerTag(c.branch), err)
	}
	now, err := t.repo.Resolve(ctx, c.branch)
	if err != nil {
		return true, fmt.Errorf("check tag %s: %w", c.branch, err)
	}
	if now.Digest != t.desc.Digest && !h.descends(ctx, t, now.Digest, t.desc.Digest) {
		if err := t.repo.Tag(ctx, t.desc, c.branch); err != nil {
			return true, fmt.Errorf("tag %s as %s: %w", t.desc.Digest, c.branch, err)
		}
	}
	return true, nil
}

// giveWay gives the branch back to whoever has won it, if somebody has. Either
// way this writer has not. Who had won when this one began has won an earlier
// race, unless he writes the same again: had he won this one, the branch would
// have moved by then.
func (h *Hub) giveWay(ctx context.Context, t *target, c *commit, last ocispec.Descriptor) error {
	fork := newFork(t, c, last.Digest, true)
	won, err := t.repo.Resolve(ctx, winnerTag(c.branch))
	decided := err == nil && won.Digest != t.desc.Digest && (won.Digest != c.wonBefore || won.Digest == last.Digest)
	now, err := t.repo.Resolve(ctx, c.branch)
	switch {
	case decided:
		fork.Theirs = won.Digest
		if err == nil && now.Digest == t.desc.Digest {
			err = t.repo.Tag(ctx, won, c.branch)
		}
		if err != nil {
			return fmt.Errorf("tag %s as %s: %w: %w", won.Digest, c.branch, err, fork)
		}
	case err == nil && now.Digest == t.desc.Digest:
		fork.Stands = true
	case err == nil:
		fork.Theirs = now.Digest
	}
	return fork
}

func newFork(t *target, c *commit, theirs digest.Digest, moved bool) *ForkError {
	return &ForkError{Repository: t.ref.Name(), Branch: ref.DecodeBranch(c.branch), Ours: t.desc.Digest, Theirs: theirs, Moved: moved}
}

// mayFollow tells whether t may take the place of what the branch points to now,
// which is the zero descriptor for one that does not exist.
func (h *Hub) mayFollow(ctx context.Context, t *target, c *commit, now ocispec.Descriptor) error {
	switch {
	case now.Digest == "" || now.Digest == t.desc.Digest:
	case now.Digest == c.tip.Digest && c.mayReplace():
	case h.descends(ctx, t, t.desc.Digest, now.Digest):
	case h.descends(ctx, t, now.Digest, t.desc.Digest):
		return errAhead
	default:
		return newFork(t, c, now.Digest, false)
	}
	return nil
}

// mayReplace tells whether a version may take the place of the tip that it was
// made at the sight of.
func (c *commit) mayReplace() bool {
	if c.restart || c.raw == nil {
		return true
	}
	return slices.Contains(c.record.Parents, c.tip.Digest)
}

// descends tells whether tip has ancestor in its history, as far as that can be
// read.
func (h *Hub) descends(ctx context.Context, t *target, tip, ancestor digest.Digest) bool {
	found, err := lineage.Walk(ctx, []digest.Digest{tip}, reader(t.repo.Origin()), lineage.WalkOptions{Limit: maxForkWalk, Workers: historyWorkers})
	if err != nil {
		return false
	}
	for _, c := range found.Commits {
		if slices.Contains(c.Parents, ancestor) {
			return true
		}
	}
	return false
}
