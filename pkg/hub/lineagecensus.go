package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// Limits of one search for what was made of a version.
const (
	MaxLineageVersions     = 20_000 // versions that are looked at
	MaxLineageRepositories = 5_000  // repositories that are looked into

	// maxCensusBytes bounds what is remembered of what versions say, and
	// maxCensusManifests the manifests that are kept for those that are found;
	// beyond that they are read again.
	maxCensusBytes     = 64 << 20
	maxCensusManifests = 16 << 20

	downWorkers = 16 // manifests that are read at once
)

// A census finds out what the versions of repositories say that they were made
// of: it reads the manifest of each tag once.
type census struct {
	hub   *Hub
	slots chan struct{}

	// guessed are places that are taken for repositories since their registry
	// lists none, with its error.
	guessed map[string]error

	mu        sync.Mutex // of what follows
	versions  int        // that may still be read
	said      int        // bytes that may still be remembered
	manifests int        // bytes of manifests that may still be kept
	dead      map[string]bool

	found     []descendant
	read      int // repositories that were looked into
	problems  []censusProblem
	truncated bool // there is more than the limits let us look at
}

// A censusProblem is a place that could not be looked into.
type censusProblem struct {
	place string
	err   error
}

// A descendant is a version that says what it was made of.
type descendant struct {
	repo  *remote.Repository
	ref   ref.Reference // with its digest
	desc  ocispec.Descriptor
	edges []lineage.Edge
	raw   []byte // the manifest; nil if it is not kept

	stranger bool // nobody but strangers names its registry

	learnt string        // how it was found; see [LineageEdge]
	record *index.Record // what an index has of it, if it is to be taken for that
}

// target is the version with its manifest.
func (d *descendant) target(ctx context.Context) (*target, error) {
	raw := d.raw
	if raw == nil {
		var err error
		if _, raw, err = d.repo.Manifest(ctx, d.desc.Digest.String()); err != nil {
			return nil, err
		}
	}
	return &target{repo: d.repo, ref: d.ref, desc: d.desc, raw: raw, signed: d.desc, made: created(raw)}, nil
}

// newCensus reads at most that many versions, [MaxLineageVersions] if it is 0.
func newCensus(h *Hub, versions int) *census {
	return &census{
		hub: h, slots: make(chan struct{}, downWorkers), guessed: map[string]error{}, dead: map[string]bool{},
		versions: cmp.Or(versions, MaxLineageVersions), said: maxCensusBytes, manifests: maxCensusManifests,
	}
}

// take looks into the repositories of places, each HOST/PREFIX. What cannot be
// looked into is a problem; it is an error if that is all there is.
func (c *census) take(ctx context.Context, places []string) error {
	repos, err := c.repositories(ctx, places)
	if err != nil {
		return err
	}
	perRepo := make([][]descendant, len(repos))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for i, r := range repos {
		group.Go(func() error {
			var err error
			if perRepo[i], err = c.versionsOf(gctx, r); err != nil {
				c.problem(r, err)
			}
			return gctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return context.Cause(ctx)
	}
	for _, list := range perRepo {
		c.found = append(c.found, list...)
	}
	if c.read == 0 && len(c.problems) > 0 {
		return c.problems[0].err
	}
	return nil
}

// problem notes a repository that could not be looked into. One that cannot be
// reached speaks for all of its host.
func (c *census) problem(r ref.Reference, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, remote.ErrUnreachable) {
		c.dead[r.Host] = true
	}
	c.problems = append(c.problems, censusProblem{r.Name(), err})
}

// repositories are those of places, each once.
func (c *census) repositories(ctx context.Context, places []string) ([]ref.Reference, error) {
	var out []ref.Reference
	known := map[string]bool{}
	add := func(name string) bool {
		if len(out) == MaxLineageRepositories {
			c.truncated = true
			return false
		}
		if r, err := ref.Parse(name); err == nil && !known[r.Name()] {
			known[r.Name()] = true
			out = append(out, r)
		}
		return true
	}
	for _, place := range places {
		host, prefix, _ := strings.Cut(strings.Trim(place, "/"), "/")
		err := c.listed(ctx, host, prefix, add)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case prefix != "" && !errors.Is(err, remote.ErrUnreachable): // a registry that lists nothing: it may be a repository
			c.guessed[host+"/"+prefix] = err
			add(host + "/" + prefix)
		default:
			c.problems = append(c.problems, censusProblem{place, fmt.Errorf("name repositories to look in: %w", err)})
		}
	}
	return out, nil
}

// listed hands on the repositories of a registry below a prefix, until add says
// that it is enough.
func (c *census) listed(ctx context.Context, host, prefix string, add func(name string) bool) error {
	for name, err := range c.hub.opts.Remote.Catalog(ctx, host) {
		if err != nil {
			return fmt.Errorf("list repositories of %s: %w", host, err)
		}
		if (prefix == "" || name == prefix || strings.HasPrefix(name, prefix+"/")) && !add(host+"/"+name) {
			return nil
		}
	}
	return nil
}

// versionsOf reads the versions that tags of one repository lead to, each once.
func (c *census) versionsOf(ctx context.Context, r ref.Reference) ([]descendant, error) {
	repo, err := c.hub.repository(r)
	if err != nil {
		return nil, err
	}
	names, err := c.tags(ctx, repo, r)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	found := make([]*descendant, len(names))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(downWorkers)
	for i, tag := range names {
		group.Go(func() (err error) {
			select {
			case c.slots <- struct{}{}:
				defer func() { <-c.slots }()
			case <-gctx.Done():
				return context.Cause(gctx)
			}
			found[i], err = c.versionAt(gctx, repo, r.WithTag(tag))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("read versions of %s: %w", r.Name(), err)
	}
	c.mu.Lock()
	c.read++
	c.mu.Unlock()
	var out []descendant
	seen := map[digest.Digest]bool{}
	for _, d := range found {
		if d != nil && !seen[d.ref.Digest] {
			seen[d.ref.Digest] = true
			out = append(out, *d)
		}
	}
	return out, nil
}

// tags are the names of versions in a repository, as many as may be read.
func (c *census) tags(ctx context.Context, repo *remote.Repository, r ref.Reference) ([]string, error) {
	c.mu.Lock()
	dead := c.dead[r.Host]
	c.mu.Unlock()
	if dead {
		return nil, fmt.Errorf("its registry did not answer before: %w", remote.ErrUnreachable)
	}
	var names []string
	for tag, err := range repo.Tags(ctx) {
		switch {
		case errors.Is(err, errdef.ErrNotFound) && c.guessed[r.Name()] != nil:
			return nil, fmt.Errorf("it is no repository: name repositories to look in: %w", c.guessed[r.Name()])
		case errors.Is(err, errdef.ErrNotFound):
			return nil, nil // it has none, or is gone
		case err != nil:
			return nil, err
		case hidden(tag):
		case !c.mayRead():
			return names, nil
		default:
			names = append(names, tag)
		}
	}
	return names, nil
}

// mayRead takes one version from those that may be read.
func (c *census) mayRead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.versions == 0 {
		c.truncated = true
		return false
	}
	c.versions--
	return true
}

// versionAt reads what a tag leads to; nil if it is gone, or says nothing of what
// it was made of.
func (c *census) versionAt(ctx context.Context, repo *remote.Repository, r ref.Reference) (*descendant, error) {
	desc, raw, err := repo.Manifest(ctx, r.Tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	edges := lineage.Edges(annotationsOf(raw), card.Metadata{})
	if len(edges) == 0 {
		return nil, nil
	}
	return c.remember(&descendant{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, edges: edges, learnt: LearntRegistry}, raw), nil
}

// remember returns d if there is room for it, with its manifest if there is room
// for that, and else nil.
func (c *census) remember(d *descendant, raw []byte) *descendant {
	const each = 200 // of an edge without its texts
	n := each
	for i := range d.edges {
		e := &d.edges[i]
		n += each + len(e.Reference) + len(e.Digest) + len(e.ImportedFrom)
		// These are parts of longer texts, which need not be kept for them.
		e.Reference, e.ImportedFrom, e.Digest = strings.Clone(e.Reference), strings.Clone(e.ImportedFrom), digest.Digest(strings.Clone(string(e.Digest)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.said {
		c.truncated = true
		return nil
	}
	c.said -= n
	if len(raw) <= c.manifests {
		c.manifests -= len(raw)
		d.raw = raw
	}
	return d
}
