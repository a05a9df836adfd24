package hub

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A wholeState is what became of a repository as a whole, by its record. The zero
// value is that of one in use.
type wholeState struct {
	record.Status
	name string // host/name
}

// wholeState reads what became of the repository of a version.
func (h *Hub) wholeState(ctx context.Context, t *target) (wholeState, error) {
	if t.repo == nil {
		return wholeState{}, nil
	}
	said, err := h.record(ctx, t.repo)
	if err != nil {
		return wholeState{}, err
	}
	return wholeIn(said, t.ref.Name()), nil
}

// wholeIn is what a record says of its repository. Where it has moved to is what to
// use if nothing else is named.
func wholeIn(said *record.Record, name string) wholeState {
	w := wholeState{said.Status, name}
	if w.State != "" {
		w.Replacement = cmp.Or(w.Replacement, said.Redirect)
	}
	return w
}

// problem is the state as an error; nil for a repository in use.
func (w wholeState) problem() error {
	e := &StateError{Reference: w.name, Reason: w.Reason, Replacement: w.Replacement, Since: w.Since, Err: ErrRetired}
	switch w.State {
	case record.Deprecated:
		e.Err = ErrDeprecated
	case record.Retired:
	default:
		return nil
	}
	return e
}

func (w wholeState) state() State {
	s := State{State: record.Active}
	if w.State != "" {
		s.State, s.Reason, s.Since, s.Replacement = w.State, w.Reason, w.Since, w.Replacement
	}
	return s
}

// heedWhole is heed for what became of the repository. A policy about statuses says
// what one that was deprecated means; nothing but a digest leads into a retired one.
func (h *Hub) heedWhole(r ref.Reference, t *target, w wholeState, rules Rules) error {
	found := w.problem()
	if found == nil {
		return nil
	}
	s := w.state()
	if w.State == record.Retired {
		if r.Digest == "" && r.Prefix == "" && !rules.Skip {
			return found
		}
		h.warn("%v (ITS NAME IS NOT USED ANY MORE, and a version is used all the same)%s", found, s.advice())
		return nil
	}
	reaction := policy.Warn
	if h.opts.Strict {
		reaction = policy.Refuse
	}
	if rules.decideStatus(t.ref.Name()) {
		reaction = rules.onDeprecated(t.ref.Name())
	}
	switch {
	case reaction == policy.Refuse && !rules.Skip:
		return found
	case reaction != policy.Allow:
		h.warn("%v%s", found, s.advice())
	}
	return nil
}

// onDeprecated is what the policies that decide about statuses in a repository want
// done with what is deprecated: the strictest of them. Without a word they warn.
func (r Rules) onDeprecated(repository string) policy.Reaction {
	want := policy.Allow
	for _, p := range r.Policies {
		for _, d := range p.Deciding(repository) {
			switch {
			case !d.AsksStatus():
			case d.Model.Deprecated == policy.Refuse:
				return policy.Refuse
			case d.Model.Deprecated != policy.Allow:
				want = policy.Warn
			}
		}
	}
	return want
}

// retired is the error for a name that is not used any more, if it is, for who did
// not find something there; else notFound.
func (h *Hub) retired(ctx context.Context, repo *remote.Repository, r ref.Reference, notFound error) error {
	said, err := h.record(ctx, repo)
	if err != nil || said.Status.State != record.Retired {
		return notFound
	}
	return wholeIn(said, r.Name()).problem()
}

// mayAdd refuses to put something new into a repository whose name is retired, or that
// has moved: by the habit of a script, as a rule. What the record says is asked when
// the tag is set in any case.
func (h *Hub) mayAdd(ctx context.Context, repo *remote.Repository, r ref.Reference) error {
	said, err := h.record(ctx, repo)
	if err != nil {
		return err
	}
	if said.Status.State == record.Retired {
		return fmt.Errorf("push: %w", wholeIn(said, r.Name()).problem())
	}
	if said.Redirect != "" && said.Redirect != r.Name() {
		return fmt.Errorf("push: %w", &MovedError{Repository: r.Name(), To: said.Redirect})
	}
	return nil
}

// A MovedError is a repository that is not pushed to since it says that it has moved.
// It wraps [ErrRetired].
type MovedError struct {
	Repository string // host/name
	To         string // host/name
}

// Error implements error.
func (e *MovedError) Error() string { return e.Repository + " says that it has moved to " + e.To }

// Unwrap returns the kind of error.
func (e *MovedError) Unwrap() error { return ErrRetired }

// noteWhole warns of a repository that was deprecated or retired, for who looks at its
// versions. It costs a request where the repository is known to have a record.
func (h *Hub) noteWhole(ctx context.Context, repo *remote.Repository, recorded bool) {
	if !recorded {
		return
	}
	said, err := h.record(ctx, repo)
	if err != nil {
		return // who uses a version is told
	}
	w := wholeIn(said, repo.Name())
	if found := w.problem(); found != nil {
		s := w.state()
		h.warn("%v%s", found, s.advice())
	}
}

// tellWhole adds what became of the repository, if anything did.
func (h *Hub) tellWhole(ctx context.Context, t *target, res *Inspection) error {
	w, err := h.wholeState(ctx, t)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		h.warn("%s: whether its repository was deprecated is not known: %v", t.ref, err)
	case w.State != "":
		s := w.state()
		res.Repository = &s
	}
	return nil
}

// SetRepositoryState writes into the record of the repository of r what became of it
// as a whole: [record.Deprecated], [record.Retired], or [record.Active] for one in use.
// With a signer, which may be nil, the record is signed; a key that is not one of its
// publishers, where it names some, is refused.
func (h *Hub) SetRepositoryState(ctx context.Context, r ref.Reference, s *signing.Signer, c StateChange) (*StateResult, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := h.mayState(ctx, &target{repo: repo, ref: r}, s); err != nil {
			return nil, err
		}
	}
	next := record.Status{
		State: c.State, Reason: c.Reason, Replacement: c.Replacement, Since: cmp.Or(c.Now, time.Now()).UTC().Truncate(time.Second),
	}
	if c.State == record.Active {
		next = record.Status{}
	}
	said, err := h.SetRecord(ctx, r, s, func(rec *record.Record) error {
		was := rec.Status
		if was.State != next.State || was.Reason != next.Reason || was.Replacement != next.Replacement {
			rec.Status = next
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &StateResult{
		Reference: said.Repository, Digest: said.Digest, State: wholeIn(said.Record, said.Repository).state(), Changed: said.Changed,
	}, nil
}
