package hub_test

import (
	"errors"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
)

// A race is one for a branch that went back to where an earlier one began.
type race struct {
	*world
	before string // who won the earlier race
	theirs string // what the other writer makes
	raw    []byte
}

func newRace(t *testing.T) race {
	w := newWorld(t)
	first := w.push("org/m:main", "one")
	before := w.commit("org/m:main", "before", hub.Committing{})
	theirs := w.commit("org/m:theirs", "theirs", hub.Committing{Parents: []string{first.Digest}})
	if _, err := w.Tag(t.Context(), w.ref("org/m@"+first.Digest), "main"); err != nil {
		t.Fatal(err)
	}
	_, raw := w.manifest("org/m", "theirs")
	return race{w, before.Digest, theirs.Digest, raw}
}

// announced lets the other writer announce himself, and do what else, before our
// writer looks whether the announcement is still his own.
func (r race) announced(also func(x testreg.Exchange, writer string)) {
	r.srv.Add(testreg.Rule{Method: "HEAD", Path: `/manifests/_w\.[0-9a-f]{40}$`, To: 1, Do: func(x testreg.Exchange) {
		setTag(x, x.R.URL.Path, r.raw)
		if also != nil {
			also(x, x.R.URL.Path)
		}
		x.Pass(x.W)
	}})
}

func (r race) lose() *hub.ForkError {
	r.t.Helper()
	_, err := r.tryCommit("org/m:main", "ours", hub.Committing{})
	fork, ok := errors.AsType[*hub.ForkError](err)
	if !ok {
		r.t.Fatalf("push: %v; want a fork", err)
	}
	if fork.Theirs.String() != r.theirs {
		r.t.Errorf("theirs is %s, want %s", fork.Theirs, r.theirs)
	}
	return fork
}

// Who won a branch before it went back has not won it again, and whoever is not
// the winner is told that the branch is his all the same.
func TestForkAfterBranchWentBack(t *testing.T) {
	r := newRace(t)
	r.announced(nil)
	fork := r.lose()
	if now := r.digestOf("org/m", "main"); now != fork.Ours.String() || !fork.Stands {
		t.Errorf("main is %s, and %v; want it at ours: %s", now, fork, fork.Ours)
	}
	if now := r.digestOf("org/m", "main"); now == r.before {
		t.Error("the winner of the earlier race has the branch")
	}
	// The same push again sets what is still to be set.
	if res := r.commit("org/m:main", "ours", hub.Committing{}); res.Created || res.Digest != fork.Ours.String() {
		t.Errorf("the same push again: %+v", res)
	}
}

// The branch is given to whoever wins it while this writer is under way: also to
// one that does not continue the tip.
func TestForkGivesWay(t *testing.T) {
	r := newRace(t)
	r.announced(func(x testreg.Exchange, writer string) { setTag(x, writer+".won", r.raw) })
	fork := r.lose()
	if now := r.digestOf("org/m", "main"); now != r.theirs || fork.Stands {
		t.Errorf("main is %s, and %v; want it at %s", now, fork, r.theirs)
	}
}

// What is told is where the branch is.
func TestForkTellsWhereTheBranchIs(t *testing.T) {
	r := newRace(t)
	r.announced(func(x testreg.Exchange, _ string) { setTag(x, "/v2/org/m/manifests/main", r.raw) })
	if fork := r.lose(); fork.Stands || !fork.Moved || r.digestOf("org/m", "main") != r.theirs {
		t.Errorf("%v, and main is %s", fork, r.digestOf("org/m", "main"))
	}
}
