package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// highest finds the tag with the highest semantic version in r.Range that was not
// yanked, and puts it in the place of the range.
func (h *Hub) highest(ctx context.Context, repo *remote.Repository, r ref.Reference) (ref.Reference, error) {
	within, err := semver.NewConstraint(r.Range)
	if err != nil {
		return r, fmt.Errorf("%w: resolve %s: %q is no range of versions: %w", ErrUsage, r, r.Range, err)
	}
	type candidate struct {
		version *semver.Version
		tag     string
	}
	var found []candidate
	for t, err := range repo.Tags(ctx) {
		if err != nil {
			return r, fmt.Errorf("resolve %s: %w", r, err)
		}
		// Strict: a date such as 20240101 is no version, and 1.2 is a name
		// that moves among the versions that are meant.
		v, err := semver.StrictNewVersion(strings.TrimPrefix(t, "v"))
		if err != nil || !within.Check(v) {
			continue
		}
		found = append(found, candidate{v, t})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return b.version.Compare(a.version) })
	var first error
	for _, c := range found[:min(len(found), maxYanked)] {
		err := h.withdrawn(ctx, repo, r.WithTag(c.tag))
		if err == nil {
			return r.WithTag(c.tag), nil
		}
		if _, yanked := errors.AsType[*StateError](err); !yanked {
			return r, err
		}
		if first = cmp.Or(first, err); len(found) > 1 {
			h.warn("%v: not taken for %q", err, r.Range)
		}
	}
	if first != nil {
		return r, first
	}
	return r, missing(MissingVersion, r, fmt.Errorf("resolve %s: no tag is a version in the range: %w", r, errdef.ErrNotFound))
}

// maxYanked bounds the versions in a range that are passed over.
const maxYanked = 64

// withdrawn tells why the version behind a tag is not to be taken for a range: a
// [StateError] if it was yanked.
func (h *Hub) withdrawn(ctx context.Context, repo *remote.Repository, r ref.Reference) error {
	desc, err := repo.Resolve(ctx, r.Tag)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", r, err)
	}
	t := &target{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, signed: desc}
	s, err := h.lookForStatus(ctx, t, nil, !h.opts.Strict)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || s.State != record.Yanked {
		return nil // what cannot be found out is told when it is used
	}
	rules, err := h.rules(ctx)
	if err != nil || rules.Skip || rules.decideStatus(r.Name()) {
		return err
	}
	return s.problem(t.ref)
}
