package hub_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
)

// commit pushes a model of one file with this text.
func (w *world) commit(name, text string, c hub.Committing) *hub.PushResult {
	w.t.Helper()
	res, err := w.tryCommit(name, text, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) tryCommit(name, text string, c hub.Committing) (*hub.PushResult, error) {
	return w.Push(w.t.Context(), dir(w.t, files{"notes.txt": text}), w.ref(name), hub.PushOptions{Committing: c})
}

// said is what a version says of its history.
func (w *world) said(name, reference string) lineage.Commit {
	w.t.Helper()
	desc, raw := w.manifest(name, reference)
	c, err := lineage.ParseCommit(desc, raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// parents are the parents of a version, as text.
func (w *world) parents(name, reference string) []string {
	var list []string
	for _, p := range w.said(name, reference).Parents {
		list = append(list, p.String())
	}
	return list
}

func TestPushRecordsHistory(t *testing.T) {
	w := newWorld(t)
	first := w.push("org/m:main", "one")
	if c := w.said("org/m", "main"); len(c.Parents) > 0 || c.Message != "" || c.Author != "" {
		t.Errorf("a first version says %+v", c)
	}
	second := w.commit("org/m:main", "two", hub.Committing{Message: "better", Author: "A <a@example.com>"})
	if diff := cmp.Diff([]string{first.Digest}, w.parents("org/m", "main")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}
	if c := w.said("org/m", "main"); c.Message != "better" || c.Author != "A <a@example.com>" || c.ChangeID != second.Revision {
		t.Errorf("the second version says %+v", c)
	}
	for _, r := range []*hub.PushResult{first, second} {
		if w.digestOf("org/m", "_k."+r.Revision) != r.Digest {
			t.Errorf("%s is not kept", r.Digest)
		}
	}
	// A release of a branch goes on from the branch.
	third := w.commit("org/m:v1", "three", hub.Committing{Branch: "main"})
	if diff := cmp.Diff([]string{second.Digest}, w.parents("org/m", "v1")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}
	if w.digestOf("org/m", "main") != third.Digest || !third.Created || !strings.Contains(third.Reference, ":v1@") {
		t.Errorf("main was not moved to %+v", third)
	}
}

// A date is no content: where it comes from the environment, as in a pipeline, each
// push has another one.
func TestPushOfAnotherDate(t *testing.T) {
	w := newWorld(t)
	day := func(n int) time.Time { return time.Date(2026, 5, n, 0, 0, 0, 0, time.UTC) }
	push := func(text string, created time.Time) *hub.PushResult {
		res, err := w.Push(t.Context(), dir(t, files{"notes.txt": text}), w.ref("org/m:main"), hub.PushOptions{Created: created})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := push("one", day(1))
	if res := push("one", day(2)); res.Created || res.Digest != first.Digest || res.UploadedBytes > 0 {
		t.Errorf("the same files, a day later: %+v", res)
	}
	if res := push("one", time.Time{}); res.Created || res.Digest != first.Digest {
		t.Errorf("the same files, without a date: %+v", res)
	}
	second := push("two", day(3))
	if got := w.said("org/m", "main"); !second.Created || !got.Created.Equal(day(3)) {
		t.Errorf("other files: %+v, created %s", second, got.Created)
	}
}

// What equals the tip is no new version, whatever is said of it, and costs one
// request more than it did without a history.
func TestPushUpToDate(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:main", "one")
	second := w.push("org/m:main", "two")
	for _, c := range []hub.Committing{{}, {Message: "again"}, {Author: "me"}, {Parents: []string{"main"}}, {IfParent: second.Revision}} {
		w.srv.Reset()
		res := w.commit("org/m:main", "two", c)
		if res.Created || res.Digest != second.Digest {
			t.Errorf("%+v: pushed %+v", c, res)
		}
		if sent := w.writes(); len(sent) > 0 {
			t.Errorf("%+v: sent %v", c, sent)
		}
	}
	// Going back is a change.
	third := w.push("org/m:main", "one")
	if !third.Created || w.parents("org/m", "main")[0] != second.Digest {
		t.Errorf("going back: %+v", third)
	}
}

func TestPushParents(t *testing.T) {
	w := newWorld(t)
	one, two := w.push("org/m:main", "one"), w.push("org/m:main", "two")
	tests := map[string]struct {
		c    hub.Committing
		want []string
		err  error
	}{
		"none":               {c: hub.Committing{Parents: []string{hub.NoParent}}},
		"the tip and more":   {c: hub.Committing{Parents: []string{"main", "main~1"}}, want: []string{two.Digest, one.Digest}},
		"by revision":        {c: hub.Committing{Parents: []string{two.Revision}}, want: []string{two.Digest}},
		"by digits":          {c: hub.Committing{Parents: []string{two.Revision[:8]}}, want: []string{two.Digest}},
		"by digest":          {c: hub.Committing{Parents: []string{two.Digest}}, want: []string{two.Digest}},
		"in full":            {c: hub.Committing{Parents: []string{w.ref("org/m:main").String()}}, want: []string{two.Digest}},
		"in full, revision":  {c: hub.Committing{Parents: []string{w.ref("org/m").String() + ":main~1", "main"}}, want: []string{one.Digest, two.Digest}},
		"in full, by digits": {c: hub.Committing{Parents: []string{w.ref("org/m").String() + "@" + two.Revision}}, want: []string{two.Digest}},
		"without the host":   {c: hub.Committing{Parents: []string{"org/m:main"}}, want: []string{two.Digest}},
		"of another":         {c: hub.Committing{Parents: []string{w.ref("org/other:main").String()}}, err: hub.ErrUsage},
		"of another, short":  {c: hub.Committing{Parents: []string{"other:main"}}, err: ref.ErrSyntax},
		"twice the same":     {c: hub.Committing{Parents: []string{"main", two.Digest}}, want: []string{two.Digest}},
		"not the tip":        {c: hub.Committing{Parents: []string{one.Digest}}, err: hub.ErrConflict},
		"not there":          {c: hub.Committing{Parents: []string{"other"}}, err: errdef.ErrNotFound},
		"as expected":        {c: hub.Committing{IfParent: two.Digest}, want: []string{two.Digest}},
		"not as expected":    {c: hub.Committing{IfParent: one.Digest}, err: hub.ErrConflict},
		"expected to be new": {c: hub.Committing{IfParent: hub.NoParent}, err: hub.ErrConflict},
		"amend":              {c: hub.Committing{Amend: true}, want: []string{one.Digest}},
		"amend with parents": {c: hub.Committing{Amend: true, Parents: []string{"main"}}, err: hub.ErrUsage},
		"message of bytes":   {c: hub.Committing{Message: "\x00"}, err: lineage.ErrCommit},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := w.Tag(t.Context(), w.ref("org/m@"+two.Digest), "main"); err != nil {
				t.Fatal(err)
			}
			_, err := w.tryCommit("org/m:main", name, tt.c)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				if w.digestOf("org/m", "main") != two.Digest {
					t.Error("main was moved")
				}
				return
			}
			if diff := cmp.Diff(tt.want, w.parents("org/m", "main")); diff != "" {
				t.Errorf("parents: -want +got\n%s", diff)
			}
		})
	}
}

func TestPushAmend(t *testing.T) {
	w := newWorld(t)
	first := w.commit("org/m:main", "one", hub.Committing{Message: "tpyo", Author: "me"})
	amended := w.commit("org/m:main", "one", hub.Committing{Message: "typo", Amend: true})
	if c := w.said("org/m", "main"); c.Message != "typo" || c.Author != "me" || c.ChangeID != first.Revision || len(c.Parents) > 0 {
		t.Errorf("amended: %+v", c)
	}
	if again := w.commit("org/m:main", "one", hub.Committing{Amend: true}); again.Created || again.Digest != amended.Digest {
		t.Errorf("amended without a change: %+v", again)
	}
	_, err := w.tryCommit("org/m:other", "one", hub.Committing{Amend: true})
	wantErr(t, err, errdef.ErrNotFound)
}

// Whoever is late finds that the branch has moved, before he moves it.
func TestPushForkBefore(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:main", "one")
	theirs := w.commit("org/m:theirs", "theirs", hub.Committing{Parents: []string{"main"}})
	// The other writer is there while the blobs are sent.
	_, raw := w.manifest("org/m", "theirs")
	w.srv.Add(testreg.Rule{Method: "POST", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
		setTag(x, "/v2/org/m/manifests/main", raw)
		x.Pass(x.W)
	}})
	res, err := w.tryCommit("org/m:main", "ours", hub.Committing{})
	fork, ok := errors.AsType[*hub.ForkError](err)
	if !ok || fork.Theirs.String() != theirs.Digest || fork.Ours.String() != res.Digest || fork.Moved {
		t.Fatalf("error = %v", err)
	}
	if w.digestOf("org/m", "main") != theirs.Digest || w.digestOf("org/m", "_k."+res.Revision) != res.Digest {
		t.Error("main was moved, or what lost is not kept")
	}
	// With both as parents it goes through, and nothing is sent again.
	joined := w.commit("org/m:main", "ours", hub.Committing{Parents: []string{"main", res.Revision}})
	if diff := cmp.Diff([]string{theirs.Digest, res.Digest}, w.parents("org/m", "main")); diff != "" || joined.UploadedBytes > 0 {
		t.Errorf("joined with %d bytes: -want +got\n%s", joined.UploadedBytes, diff)
	}
}

// However writers race who start from one tip, at most one is told that the
// branch is his, it is his then, and the versions of all others are kept.
func TestPushConcurrently(t *testing.T) {
	const writers = 3
	w := newWorld(t)
	w.push("org/m:main", "one")
	// None moves the branch before all have looked at it.
	var looked sync.WaitGroup
	looked.Add(writers)
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/manifests/main$", To: writers, Do: func(x testreg.Exchange) {
		x.Pass(x.W)
		looked.Done()
	}})
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/_k", Do: func(x testreg.Exchange) {
		looked.Wait()
		x.Pass(x.W)
	}})
	var wg sync.WaitGroup
	results, errs := make([]*hub.PushResult, writers), make([]error, writers)
	for i := range writers {
		model := dir(t, files{"notes.txt": fmt.Sprint("writer ", i)})
		wg.Go(func() {
			h := hub.New(hub.Options{Remote: w.client})
			results[i], errs[i] = h.Push(t.Context(), model, w.ref("org/m:main"), hub.PushOptions{})
		})
	}
	wg.Wait()
	tip := w.digestOf("org/m", "main")
	for i, err := range errs {
		if err != nil && !errors.Is(err, hub.ErrConflict) {
			t.Fatal(err)
		}
		if err == nil && results[i].Digest != tip {
			t.Errorf("writer %d was told that all is well, and then overwritten", i)
		}
		if w.digestOf("org/m", "_k."+results[i].Revision) != results[i].Digest {
			t.Errorf("the version of writer %d is lost", i)
		}
	}
}
