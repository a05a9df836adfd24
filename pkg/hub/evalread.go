package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A Class says whose word a result is.
type Class string

// The classes, from the most to the least. Those from Community on are nobody's
// word that is known here, whatever they say of themselves.
const (
	ClassTrusted   Class = "trusted"   // signed by a key or an identity that the reader names
	ClassPublisher Class = "publisher" // signed by a publisher that the repository names
	ClassEvaluator Class = "evaluator" // signed by an evaluator that the repository names
	ClassCommunity Class = "community" // signed by somebody else
	ClassUnsigned  Class = "unsigned"  // attached by whoever can push there
	ClassClaimed   Class = "claimed"   // written in the card of the version
)

// rank orders classes, the most believable first.
func (c Class) rank() int {
	return slices.Index([]Class{ClassTrusted, ClassPublisher, ClassEvaluator, ClassCommunity, ClassUnsigned, ClassClaimed}, c)
}

// An Evaluation is one result, and whose word it is.
type Evaluation struct {
	eval.Result

	Class Class `json:"class"`

	// Signer is who has signed the statement. It is nil where that could not be
	// checked, as with keys that nobody here knows.
	Signer *Signer `json:"signer"`

	// Claims is who the statement says has signed it: anybody can say anything.
	Claims *Signer `json:"claims,omitempty"`

	// Repository is where the statement is, and Statement the digest of the
	// manifest that holds it, there. Both are of the version for what its card
	// claims.
	Repository string `json:"repository"`
	Statement  string `json:"statement"`

	// Format is what the result was read from, and File the digest of that.
	Format eval.Format `json:"format,omitempty"`
	File   string      `json:"file,omitempty"`

	// Disputed are the doubts that count: those of publishers, and of those whom
	// the reader trusts.
	Disputed []Dispute `json:"disputed,omitempty"`
}

// Evaluations are the results that are known of a version.
type Evaluations struct {
	Reference   string       `json:"reference"`
	Digest      string       `json:"digest"`
	Evaluations []Evaluation `json:"evaluations"`

	// Problems tell what could not be looked at, and what cannot be read.
	Problems []string `json:"problems"`

	unread []string // repositories that could not be asked
}

// EvaluationsOptions says which results are wanted, and whom to trust.
type EvaluationsOptions struct {
	// Trust are those whom the reader believes; nil for nobody.
	Trust *signing.Trust

	// From are repositories that are looked into besides the model's own and
	// those that its record names on the same host. Nil means those of
	// [Options.Evaluations].
	From []ref.Reference

	// Signer is who states something, of [Hub.Dispute].
	Signer *signing.Signer
}

// Limits of what is looked at.
const (
	// MaxEvaluations bounds the statements that are looked at in one repository.
	MaxEvaluations = 256

	// maxEvaluated bounds the results that are taken from one repository: no
	// statement is read once there are so many.
	maxEvaluated = 20_000

	maxEvaluationRepos = 16
	evalWorkers        = 8
	evalPatience       = 30 * time.Second // with a repository that is not the model's own
)

// Evaluations returns the results that are known of the version that r resolves to:
// those stated in its repository and in others, joined by its digest, and those that
// its card claims. The most believable come first.
func (h *Hub) Evaluations(ctx context.Context, r ref.Reference, opts EvaluationsOptions) (*Evaluations, error) {
	t, err := h.measured(ctx, r)
	if err != nil {
		return nil, err
	}
	return h.evaluations(ctx, t, opts)
}

// measured resolves r: an index as a whole, unless a variant of it is named.
func (h *Hub) measured(ctx context.Context, r ref.Reference) (*target, error) {
	want, err := h.wanted(r)
	if err != nil {
		return nil, err
	}
	r.Variant = ""
	t, err := h.find(ctx, r)
	if err != nil || want.IsZero() {
		return t, err
	}
	return h.take(ctx, t, want, isModel)
}

// evaluations are the results that are stated of t, and those that its card claims.
func (h *Hub) evaluations(ctx context.Context, t *target, opts EvaluationsOptions) (*Evaluations, error) {
	res, err := h.stated(ctx, t, opts)
	if err != nil {
		return nil, err
	}
	if err := h.claimedResults(ctx, t, opts, res); err != nil {
		return nil, err
	}
	res.sort()
	return res, nil
}

// stated are the results that are stated of t.
func (h *Hub) stated(ctx context.Context, t *target, opts EvaluationsOptions) (*Evaluations, error) {
	in := evalPlaces{trust: opts.Trust}
	rec, err := h.record(ctx, t.repo)
	if err != nil {
		in.problems = append(in.problems, fmt.Sprintf("%s: %v", t.ref.Name(), err))
		rec = &record.Record{}
	}
	in.addTo(h, t, rec, h.evaluationsFrom(opts))
	return h.statedIn(ctx, t, rec, in)
}

// statedIn are the results that are stated of t in these places.
func (h *Hub) statedIn(ctx context.Context, t *target, rec *record.Record, in evalPlaces) (*Evaluations, error) {
	res := &Evaluations{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Evaluations: []Evaluation{}, Problems: append([]string{}, in.problems...)}
	w := &evalWitness{target: t}
	var err error
	if w.trusts, err = h.evalTrusts(ctx, rec, in.trust); err != nil {
		return nil, err
	}
	repos := append([]*remote.Repository{t.repo}, in.others...)
	found := make([]evalFound, len(repos))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(evalWorkers)
	for i, repo := range repos {
		g.Go(func() error {
			if i > 0 {
				found[i] = w.lookElsewhere(gctx, repo)
			} else if found[i] = w.look(gctx, repo); found[i].err != nil {
				return fmt.Errorf("list results of %s: %w", t.ref, found[i].err)
			}
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, f := range found {
		if f.err != nil {
			res.problem("%s: %v", repos[i].Name(), f.err)
			res.unread = append(res.unread, repos[i].Name())
		}
		res.Evaluations = append(res.Evaluations, f.evaluations...)
		res.Problems = append(res.Problems, f.problems...)
	}
	res.dispute(found[0].disputes) // only the model's own repository is its owner's
	res.sort()
	return res, nil
}

// sort puts results of one measurement together, the most believable first.
func (e *Evaluations) sort() {
	slices.SortStableFunc(e.Evaluations, func(a, b Evaluation) int {
		return cmp.Or(
			cmp.Compare(a.Task, b.Task), cmp.Compare(a.Dataset.ID, b.Dataset.ID), cmp.Compare(a.Metric.Name, b.Metric.Name),
			cmp.Compare(a.Metric.Filter, b.Metric.Filter), cmp.Compare(a.Class.rank(), b.Class.rank()), cmp.Compare(a.Statement, b.Statement),
		)
	})
}

func (e *Evaluations) problem(format string, args ...any) {
	e.Problems = append(e.Problems, fmt.Sprintf(format, args...))
}

// dispute puts doubts beside the statements that they are about.
func (e *Evaluations) dispute(doubts []Dispute) {
	for i := range e.Evaluations {
		for _, d := range doubts {
			if d.Statement == e.Evaluations[i].Statement {
				e.Evaluations[i].Disputed = append(e.Evaluations[i].Disputed, d)
			}
		}
	}
}

// claimedResults adds what the card of the version claims.
func (h *Hub) claimedResults(ctx context.Context, t *target, opts EvaluationsOptions, res *Evaluations) error {
	rev, err := h.effectiveCard(ctx, t, opts.Trust)
	return res.claims(t, rev, err)
}

// claims adds what a card of the version claims; err is why there is none.
func (e *Evaluations) claims(t *target, rev *CardRevision, err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list results of %s: %w", t.ref, err)
	}
	doc, err := rev.Card()
	if err != nil {
		e.problem("the card was not looked at: %v", err)
		return nil
	}
	for _, r := range eval.FromCard(doc.Meta.Results) {
		e.Evaluations = append(e.Evaluations, Evaluation{
			Result: r, Class: ClassClaimed, Repository: t.ref.Name(), Statement: t.desc.Digest.String(), Format: eval.FormatCard,
		})
	}
	return nil
}

// An evalTrust are those whose statements are of a class.
type evalTrust struct {
	class Class
	signing.Trust
}

// evalTrusts are those who are known here, by class, and last whoever a certificate
// names.
func (h *Hub) evalTrusts(ctx context.Context, rec *record.Record, given *signing.Trust) ([]evalTrust, error) {
	var out []evalTrust
	if given != nil {
		out = append(out, evalTrust{ClassTrusted, *given})
	}
	for class, parties := range map[Class][]record.Party{ClassPublisher: rec.Publishers, ClassEvaluator: rec.Evaluators} {
		trust, err := h.parties(ctx, parties)
		if err != nil {
			return nil, err
		}
		if trust != nil {
			out = append(out, evalTrust{class, *trust})
		}
	}
	anybody, err := h.parties(ctx, []record.Party{{Identity: "a", Issuer: "b"}})
	if err != nil {
		return nil, err
	}
	if anybody != nil {
		anybody.Identities = []signing.Identity{{SubjectRegexp: "^.*$", IssuerRegexp: "^.*$"}}
		out = append(out, evalTrust{ClassCommunity, *anybody})
	}
	slices.SortFunc(out, func(a, b evalTrust) int { return a.class.rank() - b.class.rank() })
	return out, nil
}
