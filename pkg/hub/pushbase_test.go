package hub_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
)

// pull brings a version into a new directory.
func (w *world) pullNew(name string) string {
	w.t.Helper()
	to := filepath.Join(w.t.TempDir(), "m")
	if _, err := w.Pull(w.t.Context(), w.ref(name), to, hub.PullOptions{}); err != nil {
		w.t.Fatal(err)
	}
	return to
}

func (w *world) edit(dir, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pushFrom(dir, name string, c hub.Committing) *hub.PushResult {
	w.t.Helper()
	res, err := w.Push(w.t.Context(), dir, w.ref(name), hub.PushOptions{Committing: c})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// refused makes sure that a push forks the branch, from what the files were.
func (w *world) refused(dir, name, from string, c hub.Committing) *hub.ForkError {
	w.t.Helper()
	_, err := w.Push(w.t.Context(), dir, w.ref(name), hub.PushOptions{Committing: c})
	fork, ok := errors.AsType[*hub.ForkError](err)
	if !ok {
		w.t.Fatalf("push: %v; want a fork", err)
	}
	if diff := cmp.Diff([]string{from}, w.parents("org/m", fork.Ours.String())); diff != "" {
		w.t.Errorf("parents of what was refused: -want +got\n%s", diff)
	}
	return fork
}

// Nobody undoes what another has pushed since by pushing what was pulled before.
func TestPushFromPulledDirectory(t *testing.T) {
	w := newWorld(t)
	first := w.push("org/m:main", "one")
	ada, bob := w.pullNew("org/m:main"), w.pullNew("org/m:main")
	pinned := w.pullNew("org/m@" + first.Digest)
	w.edit(ada, "two")
	second := w.pushFrom(ada, "org/m:main", hub.Committing{Message: "ada"})
	if diff := cmp.Diff([]string{first.Digest}, w.parents("org/m", "main")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}

	w.edit(bob, "three")
	fork := w.refused(bob, "org/m:main", first.Digest, hub.Committing{Message: "bob"})
	if fork.Theirs.String() != second.Digest || w.digestOf("org/m", "main") != second.Digest {
		t.Errorf("%v, and main is %s; want it to stay at %s", fork, w.digestOf("org/m", "main"), second.Digest)
	}
	w.edit(pinned, "three")
	w.refused(pinned, "org/m:main", first.Digest, hub.Committing{Message: "bob"})

	// To say so is to know so, and what is equal is no version.
	w.edit(bob, "two")
	if res := w.pushFrom(bob, "org/m:main", hub.Committing{}); res.Created || res.Digest != second.Digest {
		t.Errorf("an equal push = %+v; want nothing done", res)
	}
	w.edit(bob, "four")
	w.pushFrom(bob, "org/m:main", hub.Committing{})
	w.edit(pinned, "five")
	w.pushFrom(pinned, "org/m:main", hub.Committing{IfParent: w.digestOf("org/m", "main")})
	w.edit(ada, "six")
	last := w.pushFrom(ada, "org/m:main", hub.Committing{Parents: []string{"main"}})
	w.edit(ada, "seven")
	w.pushFrom(ada, "org/m:main", hub.Committing{})
	if diff := cmp.Diff([]string{last.Digest}, w.parents("org/m", "main")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}
}

// A branch that was moved back is moved on by a push from what it was: by the
// version itself, or by one that follows it.
func TestPushAheadOfBranch(t *testing.T) {
	w := newWorld(t)
	first, second := w.push("org/m:main", "one"), w.push("org/m:main", "two")
	back := func() {
		t.Helper()
		if _, err := w.Tag(t.Context(), w.ref("org/m@"+first.Digest), "main"); err != nil {
			t.Fatal(err)
		}
	}
	pulled := w.pullNew("org/m:main")
	back()
	if res := w.pushFrom(pulled, "org/m:main", hub.Committing{Message: "nothing new"}); !res.Created || res.Digest != second.Digest {
		t.Errorf("the files of the second version again = %+v; want %s", res, second.Digest)
	}
	back()
	w.edit(pulled, "three")
	w.pushFrom(pulled, "org/m:main", hub.Committing{})
	if diff := cmp.Diff([]string{second.Digest}, w.parents("org/m", "main")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}
}

// Whoever amends what another has pushed since has not seen it.
func TestAmendFromStaleDirectory(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:main", "one")
	ada, bob := w.pullNew("org/m:main"), w.pullNew("org/m:main")
	w.edit(ada, "two")
	second := w.pushFrom(ada, "org/m:main", hub.Committing{Message: "ada"})
	w.edit(bob, "three")
	_, err := w.Push(t.Context(), bob, w.ref("org/m:main"), hub.PushOptions{Committing: hub.Committing{Amend: true}})
	wantErr(t, err, hub.ErrStale)
	wantErr(t, err, hub.ErrConflict)
	if now := w.digestOf("org/m", "main"); now != second.Digest {
		t.Errorf("main is %s; want it to stay at %s", now, second.Digest)
	}
	w.edit(ada, "two, amended")
	w.pushFrom(ada, "org/m:main", hub.Committing{Amend: true})
	w.edit(ada, "two, amended again")
	last := w.pushFrom(ada, "org/m:main", hub.Committing{Amend: true})
	w.pushFrom(bob, "org/m:main", hub.Committing{Amend: true, IfParent: last.Digest})
	if c := w.said("org/m", "main"); c.Message != "ada" {
		t.Errorf("amended on purpose: %+v", c)
	}
}

// What came from elsewhere is a new version of where it goes.
func TestPushFromElsewhere(t *testing.T) {
	w := newWorld(t)
	w.push("org/other:main", "one")
	w.push("org/m:dev", "one, of another line")
	elsewhere, dev := w.pullNew("org/other:main"), w.pullNew("org/m:dev")
	for i, model := range []string{elsewhere, dev} {
		before := w.commit("org/m:main", string(rune('a'+i)), hub.Committing{})
		w.edit(model, "changed")
		w.pushFrom(model, "org/m:main", hub.Committing{})
		if diff := cmp.Diff([]string{before.Digest}, w.parents("org/m", "main")); diff != "" {
			t.Errorf("parents: -want +got\n%s", diff)
		}
		w.commit("org/m:main", "meanwhile", hub.Committing{})
	}
}

// The usual push costs no request for it.
func TestPushFromPulledDirectoryRequests(t *testing.T) {
	w := newWorld(t)
	count := func(model string) int {
		w.edit(model, "changed: "+filepath.Base(filepath.Dir(model)))
		w.srv.Reset()
		w.pushFrom(model, "org/m:main", hub.Committing{})
		return len(w.srv.Requests())
	}
	w.push("org/m:main", "one")
	fresh := count(dir(t, files{"notes.txt": ""}))
	if pulled := count(w.pullNew("org/m:main")); pulled > fresh {
		t.Errorf("%d requests from a directory that was pulled, %d from another", pulled, fresh)
	}
}

// A directory is what was last pushed from it.
func TestStatusAfterPush(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made := dir(t, files{"notes.txt": "one"})
	first := w.pushFrom(made, "org/m:main", hub.Committing{})
	if _, err := os.Lstat(filepath.Join(made, ".modelreg")); err == nil {
		t.Error("a push has put something into the directory")
	}
	pulled := w.pullNew("org/m:main")
	w.edit(pulled, "two")
	second := w.pushFrom(pulled, "org/m:main", hub.Committing{})
	for model, digest := range map[string]string{made: first.Digest, pulled: second.Digest} {
		res, err := w.Status(ctx, model, hub.StatusOptions{})
		if err != nil || !res.Clean || res.Digest != digest {
			t.Errorf("status after a push of %s = %+v, %v", digest, res, err)
		}
	}
	w.edit(made, "three")
	w.refused(made, "org/m:main", first.Digest, hub.Committing{})

	// Another branch is another matter; and a pull goes on from what was pushed.
	w.edit(pulled, "four")
	w.pushFrom(pulled, "org/m:side", hub.Committing{})
	if o, err := artifact.ReadOrigin(pulled); err != nil || o.Descriptor.Digest.String() != second.Digest {
		t.Errorf("after a push to another branch: %+v, %v", o, err)
	}
	third := w.commit("org/m:main", "five", hub.Committing{})
	if res, err := w.Pull(ctx, w.ref("org/m:main"), pulled, hub.PullOptions{Force: true}); err != nil || res.Digest != third.Digest {
		t.Errorf("pull = %+v, %v", res, err)
	}
}
