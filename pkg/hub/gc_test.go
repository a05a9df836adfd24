package hub_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// pushed pushes versions of a branch one after the other.
func (w *world) pushed(name string, texts ...string) []string {
	w.t.Helper()
	var out []string
	for _, text := range texts {
		out = append(out, w.push(name, text).Digest)
	}
	return out
}

func gcRules(f func(*hub.GCRules)) func(hub.GCRules) hub.GCRules {
	return func(r hub.GCRules) hub.GCRules { f(&r); return r }
}

func (w *world) gc(name string, opts hub.GCOptions) *hub.GCResult {
	w.t.Helper()
	res, err := w.GC(w.t.Context(), w.ref(name), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// unneeded are the versions that nothing needs, with what became of them.
func unneeded(res *hub.GCResult) map[string]string {
	out := map[string]string{}
	for _, u := range res.Unneeded {
		out[u.Digest] = u.State
	}
	return out
}

func whyKept(res *hub.GCResult, dgst string) string {
	for _, k := range res.Kept {
		if k.Digest == dgst {
			return strings.Join(k.Why, "; ")
		}
	}
	return ""
}

func TestGCRun(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two", "three", "four")
	for _, d := range v[:2] {
		if _, err := w.Sign(t.Context(), w.ref("acme/m@"+d), alice().signer, signing.SignOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	last := gcRules(func(r *hub.GCRules) { r.Last = 2 })
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

	// A plan changes nothing.
	w.srv.Reset()
	res := w.gc("acme/m", hub.GCOptions{Rules: last, Now: start})
	if diff := cmp.Diff(map[string]string{v[0]: "waiting", v[1]: "waiting"}, unneeded(res)); diff != "" {
		t.Error(diff)
	}
	if why := whyKept(res, v[3]); why != "tag main" {
		t.Errorf("the newest is kept because: %s", why)
	}
	if why := whyKept(res, v[2]); why != "one of the last 2 of main" {
		t.Errorf("the one before is kept because: %s", why)
	}
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("a plan wrote: %v", writes)
	}

	// The first run notes; the grace is counted from there.
	w.gc("acme/m", hub.GCOptions{Rules: last, Now: start, Run: true})
	if w.digestOf("acme/m", "_gc") == "" {
		t.Error("the first run has left no note")
	}
	res = w.gc("acme/m", hub.GCOptions{Rules: last, Now: start.Add(6 * 24 * time.Hour), Run: true})
	if res.Deleted != 0 || w.digestOf("acme/m", v[0]) == "" {
		t.Errorf("deleted %d before the grace was over", res.Deleted)
	}
	res = w.gc("acme/m", hub.GCOptions{Rules: last, Now: start.Add(7 * 24 * time.Hour), Run: true})
	if diff := cmp.Diff(map[string]string{v[0]: "deleted", v[1]: "deleted"}, unneeded(res)); diff != "" {
		t.Error(diff)
	}
	if res.Deleted != 2 || res.Attached != 2 {
		t.Errorf("deleted %d versions and %d attached, want 2 and 2", res.Deleted, res.Attached)
	}
	if w.digestOf("acme/m", v[0]) != "" || w.digestOf("acme/m", v[3]) == "" {
		t.Error("what was to be deleted is there, or what was to be kept is gone")
	}
	if left := w.digestOf("acme/m", "_gc"); left != "" {
		t.Errorf("the note is left, which names nothing any more: %s", left)
	}
	_, err := w.Resolve(t.Context(), w.ref("acme/m@"+v[0]))
	wantErr(t, err, hub.ErrGone)
	if res := w.gc("acme/m", hub.GCOptions{Rules: last, Now: start.Add(8 * 24 * time.Hour)}); len(res.Unneeded) > 0 {
		t.Errorf("afterwards: %v", res.Unneeded)
	}
}

// A registry that removes no tags keeps a note that names nothing.
func TestGCLeavesEmptyNote(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two")
	w.srv.Add(testreg.Rule{Method: http.MethodDelete, Path: "/manifests/_gc$", Do: testreg.Status(http.StatusMethodNotAllowed, nil, "")})
	opts := hub.GCOptions{Run: true, Rules: gcRules(func(r *hub.GCRules) { r.Last, r.Grace = 1, 0 })}
	for _, deleted := range []int{1, 0} {
		if res := w.gc("acme/m", opts); res.Deleted != deleted {
			t.Errorf("deleted %d, want %d", res.Deleted, deleted)
		}
	}
	if w.digestOf("acme/m", v[0]) != "" || w.digestOf("acme/m", "_gc") == "" {
		t.Error("the version is there, or the note is gone")
	}
}

// What was found needless and is needed again starts anew.
func TestGCForgets(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two")
	last := gcRules(func(r *hub.GCRules) { r.Last = 1 })
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	w.gc("acme/m", hub.GCOptions{Rules: last, Now: start, Run: true})
	if _, err := w.Tag(t.Context(), w.ref("acme/m@"+v[0]), "again"); err != nil {
		t.Fatal(err)
	}
	if res := w.gc("acme/m", hub.GCOptions{Rules: last, Now: start.Add(30 * 24 * time.Hour), Run: true}); len(res.Unneeded) > 0 {
		t.Fatalf("a version with a tag is not needed: %v", res.Unneeded)
	}
	desc, raw := w.manifest("acme/m", v[1])
	if err := w.repo("acme/m").PushManifest(t.Context(), desc, raw, "again"); err != nil {
		t.Fatal(err)
	}
	res := w.gc("acme/m", hub.GCOptions{Rules: last, Now: start.Add(31 * 24 * time.Hour)})
	if diff := cmp.Diff(map[string]string{v[0]: "waiting"}, unneeded(res)); diff != "" {
		t.Error(diff)
	}
}

func TestGCKeeps(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two", "three", "four", "five")
	w.made("acme/m:child", files{"notes.txt": "child"}, hub.Input{Reference: w.ref("acme/m@" + v[0])})
	w.made("other/tuned:v1", files{"notes.txt": "tuned"}, hub.Input{Reference: w.ref("acme/m@" + v[1])})
	now := gcRules(func(r *hub.GCRules) { r.Last, r.Grace = 1, 0; r.Holds = []digest.Digest{digest.Digest(v[2])} })
	opts := hub.GCOptions{Rules: now, In: []string{w.srv.Host + "/other"}, Locked: map[digest.Digest]string{digest.Digest(v[3]): "prod.lock"}}
	res := w.gc("acme/m", opts)
	if len(res.Unneeded) > 0 {
		t.Errorf("unneeded: %v", res.Unneeded)
	}
	for i, want := range []string{"was made of it (finetune)", "other/tuned:v1 was made of it (finetune)", "on hold", "locked by prod.lock", "tag main"} {
		if why := whyKept(res, v[i]); !strings.Contains(why, want) {
			t.Errorf("version %d is kept because of %q, want %q", i+1, why, want)
		}
	}
	opts.Force = true
	if diff := cmp.Diff(map[string]string{v[0]: "due", v[1]: "due"}, unneeded(w.gc("acme/m", opts))); diff != "" {
		t.Errorf("with force: %s", diff)
	}
}

func TestGCKeepsWhatAnIndexLists(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two")
	w.pushIndex("acme/m", "all", v[0])
	opts := hub.GCOptions{Rules: gcRules(func(r *hub.GCRules) { r.Last, r.Grace = 1, 0 })}
	if why := whyKept(w.gc("acme/m", opts), v[0]); !strings.Contains(why, "listed by the index") {
		t.Errorf("kept because of %q", why)
	}
}

// A registry that lets nobody delete is told before anything is changed.
func TestGCWithoutDelete(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two")
	w.srv.Reset()
	w.srv.Add(testreg.Rule{Method: http.MethodDelete, Do: testreg.Status(http.StatusMethodNotAllowed, nil, "")})
	_, err := w.GC(t.Context(), w.ref("acme/m"), hub.GCOptions{Run: true, Rules: gcRules(func(r *hub.GCRules) { r.Last, r.Grace = 1, 0 })})
	wantErr(t, err, hub.ErrNoDelete)
	wantErr(t, err, remote.ErrProtocol)
	if writes := slices.DeleteFunc(w.writes(), func(s string) bool { return strings.HasPrefix(s, "DELETE") }); len(writes) > 0 {
		t.Errorf("it wrote: %v", writes)
	}
	if _, err := w.Resolve(t.Context(), w.ref("acme/m@"+v[0])); err != nil {
		t.Error(err)
	}
}

// A run that is stopped leaves a version that the next one deletes.
func TestGCGoesOn(t *testing.T) {
	w := newWorld(t)
	v := w.pushed("acme/m:main", "one", "two")
	w.srv.Add(testreg.Rule{Method: http.MethodDelete, Path: v[0], To: 1, Do: testreg.Status(http.StatusForbidden, nil, "")})
	opts := hub.GCOptions{Run: true, Rules: gcRules(func(r *hub.GCRules) { r.Last, r.Grace = 1, 0 })}
	if _, err := w.GC(t.Context(), w.ref("acme/m"), opts); err == nil {
		t.Fatal("it was not stopped")
	}
	if res := w.gc("acme/m", opts); res.Deleted != 1 || w.digestOf("acme/m", v[0]) != "" {
		t.Errorf("the next run deleted %d", res.Deleted)
	}
}

func TestParseDays(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "30d": 720 * time.Hour, "12h": 12 * time.Hour} {
		if got, err := hub.ParseDays(s); got != want || err != nil {
			t.Errorf("ParseDays(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "d", "-1d", "1", "1w", "99999999d", "1d2h", "1.5d"} {
		if got, err := hub.ParseDays(s); err == nil {
			t.Errorf("ParseDays(%q) = %s", s, got)
		}
	}
}
