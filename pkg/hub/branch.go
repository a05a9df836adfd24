package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
)

// A BranchInfo is a branch and its tip.
type BranchInfo struct {
	Branch  string `json:"branch"`
	Default bool   `json:"default"` // it is what a reference without a tag means
	Digest  string `json:"digest"`
	Message string `json:"message"` // of the tip
	Author  string `json:"author"`  // of the tip; a claim
	Created string `json:"created"` // of the tip: RFC 3339, empty when it does not say
}

// Branches lists the branches of a repository, by name. A branch is a tag that
// is no release: neither a semantic version nor what the repository's record
// makes immutable or protects.
func (h *Hub) Branches(ctx context.Context, r ref.Reference) ([]BranchInfo, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	rules, err := h.record(ctx, repo)
	if err != nil {
		return nil, err
	}
	main, err := h.defaultTag(ctx, repo)
	if err != nil {
		return nil, err
	}
	names, err := tags(ctx, repo, false)
	if err != nil {
		return nil, fmt.Errorf("list branches of %s: %w", r.Name(), err)
	}
	names = slices.DeleteFunc(names, func(tag string) bool { return !isBranch(rules, tag) })
	found := make([]BranchInfo, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(historyWorkers)
	for i, tag := range names {
		g.Go(func() error {
			desc, raw, err := repo.Manifest(gctx, tag)
			if errors.Is(err, errdef.ErrNotFound) {
				return nil // removed since the list was made
			}
			if err != nil {
				return fmt.Errorf("list branches of %s: %w", r.Name(), err)
			}
			c := commitOf(desc, raw)
			found[i] = BranchInfo{Branch: ref.DecodeBranch(tag), Default: tag == main, Digest: desc.Digest.String(), Message: c.Message, Author: c.Author}
			if !c.Created.IsZero() {
				found[i].Created = c.Created.Format(time.RFC3339)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(b BranchInfo) bool { return b.Digest == "" }), nil
}

// isBranch tells a branch from releases and aliases.
func isBranch(rules *record.Record, tag string) bool {
	if rules.IsImmutable(tag) || rules.IsProtected(tag) {
		return false
	}
	_, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
	return err != nil
}

// A BranchResult says what became of a branch.
type BranchResult struct {
	Reference string `json:"reference"` // host/repository:branch@digest
	Branch    string `json:"branch"`
	Digest    string `json:"digest"`
	Was       string `json:"was,omitempty"` // the name before it was renamed
}

// CreateBranch makes a branch that points to the version that r resolves to. One
// that exists is an error that wraps [ErrConflict], unless it points there.
func (h *Hub) CreateBranch(ctx context.Context, r ref.Reference, name string) (*BranchResult, error) {
	encoded, err := encodeTags([]string{name})
	if err != nil {
		return nil, err
	}
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	t.desc, t.ref = t.signed, t.ref.WithDigest(t.signed.Digest)
	if err := h.hold(ctx, t); err != nil {
		return nil, err
	}
	return h.newBranch(ctx, t, encoded[0])
}

func (h *Hub) newBranch(ctx context.Context, t *target, tag string) (*BranchResult, error) {
	now, err := t.repo.Resolve(ctx, tag)
	switch {
	case err == nil && now.Digest != t.desc.Digest:
		return nil, fmt.Errorf("create branch %s: it exists, and points to %s: %w", ref.DecodeBranch(tag), now.Digest, ErrConflict)
	case err != nil && !errors.Is(err, errdef.ErrNotFound):
		return nil, fmt.Errorf("look at tag %s: %w", tag, err)
	}
	if _, err := h.move(ctx, t, tag, moving{}); err != nil {
		return nil, err
	}
	at := t.ref.WithTag(tag).WithDigest(t.desc.Digest)
	return &BranchResult{Reference: at.String(), Branch: ref.DecodeBranch(tag), Digest: t.desc.Digest.String()}, nil
}

// DeleteBranch removes the name of a branch. Its versions stay, held by their
// keep-tags.
func (h *Hub) DeleteBranch(ctx context.Context, r ref.Reference, name string) (*BranchResult, error) {
	t, tag, err := h.branchTip(ctx, r, name)
	if err != nil {
		return nil, err
	}
	main, err := h.defaultTag(ctx, t.repo)
	if err != nil {
		return nil, err
	}
	if tag == main {
		return nil, fmt.Errorf("%w: delete branch %s: it is what a reference without a tag means", ErrUsage, name)
	}
	res := &BranchResult{Reference: t.ref.String(), Branch: name, Digest: t.desc.Digest.String()}
	return res, h.removeBranch(ctx, t, tag)
}

// RenameBranch gives a branch another name, which must be free.
func (h *Hub) RenameBranch(ctx context.Context, r ref.Reference, name, to string) (*BranchResult, error) {
	encoded, err := encodeTags([]string{to})
	if err != nil {
		return nil, err
	}
	t, tag, err := h.branchTip(ctx, r, name)
	if err != nil {
		return nil, err
	}
	if tag == encoded[0] {
		return nil, fmt.Errorf("%w: rename branch %s: that is its name", ErrUsage, name)
	}
	res, err := h.newBranch(ctx, t, encoded[0])
	if err != nil {
		return nil, err
	}
	res.Was = name
	return res, h.removeBranch(ctx, t, tag)
}

// branchTip resolves a branch of the repository of r, and makes sure that its
// versions outlive the name.
func (h *Hub) branchTip(ctx context.Context, r ref.Reference, name string) (*target, string, error) {
	encoded, err := encodeTags([]string{name})
	if err != nil {
		return nil, "", err
	}
	t, err := h.resolve(ctx, r.WithTag(encoded[0]))
	if err != nil {
		return nil, "", err
	}
	t.desc, t.ref = t.signed, t.ref.WithDigest(t.signed.Digest)
	rules, err := h.record(ctx, t.repo)
	if err != nil {
		return nil, "", err
	}
	switch {
	case rules.IsImmutable(encoded[0]):
		return nil, "", ruled(ErrImmutable, t, encoded[0], t.desc.Digest)
	case rules.IsProtected(encoded[0]):
		return nil, "", ruled(ErrProtected, t, encoded[0], t.desc.Digest)
	}
	return t, encoded[0], h.hold(ctx, t)
}

// removeBranch removes a name, unless somebody has moved it since.
func (h *Hub) removeBranch(ctx context.Context, t *target, tag string) error {
	now, err := t.repo.Resolve(ctx, tag)
	if err != nil {
		return fmt.Errorf("look at tag %s: %w", tag, err)
	}
	if now.Digest != t.desc.Digest {
		return fmt.Errorf("delete branch %s: another writer moved it to %s: %w", ref.DecodeBranch(tag), now.Digest, ErrConflict)
	}
	return t.repo.Untag(ctx, tag)
}
