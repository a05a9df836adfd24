package scan

import (
	"errors"
	"slices"
)

// checkPickle follows all inputs as a loader of pickles would, for which what a
// file is called and what it is besides does not matter. Most are no pickles
// after a few bytes.
func checkPickle(s *session, in *input) error {
	if in.at == nil && !in.mayBePickle() {
		return nil // a stream is for the check that knows its kind
	}
	switch {
	case in.kind == kindEmpty:
		return nil
	case isLegacy(in.head):
		return s.legacy(in)
	}
	return s.pickles(in, 0, pickleContext{torch: in.torch})
}

// machine returns a new machine.
func (s *session) machine(in *input, t *tape, ctx pickleContext) *machine {
	return &machine{s: s, in: in, t: t, ctx: ctx, shift: 2 * s.live}
}

// isContent tells an error that is about the bytes.
func isContent(err error) bool {
	return err == nil || errors.Is(err, errShort) || errors.Is(err, errFault) || errors.Is(err, errStrict) || errors.Is(err, errLimit)
}

// commit reports what a machine has found.
func (s *session) commit(m *machine) {
	for _, f := range m.pending {
		s.add(m.in, f.Rule, f.Offset, "%s", f.Message)
	}
	m.pending = nil
}

// broken reports why a machine has stopped before the end.
func (s *session) broken(m *machine, err error) error {
	switch {
	case !isContent(err):
		return err
	case errors.Is(err, errLimit):
		s.add(m.in, "limit-steps", m.at, "%v", err)
	case errors.Is(err, errShort):
		s.add(m.in, "pickle-broken", m.at, "ends in the middle of a pickle")
	default:
		s.add(m.in, "pickle-broken", m.at, "%v", err)
	}
	return nil
}

// pickles follows an input that may be a pickle.
func (s *session) pickles(in *input, off int64, ctx pickleContext) error {
	t := s.tape(in)
	if err := t.skip(off); err != nil {
		return err
	}
	m, err := s.first(in, t, ctx)
	if !isContent(err) {
		return s.broken(m, err)
	}
	if !m.isPickle(err) {
		if in.isPickle() {
			return s.broken(m, err)
		}
		return nil
	}
	if !in.mayBePickle() {
		s.add(in, "polyglot", 0, "is a pickle too, besides what it is (%s)", in.kind)
	}
	s.commit(m)
	if err != nil {
		return s.broken(m, err)
	}
	return s.more(in, t, ctx)
}

// first follows pickles to the first that counts as one, or to what is none.
// Loaders that take several from one file come to those behind one that does
// nothing.
func (s *session) first(in *input, t *tape, ctx pickleContext) (*machine, error) {
	for {
		m := s.machine(in, t, ctx)
		err := m.run()
		if err != nil || m.isPickle(err) {
			return m, err
		}
		if ended, err := t.ended(); err != nil || ended {
			return m, err
		}
	}
}

// isPickle tells whether what a machine has followed counts as a pickle: a
// loader would do something, or more than was followed, or it would stop at the
// end and the file says that it is one.
func (m *machine) isPickle(err error) bool {
	claimed := m.in.isPickle()
	effects := m.imports + m.calls
	if m.imports == 0 && !claimed {
		effects = 0 // a state of what is a number or text: Python stops there
	}
	switch {
	case err == nil:
		return claimed || effects > 0 || m.stack[len(m.stack)-1].isTorchMagic()
	case !m.in.raw && (errors.Is(err, errLimit) || errors.Is(err, errStrict)):
		return true // behind it may stand anything
	case effects == 0:
		return false
	case !claimed && m.calls == 0:
		// Text may begin with a letter that imports, and no module has such a
		// name; one in a hundred files of random bytes begins like that, too.
		return slices.ContainsFunc(m.pending, func(f Finding) bool { return f.Rule == "pickle-dangerous-import" })
	}
	return true
}

// follow follows what is known to be a pickle, and those behind it.
func (s *session) follow(in *input, t *tape, ctx pickleContext) error {
	m := s.machine(in, t, ctx)
	err := m.run()
	s.commit(m)
	if err != nil {
		return s.broken(m, err)
	}
	return s.more(in, t, ctx)
}

// more follows what stands behind a pickle: nothing, or others.
func (s *session) more(in *input, t *tape, ctx pickleContext) error {
	for {
		ended, err := t.ended()
		if err != nil || ended {
			return err
		}
		at := t.pos
		m := s.machine(in, t, ctx)
		err = m.run()
		if !isContent(err) {
			return s.broken(m, err)
		}
		if err != nil && m.imports+m.calls == 0 {
			s.add(in, "pickle-trailing", at, "has bytes behind its end that are no pickle")
			return nil
		}
		s.commit(m)
		if err != nil {
			return s.broken(m, err)
		}
	}
}

// isPickle tells that a loader of pickles is what an input is for.
func (in *input) isPickle() bool {
	switch in.kind {
	case kindPickle:
		return !in.raw
	case kindText, kindUnknown:
		return !in.raw && in.claimed == kindPickle
	}
	return false
}

// mayBePickle tells an input that is of no other format.
func (in *input) mayBePickle() bool {
	return in.kind == kindPickle || in.kind == kindText || in.kind == kindUnknown
}
