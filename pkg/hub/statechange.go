package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

var (
	// ErrDeprecated says that a version should no longer be used, to those who
	// want to be strict about it.
	ErrDeprecated = errors.New("deprecated")

	// ErrGone says that a version was removed, and that a tombstone is left.
	ErrGone = errors.New("gone")

	// ErrRetired says that the name of a repository is not used any more.
	ErrRetired = errors.New("retired")
)

// A StateError is a version that is not to be used for what became of it. It wraps
// [policy.ErrYanked], [ErrDeprecated], [ErrGone] or [ErrRetired]. That a
// repository was deprecated or retired is one too: Reference is then its name.
type StateError struct {
	Reference   string
	Reason      string // by whoever stated it
	Replacement string // a reference; empty if none is named
	Since       time.Time
	Err         error
}

// Error implements error.
func (e *StateError) Error() string {
	said := fmt.Sprintf("%s was %v", e.Reference, e.Err)
	if errors.Is(e.Err, ErrGone) {
		said = e.Reference + " was removed"
	}
	if !e.Since.IsZero() {
		said += " at " + e.Since.Format(time.RFC3339)
	}
	if e.Reason != "" {
		said += ": " + e.Reason
	}
	return said
}

// Unwrap returns the kind of error.
func (e *StateError) Unwrap() error { return e.Err }

// heed warns of a version that was deprecated or yanked, or refuses it: yanked ones
// unless r names a digest, deprecated ones if the user is strict. Where a policy
// decides about such versions, it is left to that. What became of the repository is
// asked at the same time, and heeded likewise.
func (h *Hub) heed(ctx context.Context, r ref.Reference, t *target, trust *signing.Trust) error {
	var whole wholeState
	var unread error
	var wait sync.WaitGroup
	wait.Go(func() { whole, unread = h.wholeState(ctx, t) })
	s, err := h.lookForStatus(ctx, t, trust, trust == nil && !h.opts.Strict)
	wait.Wait()
	err = cmp.Or(err, unread)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && (h.opts.Strict || trust != nil):
		return fmt.Errorf("look for the status of %s: %w", t.ref, err)
	case err != nil:
		h.warn("%s: whether it was withdrawn is not known: %v", t.ref, err)
	}
	for _, problem := range s.Problems {
		h.warn("%s: %s", t.ref, problem)
	}
	rules, err := h.rules(ctx)
	if err != nil {
		return err
	}
	if err := h.heedVersion(r, t, s, rules); err != nil {
		return err
	}
	return h.heedWhole(r, t, whole, rules)
}

// heedVersion is heed for what became of the version.
func (h *Hub) heedVersion(r ref.Reference, t *target, s State, rules Rules) error {
	if s.State == record.Active || s.State == "" || rules.decideStatus(t.ref.Name()) {
		return nil
	}
	found := s.problem(t.ref)
	switch {
	case s.State == record.Deprecated && h.opts.Strict && !rules.Skip:
		return found
	case s.State == record.Deprecated:
		h.warn("%v%s", found, s.advice())
	case r.Digest == "" && r.Prefix == "" && !rules.Skip:
		return found
	default:
		h.warn("%v (IT WAS WITHDRAWN, and is used all the same)%s", found, s.advice())
	}
	return nil
}

// asked is r for those who only want to know what it stands for. Where it was at
// some time is a question about the past, which is answered whatever became of it.
func asked(r ref.Reference, t *target) ref.Reference {
	if r.Revision != "" {
		return t.ref
	}
	return r
}

// problem is a state that is not active as an error.
func (s *State) problem(r ref.Reference) *StateError {
	e := &StateError{Reference: r.String(), Reason: s.Reason, Replacement: s.Replacement, Since: s.Since, Err: policy.ErrYanked}
	if s.State == record.Deprecated {
		e.Err = ErrDeprecated
	}
	return e
}

func (s *State) advice() string {
	if s.Replacement == "" {
		return ""
	}
	return "; use " + s.Replacement
}

// decideStatus tells whether a policy decides about versions of a repository that
// were deprecated or yanked.
func (r Rules) decideStatus(repository string) bool {
	return !r.Skip && slices.ContainsFunc(r.Policies, func(p *policy.Policy) bool {
		return slices.ContainsFunc(p.Deciding(repository), (*policy.Document).AsksStatus)
	})
}

// tellStatus adds what became of the version, if anybody stated anything.
func (h *Hub) tellStatus(ctx context.Context, t *target, res *Inspection) error {
	s, err := h.lookForStatus(ctx, t, nil, true)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		h.warn("%s: whether it was withdrawn is not known: %v", t.ref, err)
	case s.newest != "" || s.Ignored > 0:
		res.Status = &s
	}
	return nil
}

// A StateChange is what is to be said of a version.
type StateChange struct {
	State       record.State
	Reason      string
	Replacement string // a reference

	// Now is when. Zero means time.Now.
	Now time.Time
}

// A StateResult says what [Hub.SetState] did.
type StateResult struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	State
	Changed   bool   `json:"changed"`   // false when it was so before
	Statement string `json:"statement"` // the manifest of what was attached; empty when nothing was
}

// SetState signs what became of the version that r resolves to, and attaches it.
// A key that is not one of the repository's publishers, where it names some, is
// refused: nobody would listen.
func (h *Hub) SetState(ctx context.Context, r ref.Reference, s *signing.Signer, c StateChange) (*StateResult, error) {
	t, err := h.resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := h.mayState(ctx, t, s); err != nil {
		return nil, err
	}
	was, err := h.lookForStatus(ctx, t, nil, false)
	if err != nil {
		return nil, fmt.Errorf("look for the status of %s: %w", t.ref, err)
	}
	res := &StateResult{Reference: t.ref.String(), Digest: t.desc.Digest.String(), State: was}
	if was.State == c.State && (c.State == record.Active || was.Reason == c.Reason && was.Replacement == c.Replacement) {
		return res, nil
	}
	next := record.Status{
		State: c.State, Reason: c.Reason, Replacement: c.Replacement, Seq: was.seq + 1, Previous: was.newest,
		Since: cmp.Or(c.Now, time.Now()).UTC().Truncate(time.Second),
	}
	if !next.Since.After(was.Since) && !farAhead(was.Since) { // the newest decides, and two clocks may differ
		next.Since = was.Since.Add(time.Second)
	}
	raw, err := next.Predicate()
	if err != nil {
		return nil, err
	}
	made, err := signing.Attest(ctx, t.repo, t.signing(), s, signing.Predicate{Type: record.StatusType, Raw: raw}, signing.AttestOptions{})
	if err != nil {
		return nil, fmt.Errorf("state that %s is %s: %w", t.ref, c.State, err)
	}
	res.Changed, res.Statement = true, made.Digest.String()
	if res.State, err = h.lookForStatus(ctx, t, nil, false); err != nil {
		return nil, fmt.Errorf("look for the status of %s: %w", t.ref, err)
	}
	if res.newest != made.Digest {
		return res, fmt.Errorf("%w: %s is still %s: the statement %s does not count: it is not by one of its publishers, or an older one is dated later",
			ErrConflict, t.ref, res.State.State, made.Digest)
	}
	return res, nil
}

// farAhead tells whether a time is further in the future than clocks differ.
func farAhead(t time.Time) bool { return t.After(time.Now().Add(24 * time.Hour)) }

// mayState refuses a key that is not among the publishers. Whom a certificate is
// going to name is not known before.
func (h *Hub) mayState(ctx context.Context, t *target, s *signing.Signer) error {
	key := s.Public()
	if key == nil {
		return nil
	}
	trust, unchecked, err := h.publishersOf(ctx, t)
	if err != nil || trust == nil && len(unchecked) == 0 {
		return err
	}
	if trust != nil && slices.ContainsFunc(trust.Keys, func(k *signing.PublicKey) bool { return k.Fingerprint() == key.Fingerprint() }) {
		return nil
	}
	return fmt.Errorf("%w: state what became of %s: the key %s is not one of the publishers that the record of %s names",
		ErrUsage, t.ref, key.Fingerprint(), t.ref.Name())
}
