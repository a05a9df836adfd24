package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// Limits of one lineage.
const (
	DefaultLineageDepth = 8
	MaxLineageNodes     = 500
	MaxLineageHosts     = 16 // registries that versions lead to
	lineageWorkers      = 8  // versions that are read at once
)

// LineageOptions adjusts [Hub.Lineage]. The zero value goes up, to what the
// version was made of, and compares weights.
type LineageOptions struct {
	// Down goes to what was made of the version; Both goes both ways.
	Down, Both bool

	// In names where to look for what was made of it, as HOST/PREFIX: the
	// repository of that name and those below it. Without any it is the
	// version's own organisation.
	In []string

	// Depth is how many steps are taken each way; 0 means
	// [DefaultLineageDepth].
	Depth int

	// Trust, if not nil, is whose signatures and statements count. Without it
	// signatures are counted and not judged.
	Trust *signing.Trust

	// NoCheck compares no weights: everything is claimed.
	NoCheck bool

	// Index, if not nil, is asked for what was made of it too. What it tells of is
	// shown as the index has it, and not looked at.
	Index *index.Index

	// Confirm reads what Index tells of where that lies, and leaves out what does
	// not say itself that it was made of the version.
	Confirm bool

	// Offline goes down by Index alone, which must be given, and asks no registry.
	Offline bool

	// MaxVersions bounds the versions that are looked at for what was made of
	// it; 0 means [MaxLineageVersions].
	MaxVersions int
}

// Lineage finds out what the version that r resolves to was made of, through
// all registries that it names, and on request what was made of it. Claims are
// compared with headers of weights, which are read by range.
//
// What cannot be read is in the result, with the reason; the error is about the
// version itself.
func (h *Hub) Lineage(ctx context.Context, r ref.Reference, opts LineageOptions) (*Lineage, error) {
	if opts.Offline {
		return h.lineageOffline(ctx, r, opts)
	}
	t, err := h.asked(ctx, r)
	if err != nil {
		return nil, err
	}
	g := &genealogy{hub: h, opts: opts, known: map[string]*relative{}}
	root := g.add(t.ref.Name()+"@"+t.desc.Digest.String(), "model")
	root.node.Reference, root.node.Digest = nameOf(t), t.desc.Digest.String()
	if t.choice != nil && t.choice.Variant.Name != "" {
		root.node.Reference += "#" + t.choice.Variant.Name
	}
	root.target = t
	if err := g.describe(ctx, root); err != nil {
		return nil, fmt.Errorf("read %s: %w", t.ref, err)
	}
	if !opts.Down || opts.Both {
		if err := g.up(ctx, root); err != nil {
			return nil, err
		}
	}
	if opts.Down || opts.Both {
		if err := g.down(ctx, root); err != nil {
			return nil, err
		}
	}
	if err := g.check(ctx); err != nil {
		return nil, err
	}
	g.warnings(ctx, root)
	return g.result(t.ref), nil
}

// nameOf is a version as people name it: with its tag, and without its digest.
func nameOf(t *target) string {
	if t.ref.Tag == "" {
		return t.ref.Name()
	}
	return t.ref.Name() + ":" + ref.DecodeBranch(t.ref.Tag)
}

// A genealogy is one call of Lineage.
type genealogy struct {
	hub       *Hub
	opts      LineageOptions
	order     []*relative // as they were found
	known     map[string]*relative
	hosts     map[string]bool // that were asked on the way up
	edges     []LineageEdge
	linked    map[link]bool // edges, once it is gone down
	mu        sync.Mutex    // of warned
	warned    []LineageWarning
	truncated bool
	cut       int // the first step up that was not taken since there was too much; 0 if all were

	// unadmitted reads headers of what policies refuse: it is they who ask.
	unadmitted bool
}

// A relative is a node while the lineage is found out.
type relative struct {
	node    LineageNode
	target  *target // nil if it is in no registry, or cannot be read
	edges   []lineage.Edge
	weights *weighing

	inRegistry bool    // it is named as a version in a registry
	stranger   bool    // only what strangers wrote has led to its registry
	repo       *memory // what is attached to it, while policies are asked

	notes []ocispec.Descriptor // at it, that something was made of it

	// indexed is what it is known by where it was not read: what an index has of it.
	indexed *destination
}

// add returns the node of this name.
func (g *genealogy) add(id, kind string) *relative {
	if r, ok := g.known[id]; ok {
		return r
	}
	r := &relative{node: LineageNode{ID: id, Kind: kind, Licenses: []string{}}, weights: &weighing{}}
	g.known[id] = r
	g.order = append(g.order, r)
	return r
}

func (g *genealogy) depth() int { return cmp.Or(g.opts.Depth, DefaultLineageDepth) }

// An ascent is a step from a version to something that it was made of.
type ascent struct {
	from     *relative
	edge     lineage.Edge
	stranger bool    // nobody but from names the registry
	at       *target // what it leads to, if that could be read
	err      error
}

// up goes to what a version was made of, all that is equally far at once.
func (g *genealogy) up(ctx context.Context, root *relative) error {
	level := []*relative{root}
	for depth := 0; len(level) > 0; depth++ {
		var steps []*ascent
		for _, r := range level {
			for _, e := range r.edges {
				steps = append(steps, &ascent{from: r, edge: e})
			}
		}
		if depth >= g.depth() && len(steps) > 0 {
			g.truncated = true
			return nil
		}
		if len(g.order)+len(steps) > MaxLineageNodes {
			g.truncated, g.cut = true, depth+1
			return nil
		}
		if err := g.take(ctx, steps); err != nil {
			return err
		}
		level = nil
		for _, s := range steps {
			if r, fresh := g.arrive(s); fresh {
				level = append(level, r)
			}
		}
		if err := g.describeAll(ctx, level); err != nil {
			return err
		}
	}
	return nil
}

// take resolves what steps lead to.
func (g *genealogy) take(ctx context.Context, steps []*ascent) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for _, s := range steps {
		r, ok := s.edge.Registry()
		if !ok {
			continue
		}
		if s.err = g.mayAsk(s.from, r.Host); s.err != nil {
			continue
		}
		s.stranger = g.strange(s.from, r.Host)
		group.Go(func() error {
			s.at, s.err = g.hub.find(strangers(gctx, s.stranger), r)
			return gctx.Err()
		})
	}
	return group.Wait()
}

// mayAsk tells why the registry on a host is not asked.
func (g *genealogy) mayAsk(from *relative, host string) error {
	if !mayAsk(g.hub.hostOf(from.target), host) {
		return errors.New("it is an address within a network, and the version that names it is not from there: not asked")
	}
	if g.hosts == nil {
		g.hosts = map[string]bool{}
	}
	if !g.hosts[host] && len(g.hosts) == MaxLineageHosts {
		return fmt.Errorf("it is in one more registry than the %d that are asked: not asked", MaxLineageHosts)
	}
	g.hosts[host] = true
	return nil
}

// strange tells whether nobody but strangers names the registry on a host: the user
// has named the first one, and versions in a registry that is named by an address
// are from within that network.
func (g *genealogy) strange(from *relative, host string) bool {
	at := g.hub.hostOf(from.target)
	return host != g.hub.hostOf(g.order[0].target) && (from.stranger || host != at && !inner(at))
}

// hostOf is the registry that a version is in. That of which a layout or a bundle says
// that it is a copy is nobody's word but its own.
func (h *Hub) hostOf(t *target) string {
	if (t.isLayout() || t.local != nil) && h.opts.As.Host == "" {
		return unnamedHost
	}
	return t.ref.Host
}

// strangers is ctx for what a stranger may have led to.
func strangers(ctx context.Context, may bool) context.Context {
	if may {
		return remote.ForStranger(ctx)
	}
	return ctx
}

// mayAsk tells whether what a version of one registry names may be looked for in
// another: whoever pushes a version is not to make its readers ask around in
// their own networks. It goes by names alone; [remote.ForStranger] goes by the
// addresses that they have.
func mayAsk(from, to string) bool {
	return from == to || !inner(to) || inner(from)
}

// inner tells whether a host is named by its address, or is this machine.
func inner(host string) bool {
	name := host
	if i := strings.LastIndex(host, ":"); i > strings.LastIndex(host, "]") {
		name = host[:i]
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	_, err := netip.ParseAddr(name)
	return err == nil || strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost")
}

// arrive notes what a step led to, and tells whether nobody was there before.
func (g *genealogy) arrive(s *ascent) (r *relative, fresh bool) {
	kind := "model"
	if !s.edge.Relation.OfModels() {
		kind = string(s.edge.Relation)
	}
	id := s.edge.Reference
	if s.at != nil {
		id = s.at.ref.Name() + "@" + s.at.desc.Digest.String()
	} else if s.edge.Digest != "" {
		id = strings.TrimSuffix(id, "@"+s.edge.Digest.String()) + "@" + s.edge.Digest.String()
	}
	_, there := g.known[id]
	r = g.add(id, kind)
	if !there {
		r.node.Reference, r.node.Digest = s.edge.Reference, s.edge.Digest.String()
		if s.at != nil {
			r.target, r.node.Digest = s.at, s.at.desc.Digest.String()
			r.stranger = s.stranger || g.strange(s.from, s.at.ref.Host)
		}
		if s.err != nil {
			r.node.Problem = s.err.Error()
		}
	}
	_, found := s.edge.Registry()
	r.inRegistry = r.inRegistry || found || s.edge.Digest != ""
	g.edges = append(g.edges, edgeBetween(r, s.from, s.edge))
	return r, !there && s.at != nil
}

func edgeBetween(input, output *relative, e lineage.Edge) LineageEdge {
	return LineageEdge{
		Input: input.node.ID, Output: output.node.ID, Relation: e.Relation, Inferred: e.Inferred, Weight: e.Weight,
		Said: e.Said, Pinned: e.Pinned(), Claim: lineage.Claim{Verdict: lineage.Claimed, Reason: "not compared"},
	}
}

func (g *genealogy) describeAll(ctx context.Context, list []*relative) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for _, r := range list {
		group.Go(func() error {
			if err := g.describe(gctx, r); err != nil {
				r.node.Problem = err.Error()
			}
			return gctx.Err()
		})
	}
	return group.Wait()
}

// describe finds out what matters of a version to what was made of it.
func (g *genealogy) describe(ctx context.Context, r *relative) error {
	ctx, t := strangers(ctx, r.stranger), r.target
	an := annotationsOf(t.raw)
	meta, err := g.said(ctx, t, an, r)
	if err != nil {
		return err
	}
	r.edges = lineage.Edges(an, meta)
	r.node.Read = true
	r.node.Architecture, r.node.Parameters, r.node.Quantization = an[mediatypes.AnnotationArchitecture], number(an[mediatypes.AnnotationParameters]), an[mediatypes.AnnotationQuantization]
	if err := lineage.Complete(an, meta); err != nil {
		r.node.Problem = err.Error()
	}
	return g.trusted(ctx, r)
}

// check compares what edges claim with the weights of both ends.
func (g *genealogy) check(ctx context.Context) error {
	if g.opts.NoCheck {
		return nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for i := range g.edges {
		e := &g.edges[i]
		input, output := g.known[e.Input], g.known[e.Output]
		switch {
		case !e.Relation.OfModels() || e.Relation == lineage.Distilled:
			e.Claim = lineage.Check(e.Relation, lineage.Weights{}, lineage.Weights{})
		case input.target == nil && input.indexed != nil:
			e.Claim.Reason = "known by the index alone"
		case input.target == nil:
			e.Claim.Reason = "what it was made of could not be read"
			if input.node.Problem == "" {
				e.Claim.Reason = "what it was made of is in no registry"
			}
		case output.target == nil && output.indexed != nil:
			e.Claim.Reason = "known by the index alone"
		case output.target == nil:
			e.Claim.Reason = "it could not be read"
		default:
			group.Go(func() error {
				e.Claim = g.compare(gctx, e.Relation, output, input)
				if e.Inferred && e.Claim.Verdict == lineage.Contradicted {
					e.Claim = lineage.Claim{Verdict: lineage.Claimed, Reason: "nobody says what for, and it is no " + string(e.Relation) + ": " + e.Claim.Reason}
				}
				return gctx.Err()
			})
		}
	}
	return group.Wait()
}

// result is what was found out about the version that a reference stands for.
func (g *genealogy) result(r ref.Reference) *Lineage {
	res := &Lineage{
		Reference: r.String(), Digest: g.order[0].node.Digest, Nodes: make([]LineageNode, len(g.order)),
		Edges: g.edges, Warnings: g.warned, Truncated: g.truncated,
	}
	if res.Edges == nil {
		res.Edges = []LineageEdge{}
	}
	if res.Warnings == nil {
		res.Warnings = []LineageWarning{}
	}
	for i, r := range g.order {
		res.Nodes[i] = r.node
	}
	return res
}

// said reads what a card says, if the manifest's annotations do not tell: those
// that modelreg writes do. A revised card counts for the licence.
func (g *genealogy) said(ctx context.Context, t *target, an map[string]string, r *relative) (card.Metadata, error) {
	r.node.Licenses = append(r.node.Licenses, split(an[licensesKey])...)
	if isIndex(t.desc) || len(r.node.Licenses) > 0 && an[mediatypes.AnnotationFormats] != "" {
		return card.Metadata{}, nil
	}
	meta, err := g.cardOf(ctx, t)
	if err != nil {
		return meta, err
	}
	for _, l := range cardLicences(meta) {
		if !slices.ContainsFunc(r.node.Licenses, func(o string) bool { return strings.EqualFold(o, l) }) {
			r.node.Licenses = append(r.node.Licenses, l)
		}
	}
	return meta, nil
}
