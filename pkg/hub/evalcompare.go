package hub

import (
	"context"
	"errors"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A ComparedRow is one measurement that two versions share, as [eval.Row] has it.
type ComparedRow struct {
	A           Evaluation   `json:"a"`
	B           Evaluation   `json:"b"`
	Delta       *float64     `json:"delta"`   // in A's unit; null where the units are not known to be the same
	Verdict     eval.Verdict `json:"verdict"` // of B
	P           *float64     `json:"p"`       // null where it cannot be told
	Significant bool         `json:"significant"`
	Flags       []string     `json:"flags"`
}

// An EvalComparison joins the results of two versions.
type EvalComparison struct {
	From     string        `json:"from"` // reference of A
	To       string        `json:"to"`   // reference of B
	Rows     []ComparedRow `json:"rows"`
	OnlyA    []Evaluation  `json:"onlyA"`
	OnlyB    []Evaluation  `json:"onlyB"`
	Problems []string      `json:"problems"`
}

// CompareEvaluations joins the results of two versions. Of several results of one
// measurement the most believable is compared.
func (h *Hub) CompareEvaluations(ctx context.Context, a, b ref.Reference, opts EvaluationsOptions) (*EvalComparison, error) {
	var of [2]*Evaluations
	g, gctx := errgroup.WithContext(ctx)
	for i, r := range []ref.Reference{a, b} {
		g.Go(func() (err error) {
			of[i], err = h.Evaluations(gctx, r, opts)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return compareEvaluations(of[0], of[1]), nil
}

func compareEvaluations(a, b *Evaluations) *EvalComparison {
	res := &EvalComparison{From: a.Reference, To: b.Reference, Rows: []ComparedRow{}, OnlyA: []Evaluation{}, OnlyB: []Evaluation{}}
	res.Problems = append(append([]string{}, a.Problems...), b.Problems...)
	listA, listB := mostBelievable(a.Evaluations), mostBelievable(b.Evaluations)
	for _, m := range eval.Join(resultsOf(listA), resultsOf(listB)) {
		switch {
		case m.Row == nil && m.A >= 0:
			res.OnlyA = append(res.OnlyA, listA[m.A])
		case m.Row == nil:
			res.OnlyB = append(res.OnlyB, listB[m.B])
		default:
			row := ComparedRow{
				A: listA[m.A], B: listB[m.B], Delta: m.Row.Delta, Verdict: m.Row.Verdict,
				P: m.Row.P, Significant: m.Row.Significant, Flags: m.Row.Flags,
			}
			if row.A.Class != row.B.Class {
				row.Flags = append(row.Flags, "class")
			}
			if len(row.A.Disputed)+len(row.B.Disputed) > 0 {
				row.Flags = append(row.Flags, "disputed")
			}
			res.Rows = append(res.Rows, row)
		}
	}
	return res
}

// mostBelievable leaves out results of measurements that a more believable party
// has made too, with the same settings.
func mostBelievable(list []Evaluation) []Evaluation {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Evaluation) int { return a.Class.rank() - b.Class.rank() })
	var out []Evaluation
	seen := map[eval.Measurement]Class{}
	for _, e := range list {
		m := e.Measurement()
		if class, ok := seen[m]; ok && class != e.Class {
			continue
		}
		seen[m] = e.Class
		out = append(out, e)
	}
	return out
}

func resultsOf(list []Evaluation) []eval.Result {
	out := make([]eval.Result, len(list))
	for i, e := range list {
		out[i] = e.Result
	}
	return out
}

// knownMetrics are the results that are stated of t, and of those that its card
// claims the ones that nobody more believable has measured.
func (h *Hub) knownMetrics(ctx context.Context, t *target, refs []ocispec.Descriptor, claimed []diff.Metric, trust *signing.Trust) ([]diff.Metric, error) {
	all, err := h.besideOf(ctx, t, refs, trust)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		h.warn("what %s was measured to do is not known: %v", t.ref, err)
	}
	if all == nil {
		return claimed, nil
	}
	list := all.Evaluations
	for _, c := range claimed {
		list = append(list, Evaluation{Result: c.Result, Class: ClassClaimed})
	}
	var out []diff.Metric
	for _, e := range mostBelievable(list) {
		by := string(e.Class)
		if e.Class == ClassClaimed {
			by = "card"
		}
		if len(e.Disputed) > 0 {
			by += ", disputed"
		}
		out = append(out, diff.Metric{Result: e.Result, By: by})
	}
	return out, nil
}

// Vouched are the results that a known party has signed, without those that are
// disputed by somebody who is believed as much: a publisher's doubt takes nothing
// from what the reader trusts.
func (e *Evaluations) Vouched() []eval.Result { return resultsOf(e.vouched()) }

func (e *Evaluations) vouched() []Evaluation {
	var out []Evaluation
	for _, ev := range e.Evaluations {
		if ev.Class.rank() < ClassCommunity.rank() && !ev.doubted() {
			out = append(out, ev)
		}
	}
	return mostBelievable(out)
}

// doubted tells whether somebody who is believed as much disputes a result.
func (e *Evaluation) doubted() bool {
	return slices.ContainsFunc(e.Disputed, func(d Dispute) bool { return d.Class.rank() <= e.Class.rank() })
}

// Pick keeps the results of one statement, given by its digest or the beginning
// of that.
func (e *Evaluations) Pick(statement string) error {
	of, err := pickStatement(e.Evaluations, statement)
	if errors.Is(err, errdef.ErrNotFound) {
		return &MissingError{What: MissingStatement, Reference: e.Reference, Err: err}
	}
	if err != nil {
		return err
	}
	e.Evaluations = slices.DeleteFunc(e.Evaluations, func(ev Evaluation) bool { return ev.Statement != of || ev.Class == ClassClaimed })
	return nil
}

// inspectEvaluations adds the results that are stated of a version, beside it and
// elsewhere. Where none can be, it asks for nothing.
func (h *Hub) inspectEvaluations(ctx context.Context, t *target, refs []ocispec.Descriptor, res *Inspection) error {
	all, err := h.besideOf(ctx, t, refs, nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		h.warn("what %s was measured to do is not known: %v", t.ref, err)
	}
	if all != nil {
		res.Evaluations = all.Evaluations
	}
	return nil
}
