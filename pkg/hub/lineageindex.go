package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
)

// lineageOffline goes down from a version by what an index has, and asks no
// registry.
func (h *Hub) lineageOffline(ctx context.Context, r ref.Reference, opts LineageOptions) (*Lineage, error) {
	if opts.Index == nil || !opts.Down || opts.Both || opts.Confirm {
		return nil, fmt.Errorf("%w: lineage of %s: without a network it is what an index has of what was made of it", ErrUsage, r)
	}
	if r.Scheme != "" || r.Prefix != "" || r.Range != "" || r.Revision != "" {
		return nil, fmt.Errorf("%w: lineage of %s: an index knows a version by its tag or its digest", ErrUsage, r)
	}
	g := &genealogy{hub: h, opts: opts, known: map[string]*relative{}}
	root, err := g.inIndex(ctx, r)
	if err != nil {
		return nil, err
	}
	level := []*relative{root}
	for depth := 0; depth < g.depth() && len(level) > 0; depth++ {
		var next []*relative
		for _, r := range level {
			fresh, err := g.children(ctx, r, nil)
			if err != nil {
				return nil, err
			}
			for _, b := range fresh {
				b.made.know(*b.from.record)
				next = append(next, b.made)
			}
		}
		level = next
	}
	if err := g.check(ctx); err != nil {
		return nil, err
	}
	g.warnings(ctx, root)
	return g.result(r.WithDigest(digest.Digest(root.node.Digest))), nil
}

// inIndex begins a lineage at a version that the index has, or, of one that is
// named by its digest, may have something of.
func (g *genealogy) inIndex(ctx context.Context, r ref.Reference) (*relative, error) {
	versions, err := g.opts.Index.Versions(ctx, r.Name())
	if err != nil {
		return nil, err
	}
	tag := ref.DecodeBranch(r.Tag)
	i := slices.IndexFunc(versions, func(v index.Record) bool {
		switch {
		case r.Digest != "":
			return v.Digest == r.Digest.String()
		case tag != "" && tag != ref.Head:
			return slices.Contains(v.Tags, tag)
		}
		return v.Latest
	})
	if i < 0 && r.Digest == "" {
		return nil, fmt.Errorf("look for %s in the index: %w", r, errdef.ErrNotFound)
	}
	if i >= 0 {
		r.Digest = digest.Digest(versions[i].Digest)
	}
	root := g.add(r.Name()+"@"+r.Digest.String(), "model")
	root.node.Reference, root.node.Digest = nameOf(&target{ref: r}), r.Digest.String()
	root.indexed = &destination{name: r.Name(), digests: []digest.Digest{r.Digest}}
	if i >= 0 {
		root.know(versions[i])
	}
	return root, nil
}

// know takes what an index has of a version for what is known of it.
func (r *relative) know(v index.Record) {
	n := &r.node
	n.Licenses = append(n.Licenses, v.Licenses...)
	n.Architecture, n.Parameters, n.Quantization = v.Architecture, v.Parameters, strings.Join(v.Quantizations, ",")
	if v.Status == index.Yanked || v.Status == index.Deprecated {
		n.State, n.Reason = v.Status, v.Reason
	}
	to := destination{name: v.Repository, digests: []digest.Digest{digest.Digest(v.Digest)}}
	for _, tag := range v.Tags {
		if stored, err := ref.EncodeBranch(tag); err == nil {
			to.tags = append(to.tags, stored)
		}
	}
	for _, b := range v.Bases {
		if b.Relation == string(lineage.Origin) {
			to.origin = b.Name
		}
	}
	r.indexed = &to
}

// destination is a version by all that edges name it by, if that is known.
func (r *relative) destination() (destination, bool) {
	switch {
	case r.target != nil:
		return destinationOf(r.target), true
	case r.indexed != nil:
		return *r.indexed, true
	}
	return destination{}, false
}

// recorded are the versions that the index has of those that were made of r, as
// many as a lineage has room for: those that name its digest first, and then those
// that name it otherwise.
func (g *genealogy) recorded(ctx context.Context, r *relative) ([]descendant, error) {
	to, ok := r.destination()
	if g.opts.Index == nil || !ok {
		return nil, nil
	}
	var digests []string
	for _, d := range to.digests {
		digests = append(digests, d.String())
	}
	names := []string{to.name}
	if origin, _, _ := strings.Cut(to.origin, "@"); origin != "" {
		names = append(names, strings.TrimPrefix(origin, "oci:"))
	}
	var out []descendant
	known := map[index.Key]bool{}
	for _, by := range [][]string{digests, names} {
		if len(out) == MaxLineageNodes || len(by) == 0 {
			continue
		}
		records, more, err := g.opts.Index.MadeOf(ctx, by, index.MadeOfOptions{Limit: MaxLineageNodes - len(out), Keep: func(v *index.Record) bool {
			d, ok := inRecord(v)
			return ok && !known[v.Key()] && slices.ContainsFunc(d.edges, to.reachedBy)
		}})
		if err != nil {
			return nil, err
		}
		g.truncated = g.truncated || more
		for i := range records {
			if d, ok := inRecord(&records[i]); ok {
				known[records[i].Key()] = true
				out = append(out, d)
			}
		}
	}
	return out, nil
}

// inRecord is a version as an index has it. A record that names none, which no crawl
// writes, is not ok.
func inRecord(v *index.Record) (descendant, bool) {
	at, err := ref.Parse(v.Repository)
	dgst, invalid := digest.Parse(v.Digest)
	if err != nil || invalid != nil {
		return descendant{}, false
	}
	if tag := releaseOf(v.Tags); tag != "" {
		at = at.WithTag(tag)
	}
	d := descendant{ref: at.WithDigest(dgst), learnt: LearntIndex, record: v}
	for _, b := range slices.Concat(v.Bases, v.Inputs) {
		e := lineage.Edge{Reference: b.Name, Said: "index"}
		if e.Relation, err = lineage.ParseRelation(b.Relation); err != nil {
			e.Relation, e.Inferred = lineage.Finetune, true
		}
		if pinned, err := digest.Parse(b.Digest); err == nil {
			e.Digest = pinned
		}
		d.edges = append(d.edges, e)
	}
	return d, true
}

// releaseOf is the tag to show of several, as it is stored: a release rather than a
// branch.
func releaseOf(tags []string) string {
	var first string
	for _, tag := range slices.Backward(tags) {
		stored, err := ref.EncodeBranch(tag)
		if err != nil {
			continue
		}
		if first = stored; strings.HasPrefix(tag, "v") {
			break
		}
	}
	return first
}

// indexed are the versions that the index has of those that were made of r. To
// confirm that they are read, and then come as they are.
func (g *genealogy) indexed(ctx context.Context, r *relative) ([]descendant, error) {
	list, err := g.recorded(ctx, r)
	if err != nil || !g.opts.Confirm {
		return list, err
	}
	named := make([]ref.Reference, 0, len(list))
	for _, d := range list {
		if !g.linkedTo(r, &d) {
			named = append(named, d.ref)
		}
	}
	read, err := g.pointedAt(ctx, r, named, func(at ref.Reference, err error) {
		g.hubWarn(r, "unread", fmt.Sprintf("%s, of which the index says that it was made of this, could not be read: %v", at, err))
	})
	for i := range read {
		read[i].learnt = LearntIndex
	}
	return read, err
}

// linkedTo tells whether it is known already that a version was made of r.
func (g *genealogy) linkedTo(r *relative, d *descendant) bool {
	id := d.ref.Name() + "@" + d.ref.Digest.String()
	return slices.ContainsFunc(g.edges, func(e LineageEdge) bool {
		return e.Input == r.node.ID && e.Output == id && e.Learnt != LearntIndex
	})
}
