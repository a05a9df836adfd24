package remote

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// HasReferrers tells whether the registry has the referrers API. If not, all that
// refers to a manifest is listed under its fallback tag. It asks about desc.
func (r *Repository) HasReferrers(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	_, err := r.referrersByAPI(ctx, desc)
	if errIs(err, errdef.ErrUnsupported, errdef.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
