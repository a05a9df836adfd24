package hub

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// heedAndOpen is heed, and opens the version meanwhile: two answers that need not
// wait for each other. Where somebody has to vouch for it the artifact is nil: it
// is for the caller to open once that is known.
func (h *Hub) heedAndOpen(ctx context.Context, r ref.Reference, t *target, trust *signing.Trust,
	open func(ctx context.Context) (*artifact.Artifact, error),
) (*artifact.Artifact, error) {
	rules, err := h.rules(ctx)
	if err != nil {
		return nil, err
	}
	if trust != nil || len(rules.Policies) > 0 && !rules.Skip {
		return nil, h.heed(ctx, r, t, trust)
	}
	opening, stop := context.WithCancel(ctx)
	defer stop()
	var a *artifact.Artifact
	var unopened error
	var wait sync.WaitGroup
	wait.Go(func() { a, unopened = open(opening) })
	if err = h.heed(ctx, r, t, trust); err != nil {
		stop()
	}
	wait.Wait()
	if err = cmp.Or(err, unopened); err != nil {
		return nil, err
	}
	return a, nil
}

// manifestAtHand fetches from a place, but for the manifest that the target was
// resolved with. Who reads compares either with its digest.
type manifestAtHand struct {
	content.Fetcher
	target *target
}

// Fetch implements [content.Fetcher].
func (m manifestAtHand) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == m.target.desc.Digest && m.target.raw != nil {
		return io.NopCloser(bytes.NewReader(m.target.raw)), nil
	}
	return m.Fetcher.Fetch(ctx, desc)
}
