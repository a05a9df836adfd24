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
// repositories say, once, and follows that back; and what notes and an index tell of.
func (g *genealogy) down(ctx context.Context, root *relative) error {
	found, err := g.surveyed(ctx, root)
	if err != nil {
		return err
	}
	level := []*relative{root}
	for depth := 0; depth < g.depth() && len(level) > 0; depth++ {
		var fresh []birth
		for _, r := range level {
			more, err := g.children(ctx, r, found)
			if err != nil {
				return err
			}
			fresh = append(fresh, more...)
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

// surveyed are the versions of the repositories that are looked into. Where these
// cannot be listed it is an error only if nothing else tells of anything.
func (g *genealogy) surveyed(ctx context.Context, root *relative) ([]descendant, error) {
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
		known, unknown := g.recorded(ctx, root)
		if len(root.notes) == 0 && len(known) == 0 || ctx.Err() != nil || unknown != nil {
			return nil, cmp.Or(unknown, err)
		}
		c.problems = nil
		from := "what has been announced is shown"
		if len(known) > 0 {
			from = "what has been announced, or is in the index, is shown"
		}
		g.hubWarn(root, "unread", err.Error()+"; "+from)
	}
	g.truncated = g.truncated || c.truncated
	for _, problem := range c.told() {
		g.hubWarn(root, "unread", problem)
	}
	return c.found, nil
}

// children are the versions that were made of r and were not known before, by the
// repositories that were looked into, by notes at r, and by the index, in this order:
// what was read needs nobody else to tell of it.
func (g *genealogy) children(ctx context.Context, r *relative, found []descendant) ([]birth, error) {
	to, ok := r.destination()
	if !ok {
		return nil, nil
	}
	fresh := g.offspring(r, to, found)
	if r.target != nil {
		told, err := g.announced(ctx, r)
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, g.offspring(r, to, told)...)
	}
	told, err := g.indexed(ctx, r)
	if err != nil {
		return nil, err
	}
	return append(fresh, g.offspring(r, to, told)...), nil
}

// A birth is a version that was found to be made of another.
type birth struct {
	made *relative
	from *descendant
}

// offspring notes the versions that were made of one, and returns those that
// were not known before.
func (g *genealogy) offspring(r *relative, to destination, versions []descendant) []birth {
	var fresh []birth
	for i := range versions {
		d := &versions[i]
		for _, e := range d.edges {
			if !to.reachedBy(e) || d.record != nil && g.linkedTo(r, d) {
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
			edge := edgeBetween(r, made, e)
			edge.Learnt = d.learnt
			g.link(edge)
		}
	}
	return fresh
}

// readAll reads versions that were found.
func (g *genealogy) readAll(ctx context.Context, list []birth) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for _, b := range list {
		if b.from.record != nil {
			b.made.know(*b.from.record)
			continue
		}
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
	name    string
	tags    []string        // as they are stored
	digests []digest.Digest // its own, and of what it lists
	origin  string
}

func destinationOf(t *target) destination {
	d := destination{name: t.ref.Name(), tags: []string{t.ref.Tag}, digests: []digest.Digest{t.desc.Digest}, origin: annotationsOf(t.raw)[mediatypes.AnnotationOrigin]}
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
		return r.Name() == d.name && (r.Tag == "" || slices.Contains(d.tags, r.Tag))
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
