package hub

import (
	"context"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// logMetrics adds to versions what each was measured to do, some versions at once. Each
// costs its manifest, what is attached to it, its card and each statement, and a request
// to each repository besides in which others keep what they have measured. What cannot
// be known of one is warned of.
func (h *Hub) logMetrics(ctx context.Context, t *target, entries []HistoryEntry, trust *signing.Trust) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(evalWorkers)
	for i := range entries {
		e := &entries[i]
		g.Go(func() error {
			found, err := h.headlines(gctx, t.ref, e, trust)
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			if err != nil {
				h.warn("what %s was measured to do is not known: %v", e.Digest, err)
			}
			e.Evaluations = found
			return nil
		})
	}
	return g.Wait()
}

// headlines are the results that are known of one version, and of each measurement
// those by who is most believable.
func (h *Hub) headlines(ctx context.Context, r ref.Reference, e *HistoryEntry, trust *signing.Trust) ([]Evaluation, error) {
	at := ref.Reference{Scheme: r.Scheme, Host: r.Host, Repository: r.Repository}
	t, err := h.find(ctx, at.WithDigest(e.commit.Digest))
	if err != nil {
		return nil, err
	}
	all, err := h.besideOf(ctx, t, e.attached, trust)
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = &Evaluations{}
	}
	told := len(all.Problems)
	rev, err := h.cardIn(ctx, t, e, trust)
	if err = all.claims(t, rev, err); err != nil {
		err = fmt.Errorf("read the card: %w", err)
	}
	for _, p := range all.Problems[told:] {
		h.warn("results of %s: %s", t.ref, p)
	}
	all.Evaluations = mostBelievable(all.Evaluations)
	all.sort()
	return all.Evaluations, err
}

// cardIn is the card of a version: the released one where it is known that no other is
// attached.
func (h *Hub) cardIn(ctx context.Context, t *target, e *HistoryEntry, trust *signing.Trust) (*CardRevision, error) {
	if e.revised {
		return h.effectiveCard(ctx, t, trust)
	}
	rev, err := h.releasedCard(ctx, t)
	if err != nil {
		return nil, err
	}
	return rev, fetchReadme(ctx, t, rev)
}

// mayMeasure are those of some referrers that may be statements of results.
func mayMeasure(refs []ocispec.Descriptor) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(refs), func(d ocispec.Descriptor) bool { return !mayEvaluate(d) })
}
