package hub

import (
	"context"
	"errors"
	"fmt"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
)

// hold keeps a version in the registry whatever happens to the tags that
// people move, and with it the chunk indexes that its manifest names. They go
// first: where the keep-tag is there, so are they, and nothing need be asked.
func (h *Hub) hold(ctx context.Context, t *target) error {
	tag := keepTag(t.desc.Digest)
	if len(t.indexes) > 0 {
		now, err := t.repo.Resolve(ctx, tag)
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return fmt.Errorf("look at tag %s: %w", tag, err)
		}
		if err == nil && now.Digest == t.desc.Digest {
			return nil
		}
		if err := pushIndexes(ctx, t); err != nil {
			if ctx.Err() != nil {
				return err
			}
			h.warn("%s: the next versions cannot be pulled by their differences from this one: %v", t.ref, err)
		}
	}
	_, err := moveTag(ctx, t.repo, t.desc, tag)
	return err
}

func pushIndexes(ctx context.Context, t *target) error {
	raw, err := artifact.PushIndexes(ctx, t.repo, t.desc, t.indexes)
	if err != nil {
		return err
	}
	return t.repo.PushReferrer(ctx, raw, t.desc)
}
