package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
)

// maxAnnounced bounds the notes at one version that are followed.
const maxAnnounced = 256

// An AnnounceResult says what [Hub.Announce] did.
type AnnounceResult struct {
	Reference string          `json:"reference"`
	Digest    string          `json:"digest"`
	Bases     []AnnouncedBase `json:"bases"`
}

// An AnnouncedBase is something that a version was made of, and was to be told.
type AnnouncedBase struct {
	Reference string           `json:"reference"`
	Digest    string           `json:"digest"`
	Relation  lineage.Relation `json:"relation"`
	Made      bool             `json:"made"`              // false: it had been told, or there is a problem
	Problem   string           `json:"problem,omitempty"` // why it could not be told
}

// Announce attaches to what the version that r resolves to says that it was made
// of a note that says so, where that lies in a registry and is named by its
// digest. [Hub.Lineage] goes down by such notes without reading other
// repositories. A note is a hint, and signed by nobody: what counts is what the
// version itself says.
//
// What cannot be told is in the result; it is an error if nothing could be.
func (h *Hub) Announce(ctx context.Context, r ref.Reference) (*AnnounceResult, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &AnnounceResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Bases: []AnnouncedBase{}}
	var first error
	told := 0
	for _, e := range lineage.Edges(annotationsOf(t.raw), card.Metadata{}) {
		base, ok := e.Registry()
		if !ok || e.Digest == "" || e.Digest == t.desc.Digest {
			continue
		}
		b := AnnouncedBase{Reference: e.Reference, Digest: e.Digest.String(), Relation: e.Relation}
		if b.Made, err = h.announce(ctx, t, base); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			b.Problem, first = err.Error(), cmp.Or(first, err)
		} else {
			told++
		}
		res.Bases = append(res.Bases, b)
	}
	switch {
	case len(res.Bases) == 0:
		return nil, fmt.Errorf("%w: announce %s: it names nothing in a registry by its digest: push --base REF does", ErrUsage, t.ref)
	case told == 0:
		return res, fmt.Errorf("announce %s: %w", t.ref, first)
	}
	return res, nil
}

// announcePushed announces what was pushed, if that is asked for. The version is
// where it belongs by then: what goes wrong is told, and can be done again.
func (h *Hub) announcePushed(ctx context.Context, res *PushResult, opts PushOptions) {
	if !opts.Announce || opts.DryRun {
		return
	}
	r, err := ref.Parse(res.Reference)
	if err != nil {
		return // it is our own
	}
	told, err := h.Announce(ctx, r)
	switch {
	case told != nil:
		res.Announced = told.Bases
	case errors.Is(err, ErrUsage):
		res.Notes = append(res.Notes, "nothing to announce: it names nothing in a registry by its digest; --base REF does")
	case err != nil:
		h.warn("%v; it is pushed, and can be announced by itself", err)
	}
}

// announce tells one version what was made of it.
func (h *Hub) announce(ctx context.Context, t *target, base ref.Reference) (made bool, err error) {
	if !mayAsk(t.ref.Host, base.Host) {
		return false, errors.New("it is an address within a network, and the version that names it is not from there: not asked")
	}
	ctx = strangers(ctx, base.Host != t.ref.Host && !inner(t.ref.Host))
	to, err := h.resolve(ctx, base)
	if err != nil {
		return false, err
	}
	note := map[string]string{"reference": nameOf(t), "digest": t.desc.Digest.String()}
	raw, err := json.Marshal(note, json.Deterministic(true))
	if err != nil {
		return false, err
	}
	_, made, err = attach(ctx, to, document{
		artifactType: mediatypes.ArtifactDerived, layerType: mediatypes.LayerDerived, title: "derived-by.json", raw: raw,
		annotations: map[string]string{mediatypes.AnnotationDerived: nameOf(t) + "@" + t.desc.Digest.String()},
	})
	return made, err
}

// announced reads the versions that notes at r name. One that cannot be read, or
// says nothing of what it was made of, is left out.
func (g *genealogy) announced(ctx context.Context, r *relative) ([]descendant, error) {
	notes := r.notes
	if len(notes) > maxAnnounced {
		g.truncated, notes = true, notes[:maxAnnounced]
	}
	named, err := g.named(strangers(ctx, r.stranger), r.target, notes)
	if err != nil {
		return nil, err
	}
	return g.pointedAt(ctx, r, named, func(ref.Reference, error) {})
}

// pointedAt reads versions of which something else than a version says that they
// were made of r. Those that are there come in their order; unread is told why
// others could not be looked at.
func (g *genealogy) pointedAt(ctx context.Context, r *relative, named []ref.Reference, unread func(ref.Reference, error)) ([]descendant, error) {
	found, problems := make([]*descendant, len(named)), make([]error, len(named))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for i, said := range named {
		if said.Digest == "" {
			continue
		}
		if problems[i] = g.mayAsk(r, said.Host); problems[i] != nil {
			continue
		}
		strange := g.strange(r, said.Host)
		group.Go(func() error {
			if found[i], problems[i] = g.derived(strangers(gctx, strange), said); found[i] != nil {
				found[i].stranger = strange
			}
			return gctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, context.Cause(ctx)
	}
	var out []descendant
	for i, d := range found {
		if d != nil {
			out = append(out, *d)
		} else if err := problems[i]; err != nil && !errors.Is(err, errdef.ErrNotFound) {
			unread(named[i], err)
		}
	}
	return out, nil
}

// named are the versions that notes at t name; the zero reference where that
// cannot be read. Most registries list the annotations of what is attached.
func (g *genealogy) named(ctx context.Context, t *target, notes []ocispec.Descriptor) ([]ref.Reference, error) {
	out := make([]ref.Reference, len(notes))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(lineageWorkers)
	for i, note := range notes {
		group.Go(func() error {
			text, there := note.Annotations[mediatypes.AnnotationDerived]
			if !there {
				_, raw, err := t.repo.Manifest(gctx, note.Digest.String())
				if err != nil {
					return gctx.Err()
				}
				text = annotationsOf(raw)[mediatypes.AnnotationDerived]
			}
			if r, ok := (lineage.Edge{Reference: text}).Registry(); ok {
				out[i] = r
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// derived reads a version that was made of another, as something else says.
func (g *genealogy) derived(ctx context.Context, r ref.Reference) (*descendant, error) {
	repo, err := g.hub.repository(r)
	if err != nil {
		return nil, err
	}
	desc, raw, err := repo.Manifest(ctx, r.Digest.String())
	if err != nil {
		return nil, err
	}
	return &descendant{
		repo: repo, ref: r, desc: desc, raw: raw, edges: lineage.Edges(annotationsOf(raw), card.Metadata{}), learnt: LearntAnnounced,
	}, nil
}
