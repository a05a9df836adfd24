package hub

import (
	"context"
	"errors"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
)

// attachments fills in what is attached to a version: its card as it is now, what
// was measured, and who vouches for it. A registry that cannot tell makes the
// comparison poorer, not impossible.
func (h *Hub) attachments(ctx context.Context, t *target, s *openSide, opts DiffOptions) error {
	if l := opts.Levels; !l.Trust && !l.Card && !l.Metrics {
		return nil
	}
	refs, err := t.repo.Referrers(ctx, t.signed, "")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		h.warn("what is attached to %s is not known: %v", t.ref, err)
		refs = nil
	}
	if opts.Levels.Trust && err == nil {
		if s.Trust, err = h.evidence(ctx, t, refs, opts.Trust); err != nil {
			return err
		}
	}
	if err := h.currentCard(ctx, t, refs, s, opts.Trust); err != nil || !opts.Levels.Metrics {
		return err
	}
	s.Metrics, err = h.knownMetrics(ctx, t, refs, claimedMetrics(s.Card), opts.Trust)
	return err
}

// currentCard reads the card of a version that counts now. Without a revision it
// is the README among the files.
func (h *Hub) currentCard(ctx context.Context, t *target, refs []ocispec.Descriptor, s *openSide, trust *signing.Trust) error {
	if slices.ContainsFunc(refs, func(d ocispec.Descriptor) bool { return d.ArtifactType == mediatypes.ArtifactCard }) {
		rev, err := h.effectiveCard(ctx, t, trust)
		switch {
		case err == nil:
			s.Card = rev.Bytes()
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, errdef.ErrNotFound):
			h.warn("the card of %s is compared as it was released: %v", t.ref, err)
		}
	}
	i := slices.IndexFunc(s.Files, func(f diff.File) bool { return f.Path == cardFile && f.Size <= card.MaxBytes && f.Open != nil })
	if i < 0 {
		s.Card = []byte{}
		return nil
	}
	r, err := s.Files[i].Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	s.Card = make([]byte, s.Files[i].Size)
	if n, err := r.ReadAt(s.Card, 0); n < len(s.Card) {
		return err
	}
	return nil
}

// claimedMetrics are what a card says was measured.
func claimedMetrics(readme []byte) []diff.Metric {
	c, err := card.Parse(readme)
	if err != nil {
		return nil
	}
	var out []diff.Metric
	for _, r := range eval.FromCard(c.Meta.Results) {
		out = append(out, diff.Metric{Result: r, By: "card"})
	}
	return out
}
