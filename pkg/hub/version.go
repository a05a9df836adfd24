package hub

import (
	"context"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// highest finds the tag with the highest semantic version in r.Range, and puts
// it in the place of the range.
func highest(ctx context.Context, repo *remote.Repository, r ref.Reference) (ref.Reference, error) {
	within, err := semver.NewConstraint(r.Range)
	if err != nil {
		return r, fmt.Errorf("%w: resolve %s: %q is no range of versions: %w", ErrUsage, r, r.Range, err)
	}
	var best *semver.Version
	var tag string
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
		if best == nil || v.GreaterThan(best) {
			best, tag = v, t
		}
	}
	if best == nil {
		return r, fmt.Errorf("resolve %s: no tag is a version in the range: %w", r, errdef.ErrNotFound)
	}
	r.Range = ""
	return r.WithTag(tag), nil
}
