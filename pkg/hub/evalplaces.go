package hub

import (
	"context"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// evalPlaces says where statements about a version are looked for, besides its own
// repository, and who is believed.
type evalPlaces struct {
	others   []*remote.Repository
	problems []string // of places that are not looked into
	trust    *signing.Trust
}

// evaluationsFrom are the repositories that the reader wants to be looked into.
func (h *Hub) evaluationsFrom(opts EvaluationsOptions) []ref.Reference {
	if opts.From == nil {
		return h.opts.Evaluations
	}
	return opts.From
}

// addTo adds the repositories of from, and those that the record of t names on its
// host. A record must not send its readers to other hosts.
func (p *evalPlaces) addTo(h *Hub, t *target, rec *record.Record, from []ref.Reference) {
	for _, r := range from {
		p.add(h, t, r)
	}
	for _, name := range rec.Evaluations {
		r, err := ref.Parse(name)
		if err != nil || r.Host != t.ref.Host {
			p.problems = append(p.problems, fmt.Sprintf("%s: named by the record, and on another host: --from looks into it", name))
			continue
		}
		if len(p.others)+1 >= maxEvaluationRepos {
			p.problems = append(p.problems, fmt.Sprintf("more than %d repositories: the rest was not looked into", maxEvaluationRepos))
			break
		}
		p.add(h, t, r)
	}
}

func (p *evalPlaces) add(h *Hub, t *target, r ref.Reference) {
	same := func(o *remote.Repository) bool { return o.Name() == r.Name() }
	if same(t.repo) || slices.ContainsFunc(p.others, same) {
		return
	}
	repo, err := h.repository(ref.Reference{Scheme: r.Scheme, Host: r.Host, Repository: r.Repository})
	if err != nil {
		p.problems = append(p.problems, fmt.Sprintf("%s: %v", r.Name(), err))
		return
	}
	p.others = append(p.others, repo)
}

// maxToldProblems bounds the problems of evaluations that are told beside other things.
const maxToldProblems = 5

// besideOf are the results that are stated of t, for those who show them among other
// things. refs is what is attached to the version as a whole. Where its repository
// lists none and no other is named, it is nil, and nothing is asked for but the
// repository's record. What could not be looked at is warned of.
func (h *Hub) besideOf(ctx context.Context, t *target, refs []ocispec.Descriptor, trust *signing.Trust) (*Evaluations, error) {
	opts := EvaluationsOptions{Trust: trust}
	if t.repo.InProcess() {
		opts.From = []ref.Reference{} // what lies on this machine is shown without asking others
	}
	listed := t.desc.Digest != t.signed.Digest || slices.ContainsFunc(refs, mayEvaluate)
	if !listed && len(h.evaluationsFrom(opts)) == 0 {
		rec, err := h.record(ctx, t.repo)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			h.warnOnce("where others keep what they have measured of %s is not known: %v", t.ref.Name(), err)
			return nil, nil
		case len(rec.Evaluations) == 0:
			return nil, nil
		}
	}
	all, err := h.stated(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	for i, p := range all.Problems {
		if i == maxToldProblems {
			h.warn("results of %s: %d more problems: \"modelreg eval list\" tells", t.ref, len(all.Problems)-i)
			break
		}
		h.warn("results of %s: %s", t.ref, p)
	}
	return all, nil
}
