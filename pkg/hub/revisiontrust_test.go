package hub_test

import (
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
)

// Revisions are chosen by who names them, the older as well as the newer: they
// are locked as the versions that they are.
func TestLockOfRevision(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("org/m:main", "one", "two")
	l := w.lockAs("mm", "org/m:main~1", hub.LockOptions{})
	if l.Digest.String() != v[0] || l.Reference.Digest != l.Digest || l.Reference.Revision != "" {
		t.Errorf("locked as %s", l.Reference)
	}
	w.push("org/m:main", "three")
	if _, err := w.CheckLocked(t.Context(), []hub.Locked{l}); err != nil {
		t.Errorf("after a push: %v", err)
	}
}
