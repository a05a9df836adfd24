package hub_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

func messages(res *hub.LogResult) string {
	var all []string
	for _, e := range res.Entries {
		all = append(all, e.Message)
	}
	return strings.Join(all, " ")
}

// line pushes versions one after the other to main.
func (w *world) line(texts ...string) []*hub.PushResult {
	w.t.Helper()
	var list []*hub.PushResult
	for _, text := range texts {
		list = append(list, w.commit("org/m:main", text, hub.Committing{Message: text}))
	}
	return list
}

func (w *world) log(name string, opts hub.LogOptions) *hub.LogResult {
	w.t.Helper()
	res, err := w.Log(w.t.Context(), w.ref(name), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func TestLog(t *testing.T) {
	w := newWorld(t)
	pushed := w.line("a", "b", "c")
	if _, err := w.Tag(t.Context(), w.ref("org/m:main~1"), "v1.0.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Sign(t.Context(), w.ref("org/m:main"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	res := w.log("org/m:main", hub.LogOptions{Trust: alice().trust})
	if messages(res) != "c b a" || res.More || len(res.Gaps) > 0 {
		t.Errorf("log = %+v", res)
	}
	b := res.Entries[1]
	if b.Digest != pushed[1].Digest || b.Revision != pushed[1].Revision || cmp.Diff([]string{pushed[0].Digest}, b.Parents)+cmp.Diff([]string{"v1.0.0"}, b.Tags) != "" {
		t.Errorf("second entry = %+v", b)
	}
	if c := res.Entries[0]; c.Signatures != 1 || len(c.Signers) != 1 || b.Signatures != 0 {
		t.Errorf("signatures of %+v and %+v", c, b)
	}
	if res := w.log("org/m:main", hub.LogOptions{Trust: stranger().trust}); res.Entries[0].Signatures != 1 || len(res.Entries[0].Signers) > 0 {
		t.Errorf("a stranger's trust finds %+v", res.Entries[0].Signers)
	}
	if res := w.log("org/m:main", hub.LogOptions{Limit: 2}); messages(res) != "c b" || !res.More {
		t.Errorf("two of three: %q, more = %v", messages(res), res.More)
	}
	// A branch that is removed is found again.
	w.commit("org/m:side", "d", hub.Committing{Message: "d", Parents: []string{"main~2"}})
	if _, err := w.DeleteBranch(t.Context(), w.ref("org/m"), "side"); err != nil {
		t.Fatal(err)
	}
	if res := w.log("org/m", hub.LogOptions{All: true}); len(res.Entries) != 4 {
		t.Errorf("log of all: %q", messages(res))
	}
}

// A parent that was collected ends the history, and is said.
func TestLogGap(t *testing.T) {
	w := newWorld(t)
	pushed := w.line("a", "b", "c")
	w.srv.Add(testreg.Rule{Path: "/manifests/" + pushed[0].Digest, Do: testreg.Status(404, nil, "")})
	res := w.log("org/m:main", hub.LogOptions{})
	if messages(res) != "c b" || cmp.Diff([]string{pushed[0].Digest}, res.Gaps) != "" {
		t.Errorf("log = %q, gaps %v", messages(res), res.Gaps)
	}
	_, err := w.Resolve(t.Context(), w.ref("org/m:main~2"))
	wantErr(t, err, errdef.ErrNotFound)
}

// A long history is read ahead: what is waited for one by one is its beginning.
func TestLogReadsAhead(t *testing.T) {
	const versions = 60
	w := newWorld(t)
	for i := range versions {
		w.commit("org/m:main", fmt.Sprint(i), hub.Committing{Message: fmt.Sprint(i)})
	}
	w.srv.Reset()
	res := w.log("org/m:main", hub.LogOptions{})
	if len(res.Entries) != versions || res.Entries[versions-1].Message != "0" {
		t.Fatalf("%d entries", len(res.Entries))
	}
	if n := len(w.srv.Requests()); n > 3*versions+20 {
		t.Errorf("%d requests for %d versions", n, versions)
	}
}

func TestRevisions(t *testing.T) {
	w := newWorld(t)
	pushed := w.line("a", "b", "c")
	side := w.commit("org/m:side", "s", hub.Committing{Parents: []string{"main~1"}})
	merged := w.commit("org/m:main", "m", hub.Committing{Parents: []string{"main", "side"}})
	if _, err := w.Tag(t.Context(), w.ref("org/m:main"), "latest"); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		":main": merged.Digest, ":main~": pushed[2].Digest, ":main~3": pushed[0].Digest, ":main^2": side.Digest, ":main^2~1": pushed[1].Digest,
		":main^^": pushed[1].Digest, ":HEAD": merged.Digest, ":HEAD~1": pushed[2].Digest, ":main~0": merged.Digest,
		"@" + merged.Revision: merged.Digest, "@" + merged.Revision[:8] + "~1": pushed[2].Digest, "@" + merged.Digest + "^2": side.Digest,
	} {
		got, err := w.Resolve(t.Context(), w.ref("org/m"+text))
		if err != nil || got.Digest != want {
			t.Errorf("%s = %+v, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		":main~9": errdef.ErrNotFound, ":main^3": errdef.ErrNotFound, ":main@{2026-05-03}": hub.ErrUsage, ":none~1": errdef.ErrNotFound,
	} {
		_, err := w.Resolve(t.Context(), w.ref("org/m"+text))
		wantErr(t, err, want)
	}
	if _, err := w.Push(t.Context(), dir(t, files{"x": "y"}), w.ref("org/m:main~1"), hub.PushOptions{}); !errors.Is(err, hub.ErrUsage) {
		t.Errorf("push to a revision: %v", err)
	}
}

// A branch is at a time what the last version of that time was; one that has no
// date was made right after the one before it.
func TestRevisionByTime(t *testing.T) {
	w := newWorld(t)
	day := func(d int) time.Time { return time.Date(2026, 5, d, 12, 0, 0, 0, time.UTC) }
	var pushed []*hub.PushResult
	for i, at := range []time.Time{day(1), {}, day(5), day(9)} {
		res, err := w.Push(t.Context(), dir(t, files{"a": fmt.Sprint(i)}), w.ref("org/m:main"), hub.PushOptions{Created: at})
		if err != nil {
			t.Fatal(err)
		}
		pushed = append(pushed, res)
	}
	for text, want := range map[string]int{
		"2026-05-01": 1, "2026-05-04": 1, "2026-05-05": 2, "2026-05-05T11:00:00Z": 1, "2026-05-05 12:00": 2, "2027-01-01": 3,
	} {
		got, err := w.Resolve(t.Context(), w.ref("org/m:main@{"+text+"}"))
		if err != nil || got.Digest != pushed[want].Digest {
			t.Errorf("%s: %+v, %v; want version %d", text, got, err, want)
		}
	}
	_, err := w.Resolve(t.Context(), w.ref("org/m:main@{2026-04-30}"))
	wantErr(t, err, errdef.ErrNotFound)
}

func TestRevert(t *testing.T) {
	w := newWorld(t)
	pushed := w.line("a", "b")
	w.srv.Reset()
	res, err := w.Revert(t.Context(), w.ref("org/m:main~1"), hub.RecommitOptions{Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	for _, sent := range w.writes() {
		if strings.Contains(sent, "/blobs/") {
			t.Errorf("a blob moved: %s", sent)
		}
	}
	if w.digestOf("org/m", "main") != res.Digest || w.digestOf("org/m", "_k."+res.Revision) != res.Digest || !res.Created {
		t.Errorf("reverted: %+v", res)
	}
	if diff := cmp.Diff([]string{pushed[1].Digest}, w.parents("org/m", "main")); diff != "" {
		t.Errorf("parents: -want +got\n%s", diff)
	}
	files, err := w.Files(t.Context(), w.ref("org/m:main"))
	if err != nil || len(files) != 1 || files[0].Size != 1 {
		t.Errorf("files = %+v, %v", files, err)
	}
	// The same again, and a push of the same files, change nothing.
	if again, err := w.Revert(t.Context(), w.ref("org/m@"+pushed[0].Digest), hub.RecommitOptions{Branch: "main"}); err != nil || again.Created || again.Digest != res.Digest {
		t.Errorf("again: %+v, %v", again, err)
	}
	if push := w.commit("org/m:main", "a", hub.Committing{}); push.Created {
		t.Errorf("push of what was reverted to: %+v", push)
	}
	_, err = w.Revert(t.Context(), w.ref("org/m:main"), hub.RecommitOptions{Branch: "none"})
	wantErr(t, err, hub.ErrUsage)
	_, err = w.Revert(t.Context(), w.ref("org/m:main~1"), hub.RecommitOptions{Branch: "main", IfParent: pushed[0].Digest})
	wantErr(t, err, hub.ErrConflict)
}

func TestMerge(t *testing.T) {
	w := newWorld(t)
	pushed := w.line("a", "b")
	for _, take := range []bool{false, true} {
		tip := w.digestOf("org/m", "main")
		lost := w.commit(fmt.Sprint("org/m:lost-", take), fmt.Sprint("lost ", take), hub.Committing{Parents: []string{pushed[0].Digest, pushed[1].Digest}})
		res, err := w.Merge(t.Context(), w.ref("org/m@"+lost.Digest), hub.RecommitOptions{Branch: "main", TakeBranch: take})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{tip, lost.Digest}, w.parents("org/m", "main")); diff != "" {
			t.Errorf("parents: -want +got\n%s", diff)
		}
		want := lost.Digest
		if take {
			want = tip
		}
		changes, err := w.Show(t.Context(), w.ref("org/m@"+res.Digest), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes.Changes {
			if (c.Parent == want) != c.None() {
				t.Errorf("take branch = %v: against %s: %+v", take, c.Parent, c)
			}
		}
		if again, err := w.Merge(t.Context(), w.ref("org/m@"+lost.Digest), hub.RecommitOptions{Branch: "main"}); err != nil || again.Created {
			t.Errorf("again: %+v, %v", again, err)
		}
	}
}

func TestBranches(t *testing.T) {
	w := newWorld(t)
	pushed := w.line("a", "b")
	ctx, repo := t.Context(), w.ref("org/m")
	if _, err := w.CreateBranch(ctx, w.ref("org/m:main~1"), "feature/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tag(ctx, w.ref("org/m:main"), "v1.0.0", "latest"); err != nil {
		t.Fatal(err)
	}
	list, err := w.Branches(ctx, repo)
	if err != nil {
		t.Fatal(err)
	}
	want := []hub.BranchInfo{
		{Branch: "feature/x", Digest: pushed[0].Digest, Message: "a"},
		{Branch: "latest", Default: true, Digest: pushed[1].Digest, Message: "b"},
		{Branch: "main", Digest: pushed[1].Digest, Message: "b"},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	_, err = w.CreateBranch(ctx, w.ref("org/m:main"), "feature/x")
	wantErr(t, err, hub.ErrConflict)
	_, err = w.RenameBranch(ctx, repo, "feature/x", "main")
	wantErr(t, err, hub.ErrConflict)
	if _, err := w.RenameBranch(ctx, repo, "feature/x", "fix"); err != nil || w.digestOf("org/m", "fix") != pushed[0].Digest || w.digestOf("org/m", "_b.feature__x") != "" {
		t.Errorf("rename: %v", err)
	}
	gone, err := w.DeleteBranch(ctx, repo, "fix")
	if err != nil || gone.Digest != pushed[0].Digest || w.digestOf("org/m", "fix") != "" {
		t.Errorf("delete: %+v, %v", gone, err)
	}
	if w.digestOf("org/m", "_k."+pushed[0].Revision) != pushed[0].Digest {
		t.Error("the version of a branch that was removed is lost")
	}
	_, err = w.DeleteBranch(ctx, repo, "latest")
	wantErr(t, err, hub.ErrUsage)
	_, err = w.DeleteBranch(ctx, repo, "none")
	wantErr(t, err, errdef.ErrNotFound)
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	model := dir(t, files{"README.md": "card", "config.json": "{}", "sub/a.txt": "aaa", "b.txt": "bbb"})
	if _, err := w.Push(ctx, model, w.ref("org/m:main"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "m")
	if _, err := w.Pull(ctx, w.ref("org/m:main"), to, hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	w.srv.Reset()
	status := func(opts hub.StatusOptions) *hub.StatusResult {
		t.Helper()
		res, err := w.Status(ctx, to, opts)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := status(hub.StatusOptions{}); !res.Clean || len(w.srv.Requests()) > 0 {
		t.Errorf("after a pull: %+v, %d requests", res, len(w.srv.Requests()))
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(to, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", "[]")
	write("new.txt", "new")
	write(".modelregignore", "*.log\n")
	write("noise.log", "left out by a push")
	for _, err := range []error{os.Rename(filepath.Join(to, "sub", "a.txt"), filepath.Join(to, "c.txt")), os.Remove(filepath.Join(to, "b.txt"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	res := status(hub.StatusOptions{})
	want := hub.Changes{
		Added: []string{"new.txt"}, Removed: []string{"b.txt"}, Changed: []string{"config.json"},
		Renamed: []hub.Renamed{{From: "sub/a.txt", To: "c.txt"}}, Identical: 1,
	}
	if diff := cmp.Diff(want, res.Changes); diff != "" || res.Clean {
		t.Errorf("-want +got:\n%s", diff)
	}
	// What status says is what a push changes.
	if _, err := w.Push(ctx, to, w.ref("org/m:main"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	shown, err := w.Show(ctx, w.ref("org/m:main"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want.Parent = shown.Parents[0]
	if diff := cmp.Diff(want, shown.Changes[0]); diff != "" {
		t.Errorf("-status +show:\n%s", diff)
	}
	main := w.ref("org/m:main")
	if res := status(hub.StatusOptions{Version: &main}); !res.Clean {
		t.Errorf("against what was pushed: %+v", res)
	}
	if res := status(hub.StatusOptions{Remote: true}); !res.Clean || res.Tip != "" {
		t.Errorf("after a push: %+v", res)
	}
	w.commit("org/m:main", "another", hub.Committing{})
	if res := status(hub.StatusOptions{Remote: true}); res.Tip != w.digestOf("org/m", "main") {
		t.Errorf("the branch has moved on to %q", res.Tip)
	}
	_, err = w.Status(ctx, dir(t, files{"a": "b"}), hub.StatusOptions{})
	wantErr(t, err, hub.ErrUsage)
}
