package hub_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
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

	// A branch that goes on from it has its next version; and a pull goes on from
	// what was pushed.
	w.edit(pulled, "four")
	side := w.pushFrom(pulled, "org/m:side", hub.Committing{})
	if o, err := artifact.ReadOrigin(pulled); err != nil || o.Descriptor.Digest.String() != side.Digest {
		t.Errorf("after a push to another branch: %+v, %v", o, err)
	}
	third := w.commit("org/m:main", "five", hub.Committing{})
	if res, err := w.Pull(ctx, w.ref("org/m:main"), pulled, hub.PullOptions{Force: true}); err != nil || res.Digest != third.Digest {
		t.Errorf("pull = %+v, %v", res, err)
	}
}

// A branch that is begun from a pulled directory goes on from what was pulled, and
// from then on it is the directory's.
func TestPushNewBranchFromPulledDirectory(t *testing.T) {
	w := newWorld(t)
	first := w.commit("org/m:main", "one", hub.Committing{Message: "the first"})
	pulled := w.pullNew("org/m:main")
	same := w.pushFrom(pulled, "org/m:same", hub.Committing{Message: "nothing new"})
	if same.Digest != first.Digest || !same.Created {
		t.Errorf("the same files as another branch = %+v; want %s", same, first.Digest)
	}
	w.edit(pulled, "two")
	w.srv.Reset()
	w.pushFrom(dir(t, files{"notes.txt": "of no pull"}), "org/m:first", hub.Committing{})
	fresh := len(w.srv.Requests())
	w.srv.Reset()
	second := w.pushFrom(pulled, "org/m:feature/x", hub.Committing{})
	if n := len(w.srv.Requests()); n > fresh+1 {
		t.Errorf("%d requests, %d from another directory", n, fresh)
	}
	if diff := cmp.Diff([]string{first.Digest}, w.parents("org/m", "_b.feature__x")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}
	if res := w.pushFrom(pulled, "org/m:feature/x", hub.Committing{}); res.Created || res.Digest != second.Digest {
		t.Errorf("the same again = %+v", res)
	}
	w.edit(pulled, "three")
	w.pushFrom(pulled, "org/m:feature/x", hub.Committing{})
	if diff := cmp.Diff([]string{second.Digest}, w.parents("org/m", "_b.feature__x")); diff != "" {
		t.Errorf("parents of the next: -want +got\n%s", diff)
	}
	w.pushFrom(pulled, "org/m:main", hub.Committing{})
	if diff := cmp.Diff([]string{first.Digest}, w.parents("org/m", "main")); diff != "" {
		t.Errorf("parents of what went to main: -want +got\n%s", diff)
	}

	// Nothing goes on where that is said, from what is gone, and in other directories.
	w.edit(pulled, "four")
	w.pushFrom(pulled, "org/m:anew", hub.Committing{Parents: []string{hub.NoParent}})
	other := w.pullNew("org/m:same")
	w.edit(other, "five")
	w.srv.Add(testreg.Rule{Path: "/org/m/manifests/" + first.Digest, Do: testreg.Status(http.StatusNotFound, nil, "")})
	w.pushFrom(other, "org/m:gone", hub.Committing{})
	made := dir(t, files{"notes.txt": "six"})
	w.pushFrom(made, "org/m:v1", hub.Committing{})
	w.edit(made, "seven")
	w.pushFrom(made, "org/m:v2", hub.Committing{})
	for _, tag := range []string{"anew", "gone", "v1", "v2"} {
		if p := w.parents("org/m", tag); len(p) > 0 {
			t.Errorf("%s has parents: %q", tag, p)
		}
	}
}

// What is pushed of a version of another repository was made of it; its history is
// not that of this one.
func TestPushFork(t *testing.T) {
	w := newWorld(t)
	text := files{"notes.txt": "one", "model.safetensors": tensorFile(8, 1)}
	first := w.made("org/other:main", text)
	forked := w.pullNew("org/other:main")
	if res := w.pushFrom(forked, "me/copy:main", hub.Committing{}); res.Digest != first.Digest || len(res.Notes) > 0 {
		t.Errorf("the same files = %+v; want %s", res, first.Digest)
	}
	inputs := func(tag string) []string {
		t.Helper()
		_, raw := w.manifest("me/m", tag)
		m, err := mediatypes.ParseManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		list, err := lineage.ParseInputs(m.Annotations[mediatypes.AnnotationInputs])
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, e := range list {
			out = append(out, string(e.Relation)+" "+strings.TrimPrefix(e.Reference, w.srv.Host+"/")+" "+e.Digest.String())
		}
		return out
	}
	of := "org/other:main " + first.Digest
	w.edit(forked, "two")
	second := w.pushFrom(forked, "me/m:main", hub.Committing{})
	if diff := cmp.Diff([]string{"origin " + of}, inputs("main")); diff != "" || len(w.parents("me/m", "main")) > 0 {
		t.Errorf("-want +got\n%s", diff)
	}
	if len(second.Notes) != 1 || !strings.Contains(second.Notes[0], "--parent none") {
		t.Errorf("notes: %q", second.Notes)
	}
	if res := w.pushFrom(forked, "me/m:main", hub.Committing{}); res.Created || res.Digest != second.Digest {
		t.Errorf("the same again = %+v", res)
	}
	write(t, filepath.Join(forked, "model.safetensors"), tensorFile(8, 2))
	w.pushFrom(forked, "me/m:main", hub.Committing{})
	if diff := cmp.Diff([]string{"finetune " + of}, inputs("main")); diff != "" {
		t.Errorf("other weights: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{second.Digest}, w.parents("me/m", "main")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}

	// Who says what it was made of has said it, and so has who begins anew.
	push := func(tag string, opts hub.PushOptions) {
		t.Helper()
		if _, err := w.Push(t.Context(), forked, w.ref("me/m:"+tag), opts); err != nil {
			t.Fatal(err)
		}
	}
	push("said", hub.PushOptions{Inputs: []hub.Input{{Reference: w.ref("me/copy:main")}}})
	push("data", hub.PushOptions{Inputs: []hub.Input{{Relation: lineage.Dataset, Elsewhere: "hf:datasets/org/d"}}})
	push("anew", hub.PushOptions{Committing: hub.Committing{Parents: []string{hub.NoParent}}})
	push("base", hub.PushOptions{Annotations: map[string]string{ocispec.AnnotationBaseImageName: "reg.io/x"}})
	if _, raw := w.manifest("me/m", "base"); !strings.Contains(string(raw), `"reg.io/x"`) {
		t.Errorf("the base that the user annotated is replaced: %s", raw)
	}
	for tag, want := range map[string][]string{
		"base": {}, "said": {"finetune me/copy:main " + first.Digest}, "data": {"finetune " + of, "dataset hf:datasets/org/d "}, "anew": {},
	} {
		if diff := cmp.Diff(want, inputs(tag)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tag, diff)
		}
	}
}
