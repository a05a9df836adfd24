package hub

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// down goes to what was made of a version: it reads what the versions of the
// repositories say, once, and follows that back.
func (g *genealogy) down(ctx context.Context, root *relative) error {
	in := g.opts.In
	if len(in) == 0 {
		in = []string{root.target.ref.Host}
		if org := path.Dir(root.target.ref.Repository); org != "." {
			in[0] += "/" + org
		}
	}
	c := newCensus(g.hub, g.opts.MaxVersions)
	if err := c.take(ctx, in); err != nil {
		err = fmt.Errorf("look for what was made of %s: %w", root.target.ref, err)
		if len(root.notes) == 0 || ctx.Err() != nil {
			return err
		}
		c.problems = nil
		g.hubWarn(root, "unread", err.Error()+"; what has been announced is shown")
	}
	g.truncated = g.truncated || c.truncated
	for _, problem := range c.told() {
		g.hubWarn(root, "unread", problem)
	}
	level := []*relative{root}
	for depth := 0; depth < g.depth() && len(level) > 0; depth++ {
		var fresh []birth
		for _, r := range level {
			if r.target == nil {
				continue
			}
			told, err := g.announced(ctx, r)
			if err != nil {
				return err
			}
			fresh = append(fresh, g.offspring(r, c.found)...)
			fresh = append(fresh, g.offspring(r, told)...)
		}
		if err := g.readAll(ctx, fresh); err != nil {
			return err
		}
		level = make([]*relative, len(fresh))
		for i, b := range fresh {
			level[i] = b.made
		}
	}
	return nil
}

// A birth is a version that was found to be made of another.
type birth struct {
	made *relative
	from *descendant
}

// offspring notes the versions that were made of one, and returns those that
// were not known before.
func (g *genealogy) offspring(r *relative, versions []descendant) []birth {
	var fresh []birth
	to := destinationOf(r.target)
	for i := range versions {
		d := &versions[i]
		for _, e := range d.edges {
			if !to.reachedBy(e) {
				continue
			}
			id := d.ref.Name() + "@" + d.ref.Digest.String()
			_, there := g.known[id]
			if !there && len(g.order) >= MaxLineageNodes {
				g.truncated = true
				return fresh
			}
			made := g.add(id, "model")
			if !there {
				made.stranger = d.stranger
				made.node.Reference, made.node.Digest = nameOf(&target{ref: d.ref}), d.ref.Digest.String()
				fresh = append(fresh, birth{made, d})
			}
			g.link(edgeBetween(r, made, e))
		}
	}
	return fresh
}

// readAll reads versions that were found.
func (g *genealogy) readAll(ctx context.Context, list []birth) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for _, b := range list {
		group.Go(func() error {
			t, err := b.from.target(strangers(gctx, b.from.stranger))
			if err == nil {
				b.made.target = t
				err = g.describe(gctx, b.made)
			}
			if err != nil {
				b.made.node.Problem = err.Error()
			}
			return gctx.Err()
		})
	}
	return group.Wait()
}

// A link is what two edges have in common that are shown as one.
type link struct {
	input, output string
	relation      lineage.Relation
}

// link adds an edge that is not there yet.
func (g *genealogy) link(e LineageEdge) {
	if g.linked == nil {
		g.linked = map[link]bool{}
		for _, o := range g.edges {
			g.linked[link{o.Input, o.Output, o.Relation}] = true
		}
	}
	if key := (link{e.Input, e.Output, e.Relation}); !g.linked[key] {
		g.linked[key] = true
		g.edges = append(g.edges, e)
	}
}

// A destination is a version by all that edges name it by.
type destination struct {
	name, tag string
	digests   []digest.Digest // its own, and of what it lists
	origin    string
}

func destinationOf(t *target) destination {
	d := destination{name: t.ref.Name(), tag: t.ref.Tag, digests: []digest.Digest{t.desc.Digest}, origin: annotationsOf(t.raw)[mediatypes.AnnotationOrigin]}
	if isIndex(t.desc) {
		d.digests = append(d.digests, membersOf(t.raw)...)
	}
	return d
}

// reachedBy tells whether an edge leads to the version: by its digest or that of
// a model that it lists, by what it was imported from, or, where that is all there
// is, by the name of its repository.
func (d destination) reachedBy(e lineage.Edge) bool {
	if e.Digest != "" {
		return slices.Contains(d.digests, e.Digest)
	}
	if r, ok := e.Registry(); ok {
		return r.Name() == d.name && (r.Tag == "" || r.Tag == d.tag)
	}
	return d.origin != "" && lineage.Edge{Reference: d.origin}.Same(e)
}

// told are the repositories that were not looked into, in words.
func (c *census) told() []string {
	const most = 8
	slices.SortFunc(c.problems, func(a, b censusProblem) int { return cmp.Compare(a.place, b.place) })
	var out []string
	for i, p := range c.problems {
		if i == most {
			return append(out, fmt.Sprintf("%d more repositories were not looked into", len(c.problems)-most))
		}
		out = append(out, fmt.Sprintf("%s was not looked into: %v", p.place, p.err))
	}
	return out
}
