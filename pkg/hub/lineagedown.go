package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	// MaxLineageVersions bounds the versions that are looked at for what was
	// made of one.
	MaxLineageVersions = 20_000

	downWorkers = 16 // manifests that are read at once
)

// A descendant is a version that may have been made of another.
type descendant struct {
	target *target
	edges  []lineage.Edge
}

// down goes to what was made of a version: it reads what the versions of the
// repositories say, once, and follows that back.
func (g *genealogy) down(ctx context.Context, root *relative) error {
	versions, err := g.versions(ctx, root.target)
	if err != nil {
		return err
	}
	level := []*relative{root}
	for depth := 0; depth < g.depth() && len(level) > 0; depth++ {
		var next []*relative
		for _, r := range level {
			for _, d := range versions {
				for _, e := range d.edges {
					if !leadsTo(e, r.target) {
						continue
					}
					id := d.target.ref.Name() + "@" + d.target.desc.Digest.String()
					if len(g.order) >= MaxLineageNodes {
						g.truncated = true
						return g.describeAll(ctx, next)
					}
					_, there := g.known[id]
					made := g.add(id, "model")
					if !there {
						made.target, made.node.Reference, made.node.Digest = d.target, nameOf(d.target), d.target.desc.Digest.String()
						next = append(next, made)
					}
					g.link(edgeBetween(r, made, e))
				}
			}
		}
		if err := g.describeAll(ctx, next); err != nil {
			return err
		}
		level = next
	}
	return nil
}

// link adds an edge that is not there yet.
func (g *genealogy) link(e LineageEdge) {
	if !slices.ContainsFunc(g.edges, func(o LineageEdge) bool {
		return o.Input == e.Input && o.Output == e.Output && o.Relation == e.Relation
	}) {
		g.edges = append(g.edges, e)
	}
}

// leadsTo tells whether an edge leads to a version: by its digest or that of a
// model that it lists, by what it was imported from, or, where that is all there
// is, by the name of its repository.
func leadsTo(e lineage.Edge, t *target) bool {
	if e.Digest != "" {
		return e.Digest == t.desc.Digest || isIndex(t.desc) && lists(t.raw, e.Digest.String())
	}
	if r, ok := e.Registry(); ok {
		return r.Name() == t.ref.Name() && (r.Tag == "" || r.Tag == t.ref.Tag)
	}
	from := annotationsOf(t.raw)[mediatypes.AnnotationOrigin]
	return from != "" && lineage.Edge{Reference: from}.Same(e)
}

func lists(index []byte, dgst string) bool {
	x, err := mediatypes.ParseIndex(index)
	if err != nil {
		return false
	}
	for _, m := range x.Manifests {
		if m.Digest.String() == dgst {
			return true
		}
	}
	return false
}

// versions reads all tagged versions of the repositories to look in.
func (g *genealogy) versions(ctx context.Context, root *target) ([]descendant, error) {
	repos, err := g.repositories(ctx, root)
	if err != nil {
		return nil, err
	}
	perRepo := make([][]descendant, len(repos))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	slots := make(chan struct{}, downWorkers)
	for i, r := range repos {
		group.Go(func() (err error) {
			perRepo[i], err = g.versionsOf(gctx, r, slots)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(perRepo...)
	if len(all) > MaxLineageVersions {
		g.truncated = true
		all = all[:MaxLineageVersions]
	}
	return all, nil
}

// repositories are those to look in.
func (g *genealogy) repositories(ctx context.Context, root *target) ([]ref.Reference, error) {
	in := g.opts.In
	if len(in) == 0 {
		in = []string{root.ref.Host}
		if org := path.Dir(root.ref.Repository); org != "." {
			in[0] += "/" + org
		}
	}
	var out []ref.Reference
	add := func(name string) {
		if r, err := ref.Parse(name); err == nil && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	for _, place := range in {
		host, prefix, _ := strings.Cut(strings.Trim(place, "/"), "/")
		list, err := g.hub.Repositories(ctx, host, prefix)
		switch {
		case err == nil:
			for _, r := range list {
				add(r.Repository)
			}
		case len(g.opts.In) > 0 && prefix != "" && ctx.Err() == nil: // a registry that lists nothing: it may be a repository
			add(place)
		default:
			return nil, fmt.Errorf("look for what was made of %s: name repositories to look in: %w", root.ref, err)
		}
	}
	return out, nil
}

// versionsOf reads the versions that tags of one repository lead to, each once.
func (g *genealogy) versionsOf(ctx context.Context, r ref.Reference, slots chan struct{}) ([]descendant, error) {
	repo, err := g.hub.repository(r)
	if err != nil {
		return nil, err
	}
	names, err := tags(ctx, repo, false)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil // it has none, or is gone
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Name(), err)
	}
	if len(names) > MaxLineageVersions {
		names = names[:MaxLineageVersions]
	}
	found := make([]*descendant, len(names))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(downWorkers)
	for i, tag := range names {
		group.Go(func() (err error) {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-gctx.Done():
				return context.Cause(gctx)
			}
			found[i], err = versionAt(gctx, repo, r.WithTag(tag))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("read versions of %s: %w", r.Name(), err)
	}
	var out []descendant
	seen := map[string]bool{}
	for _, d := range found {
		if d != nil && !seen[d.target.desc.Digest.String()] {
			seen[d.target.desc.Digest.String()] = true
			out = append(out, *d)
		}
	}
	return out, nil
}

// versionAt reads what a tag leads to; nil if it is gone, or says nothing of what
// it was made of.
func versionAt(ctx context.Context, repo *remote.Repository, r ref.Reference) (*descendant, error) {
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
	return &descendant{
		target: &target{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, raw: raw, signed: desc, made: created(raw)},
		edges:  edges,
	}, nil
}
