package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// marks are the states of those of some versions of a repository that were deprecated
// or yanked, as [Hub.heed] tells whoever uses one of them. Each version costs a request
// for the list of what is attached to it, and each statement one or two; where there
// are any, the record costs one. Many go out at once. What cannot be found out is told
// to the user, and is no error unless he is strict.
func (h *Hub) marks(ctx context.Context, repo *remote.Repository, digests []digest.Digest, trust *signing.Trust) (map[digest.Digest]*State, error) {
	r, err := ref.Parse(repo.Name())
	if err != nil {
		return nil, err
	}
	m := marking{h: h, repo: repo, why: make(map[digest.Digest]error)}
	lists, states := make(map[digest.Digest][]ocispec.Descriptor), make(map[digest.Digest]*State)
	err = m.each(ctx, digests, func(ctx context.Context, d digest.Digest) error {
		list, err := statements(ctx, repo, versionAt(repo, r, d).desc, trust == nil && !h.opts.Strict)
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(list) > 0 {
			lists[d] = list
		}
		return err
	})
	if err != nil || len(lists)+len(m.why) == 0 {
		return nil, err
	}
	if len(lists) > 0 {
		_, _ = h.record(ctx, repo) // once, before many ask for it; they meet the error too
	}
	err = m.each(ctx, slices.Collect(maps.Keys(lists)), func(ctx context.Context, d digest.Digest) error {
		t := versionAt(repo, r, d)
		s, err := h.judge(ctx, t, t.desc, lists[d], trust)
		m.mu.Lock()
		defer m.mu.Unlock()
		if err == nil && s.State != record.Active {
			states[d] = &s
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return states, m.unknown()
}

// A marking is one call of marks.
type marking struct {
	h    *Hub
	repo *remote.Repository

	mu  sync.Mutex
	why map[digest.Digest]error // why nothing is known of a version
}

// each calls f for versions, many at once, and notes why it could not tell. The error
// is that of the context.
func (m *marking) each(ctx context.Context, digests []digest.Digest, f func(context.Context, digest.Digest) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(historyWorkers)
	for _, d := range digests {
		g.Go(func() error {
			if err := f(ctx, d); err != nil {
				m.mu.Lock()
				m.why[d] = err
				m.mu.Unlock()
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

// unknown tells of versions of which it was not found out what became of them.
func (m *marking) unknown() error {
	if len(m.why) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(m.why)))
	if m.h.opts.Strict {
		return fmt.Errorf("look for the status of %s@%s: %w", m.repo.Name(), first, m.why[first])
	}
	were := "one version was"
	if n := len(m.why); n > 1 {
		were = fmt.Sprintf("%d versions were", n)
	}
	m.h.warn("%s: whether %s withdrawn is not known: %v", m.repo.Name(), were, m.why[first])
	return nil
}

// markable are those of some versions that something may be attached to, each once.
// Attached are the tags under which that is listed, as far as the registry lists such
// tags: some that have the referrers API do not, which costs one request to know where
// none is listed.
func (h *Hub) markable(ctx context.Context, repo *remote.Repository, digests []digest.Digest, attached map[string]bool) []digest.Digest {
	digests = slices.Compact(slices.Sorted(slices.Values(digests)))
	digests = slices.DeleteFunc(digests, func(d digest.Digest) bool { return d == "" })
	if len(digests) == 0 || h.opts.Strict {
		return digests
	}
	if len(attached) > 0 {
		return slices.DeleteFunc(digests, func(d digest.Digest) bool { return !attached[layout.FallbackTag(d)] })
	}
	api, err := repo.HasReferrers(ctx, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digests[0], Size: 1})
	if err == nil && !api {
		return nil
	}
	return digests
}

// versionAt is a version of a repository of which the digest is known.
func versionAt(repo *remote.Repository, r ref.Reference, d digest.Digest) *target {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1}
	r = ref.Reference{Host: r.Host, Repository: r.Repository}
	return &target{repo: repo, ref: r.WithDigest(d), desc: desc, signed: desc}
}
