package scan

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// joblibArray follows what joblib's loader does when it meets the stand-in of
// an array: it reads the bytes that follow in the file, and goes on with
// opcodes behind them. A loader that is not joblib's takes the bytes for
// opcodes at once.
func (m *machine) joblibArray(state value) error {
	if m.forked {
		return nil
	}
	if state.kind != vDict || m.dicts[state.off].array == nil || m.dicts[state.off].other || m.dicts[state.off].dunder {
		m.find("joblib-array", "has an array of which nothing can be told")
		return m.strict("an array has no length")
	}
	a := m.dicts[state.off].array
	n, ok := m.elements(a.shape)
	if !ok || a.dtype.kind != vDType || a.has&1 == 0 {
		m.find("joblib-array", "has an array without a shape or type that can be told")
		return m.strict("an array has no length")
	}
	if m.frame > m.t.pos {
		m.find("joblib-array", "has an array in a frame")
		return m.strict("an array is in a frame")
	}
	m.frame = 0
	t := m.dtypes[a.dtype.off]
	if err := m.otherwise(t.object); err != nil {
		return err
	}
	m.stack[len(m.stack)-1] = value{kind: vPlain}
	if t.object {
		return m.inside()
	}
	if t.size < 0 || t.size > 1<<40 || n > 1<<60/max(t.size, 1) {
		m.find("joblib-array", "has an array whose elements have no size")
		return m.strict("an array has no length")
	}
	if err := m.padding(a); err != nil {
		return err
	}
	return m.t.skip(n * t.size)
}

// padding skips what aligns an array.
func (m *machine) padding(a *array) error {
	if a.has&2 == 0 || a.align.isNone() {
		return nil
	}
	if a.align.kind != vInt {
		m.find("joblib-array", "has an array whose alignment cannot be told")
		return m.strict("an array has no alignment")
	}
	b, err := m.t.next(1)
	if err != nil {
		return err
	}
	return m.t.skip(int64(b[0]))
}

// inside follows the pickle of an array of objects, which stands between the
// opcodes of another.
func (m *machine) inside() error {
	if m.depth >= maxDepth {
		return m.limit("pickles in pickles are too deep")
	}
	inner := m.s.machine(m.in, m.t, m.ctx)
	inner.depth = m.depth + 1
	err := inner.run()
	m.pending = append(m.pending, inner.pending...)
	m.imports += inner.imports
	m.calls += inner.calls
	return err
}

// otherwise looks at the bytes that follow as a loader would that knows nothing
// of arrays. Numbers must be nothing to it. A pickle it follows too, but takes
// other values from its memo: what an honest file makes it import then is
// nonsense, and stops it, but must not be a module that there is.
func (m *machine) otherwise(pickle bool) error {
	if m.twofold {
		return nil // is reported
	}
	t, err := m.t.fork()
	if err != nil {
		return err
	}
	f := m.fork(t)
	m.s.steps += (len(m.texts) + 16*(len(m.items)+len(m.dtypes)+len(m.globals))) / forkStep
	if pickle {
		m.s.steps += len(m.dicts) + len(m.dtypes)
		f.dicts, f.dtypes, f.cloned = slices.Clone(m.dicts), slices.Clone(m.dtypes), true
	}
	err = f.run()
	bad := f.imports+f.calls > 0
	if pickle {
		bad = slices.ContainsFunc(f.globals[len(m.globals):], isThere)
	}
	if bad || errors.Is(err, errStrict) || errors.Is(err, errLimit) {
		m.at, m.twofold = m.t.pos, true
		m.find("pickle-ambiguous", "has an array whose bytes are opcodes to loaders other than joblib's")
		return nil
	}
	if isContent(err) {
		return nil
	}
	return err
}

// forkStep is how many bytes that a fork may copy count as a step.
const forkStep = 256

// fork returns a machine that goes on from here, without leaving traces in m.
func (m *machine) fork(t *tape) *machine {
	f := *m
	f.t, f.forked, f.overlay = t, true, maps.Clone(m.overlay)
	f.stack = m.stack[:len(m.stack):len(m.stack)]
	f.marks = m.marks[:len(m.marks):len(m.marks)]
	f.texts = m.texts[:len(m.texts):len(m.texts)]
	f.items = m.items[:len(m.items):len(m.items)]
	f.globals = m.globals[:len(m.globals):len(m.globals)]
	f.dtypes = m.dtypes[:len(m.dtypes):len(m.dtypes)]
	f.storages = nil
	f.pending, f.found, f.imports, f.calls, f.stopped = nil, nil, 0, 0, false
	return &f
}

// isThere tells a name of a module that most machines with models have, and that
// is not known to be harmless.
func isThere(g global) bool {
	root, _, _ := strings.Cut(g.module, ".")
	return g.entry == nil && (harmful(g.module, g.name) || slices.Contains(commonRoots, root))
}

// commonRoots are packages that come with models' loaders.
var commonRoots = []string{
	"numpy", "scipy", "sklearn", "joblib", "pandas", "torch", "torchvision", "transformers", "tensorflow", "keras", "lightning",
	"pytorch_lightning", "mlflow", "xgboost", "lightgbm", "catboost", "huggingface_hub", "PIL", "cv2", "nltk", "spacy",
}
