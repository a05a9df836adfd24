package hub_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
)

// rules makes tags of org/m immutable or protected.
func (w *world) says(change func(*record.Record)) *hub.RecordResult {
	w.t.Helper()
	res, err := w.SetRecord(w.t.Context(), w.ref("org/m"), nil, func(r *record.Record) error { change(r); return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// logTags are the tags of logs in org/m.
func (w *world) logTags() []string {
	w.t.Helper()
	var out []string
	for tag, err := range w.repo("org/m").Tags(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasPrefix(tag, "_l") {
			out = append(out, tag)
		}
	}
	return out
}

func TestRecord(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:dev", "one")
	if _, err := w.Resolve(t.Context(), w.ref("org/m")); err == nil {
		t.Error("latest resolves, and nobody set it")
	}
	first := w.says(func(r *record.Record) { r.DefaultBranch, r.Immutable = "dev", []string{"v*"} })
	if !first.Changed || first.Digest == "" {
		t.Errorf("SetRecord = %+v, want one that changed", first)
	}
	again := w.says(func(r *record.Record) { r.DefaultBranch = "dev" })
	if again.Changed || again.Digest != first.Digest {
		t.Errorf("the same record again = %+v", again)
	}
	other := hub.New(hub.Options{Remote: w.client})
	w.srv.Reset()
	res, err := other.Resolve(t.Context(), w.ref("org/m"))
	if err != nil || res.Tag != "dev" {
		t.Fatalf("Resolve = %+v, %v; want the default branch", res, err)
	}
	if _, err := other.Resolve(t.Context(), w.ref("org/m")); err != nil {
		t.Fatal(err)
	}
	var reads int
	for _, r := range w.srv.Requests() {
		if strings.HasSuffix(r.Path, "/manifests/"+record.Tag) || strings.Contains(r.Path, "/blobs/") {
			reads++
		}
	}
	if reads != 1 {
		t.Errorf("the record was read with %d requests for two lookups, want 1", reads)
	}
	pushed, err := w.Push(t.Context(), dir(t, files{"notes.txt": "two"}), w.ref("org/m"), hub.PushOptions{})
	if err != nil || pushed.Tag != "dev" {
		t.Errorf("Push = %+v, %v; want it on the default branch", pushed, err)
	}
}

func TestRecordOfTwoWriters(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	_, err := w.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error {
		other := hub.New(hub.Options{Remote: w.client})
		_, err := other.SetRecord(t.Context(), w.ref("org/m"), nil, func(r *record.Record) error { r.Notice = "theirs"; return nil })
		r.Notice = "ours"
		return err
	})
	wantErr(t, err, hub.ErrConflict)
	if res, err := w.Record(t.Context(), w.ref("org/m")); err != nil || res.Record.Notice != "theirs" {
		t.Errorf("Record = %+v, %v; want what was there first", res, err)
	}
}

func TestImmutableTags(t *testing.T) {
	w := newWorld(t)
	one := w.push("org/m:v1", "one")
	w.push("org/m:main", "two")
	w.says(func(r *record.Record) { r.Immutable = []string{"v*"} })
	_, err := w.Tag(t.Context(), w.ref("org/m:main"), "v1")
	wantErr(t, err, hub.ErrImmutable)
	wantErr(t, err, hub.ErrConflict)
	_, err = w.Push(t.Context(), dir(t, files{"notes.txt": "three"}), w.ref("org/m:v1"), hub.PushOptions{})
	wantErr(t, err, hub.ErrImmutable)
	if got := w.digestOf("org/m", "v1"); got != one.Digest {
		t.Errorf("v1 is at %s", got)
	}
	if _, err := w.Push(t.Context(), dir(t, files{"notes.txt": "one"}), w.ref("org/m:v1"), hub.PushOptions{}); err != nil {
		t.Errorf("a push that changes nothing: %v", err)
	}
	if _, err := w.Tag(t.Context(), w.ref("org/m:main"), "v2"); err != nil {
		t.Errorf("a release that is new: %v", err)
	}
}

func TestProtectedTagsAreLogged(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.push("org/m:v2", "two")
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	for _, v := range []string{"v1", "v2", "v2"} {
		if _, err := w.Tag(t.Context(), w.ref("org/m:"+v), "prod", "free"); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.logTags(); len(got) != 3 { // two moves, and the newest
		t.Errorf("tags of logs: %v", got)
	}
	list, err := w.Versions(t.Context(), w.ref("org/m"), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tagsOf(list) {
		if strings.HasPrefix(tag, "_") {
			t.Errorf("%s is shown to people", tag)
		}
	}
	if _, err := w.Tag(t.Context(), w.ref("org/m:v1"), "_log.prod"); err == nil {
		t.Error("a tag of the log can be set by hand")
	}
}

// Somebody else moves the alias between our looks at it.
func TestProtectedTagsOfTwoMovers(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.push("org/m:v2", "two")
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	var once atomic.Bool
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/prod$", Do: func(x testreg.Exchange) {
		if once.CompareAndSwap(false, true) {
			other := hub.New(hub.Options{Remote: w.client})
			if _, err := other.Tag(t.Context(), w.ref("org/m:v2"), "prod"); err != nil && !strings.Contains(err.Error(), "another writer") {
				t.Error(err)
			}
		}
		x.Pass(x.W)
	}})
	_, err := w.Tag(t.Context(), w.ref("org/m:v1"), "prod")
	wantErr(t, err, hub.ErrConflict)
	if got := w.logTags(); len(got) != 3 {
		t.Errorf("tags of logs: %v, want both entries and the newest", got)
	}
}

func TestMoveWhenTheLogCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	w.srv.Add(testreg.Rule{Method: "PUT", Path: "/manifests/_l", Do: testreg.Status(http.StatusForbidden, nil, "")})
	if _, err := w.Tag(t.Context(), w.ref("org/m:v1"), "prod"); err == nil {
		t.Error("an alias was moved without its log")
	}
	if _, err := w.Resolve(t.Context(), w.ref("org/m:prod")); err == nil {
		t.Error("prod is set")
	} else {
		wantErr(t, err, errdef.ErrNotFound)
	}
}

// A registry may list a tag before it can be read.
func TestMoveWhileAnEntryIsWritten(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.push("org/m:v2", "two")
	w.says(func(r *record.Record) { r.Protected = []string{"prod"} })
	if _, err := w.Tag(t.Context(), w.ref("org/m:v1"), "prod"); err != nil {
		t.Fatal(err)
	}
	desc, raw := w.manifest("org/m", "v1")
	if err := w.repo("org/m").PushManifest(t.Context(), desc, raw, record.EntryTag("prod", 2, desc.Digest)); err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Method: "GET", Path: "/manifests/_l.00000002", Do: testreg.Status(404, nil, "")})
	_, err := w.Tag(t.Context(), w.ref("org/m:v2"), "prod")
	wantErr(t, err, hub.ErrConflict)
}
