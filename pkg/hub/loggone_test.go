package hub_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
)

// collected is a branch of which garbage collection has left the last version.
func (w *world) collected() []*hub.PushResult {
	w.t.Helper()
	pushed := w.line("a", "b", "c")
	res := w.gc("org/m", hub.GCOptions{Rules: gcRules(func(r *hub.GCRules) { r.Last, r.Grace = 1, 0 }), Run: true})
	if res.Deleted != 2 {
		w.t.Fatalf("%d versions deleted, want 2", res.Deleted)
	}
	return pushed
}

// A tombstone is no version, and a parent that is gone is said to be.
func TestLogLeavesTombstonesOut(t *testing.T) {
	w := newWorld(t)
	pushed := w.collected()
	for _, all := range []bool{false, true} {
		res := w.log("org/m:main", hub.LogOptions{All: all})
		if messages(res) != "c" {
			t.Fatalf("all = %v: log = %q", all, messages(res))
		}
		if diff := cmp.Diff([]string{pushed[1].Digest}, res.Entries[0].Missing); diff != "" {
			t.Errorf("all = %v: missing: -want +got\n%s", all, diff)
		}
	}
}

// Whoever goes back to what was collected is told that it was, however.
func TestRevisionsBeyondCollected(t *testing.T) {
	w := newWorld(t)
	w.collected()
	for _, name := range []string{"org/m:main~1", "org/m:main~2", "org/m:main^1~1"} {
		_, err := w.Resolve(t.Context(), w.ref(name))
		wantErr(t, err, hub.ErrGone)
		_, err = w.Revert(t.Context(), w.ref(name), hub.RecommitOptions{Branch: "main"})
		wantErr(t, err, hub.ErrGone)
	}
}

// A copy takes as much of a history as there is.
func TestCopyEndsWhereHistoryDoes(t *testing.T) {
	p := newPair(t, testreg.Options{}, testreg.Options{})
	pushed := p.collected()
	res, err := p.Copy(t.Context(), p.ref("org/m:main"), p.to("there/m:main"), hub.CopyOptions{Depth: 10})
	if err != nil {
		t.Fatal(err)
	}
	note := func(s string) bool {
		return strings.Contains(s, "the history ends at "+pushed[2].Digest) && strings.Contains(s, pushed[1].Digest)
	}
	if res.Versions != 1 || !slices.ContainsFunc(res.Notes, note) {
		t.Errorf("%d versions, notes %q", res.Versions, res.Notes)
	}
}
