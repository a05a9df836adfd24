package hub_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// Notes lead to another registry, also where nothing lists repositories, and a
// note is believed no further than the version that it names.
func TestAnnounce(t *testing.T) {
	w, far := newWorld(t), testreg.New(t, testreg.Options{})
	relatives(w)
	elsewhere, err := ref.Parse(far.Host + "/labs/tuned:v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Push(t.Context(), dir(t, files{"model.safetensors": tensorFile(8, 2)}), elsewhere, hub.PushOptions{Inputs: []hub.Input{{Reference: w.ref("acme/base:v1")}}}); err != nil {
		t.Fatal(err)
	}
	for _, made := range []bool{true, false} {
		res, err := w.Announce(t.Context(), elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		want := []hub.AnnouncedBase{{Reference: w.srv.Host + "/acme/base:v1", Digest: w.digestOf("acme/base", "v1"), Relation: lineage.Finetune, Made: made}}
		if diff := cmp.Diff(want, res.Bases); diff != "" {
			t.Error(diff)
		}
	}
	// Notes that lie: of a version that is of nothing, one that is not there, and none.
	subject, _ := w.manifest("acme/base", "v1")
	for _, note := range []string{
		w.srv.Host + "/acme/tickets:v7@" + w.digestOf("acme/tickets", "v7"), w.srv.Host + "/acme/gone@sha256:" + strings.Repeat("0", 64),
		w.srv.Host + "/acme/tuned:v1", "\x1b[31m", "",
	} {
		w.referrer("acme/base", "application/vnd.modelreg.derived-by.v1", map[string]string{"dev.modelreg.derived-by": note}, subject, []byte("{}"))
	}

	far.Reset()
	res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true})
	got := w.drawn(res)[:3]
	want := []string{
		"acme/odd:v1 finetune of acme/tuned:v1: contradicted",
		"acme/tuned:v1 finetune of acme/base:v1: checked",
		far.Host + "/labs/tuned:v1 finetune of acme/base:v1: checked",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(res.Edges) != 3 {
		t.Errorf("%d edges: %s", len(res.Edges), diff)
	}
	if n := len(far.Requests()); n > 12 { // the note's, what is attached, and the headers
		t.Errorf("%d requests for one version elsewhere", n)
	}

	w.srv.Add(testreg.Rule{Path: "_catalog", Do: testreg.Status(http.StatusNotFound, nil, "")})
	res = w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true})
	if len(res.Edges) != 1 || !slices.ContainsFunc(res.Warnings, func(l hub.LineageWarning) bool {
		return l.Kind == "unread" && strings.Contains(l.Message, "what has been announced is shown")
	}) {
		t.Errorf("without a list of repositories: %v", w.drawn(res))
	}
	_, err = w.Lineage(t.Context(), w.ref("acme/odd:v1"), hub.LineageOptions{Down: true})
	if err == nil || !strings.Contains(err.Error(), "name repositories to look in") {
		t.Errorf("without a list of repositories and without notes: %v", err)
	}
	_, err = w.GC(t.Context(), w.ref("acme/base"), hub.GCOptions{In: []string{w.srv.Host + "/acme"}})
	if err == nil || !strings.Contains(err.Error(), "name repositories to look in") {
		t.Errorf("garbage, without a list of repositories: %v", err)
	}
	if res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true, In: []string{w.srv.Host + "/acme/tuned/"}}); len(res.Edges) != 2 {
		t.Errorf("a repository that is named: %v", w.drawn(res))
	}
}

// A push can announce what it made; that it cannot be told fails no push.
func TestPushAnnounces(t *testing.T) {
	w := newWorld(t)
	w.made("acme/base:v1", files{"notes.txt": "base"})
	push := func(name string, inputs ...hub.Input) *hub.PushResult {
		t.Helper()
		res, err := w.Push(t.Context(), dir(t, files{"notes.txt": name}), w.ref(name), hub.PushOptions{Inputs: inputs, Announce: true})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	base := hub.Input{Relation: lineage.Finetune, Reference: w.ref("acme/base:v1")}
	for _, made := range []bool{true, false} {
		res := push("far/tuned:v1", base)
		want := []hub.AnnouncedBase{{Reference: w.srv.Host + "/acme/base:v1", Digest: w.digestOf("acme/base", "v1"), Relation: lineage.Finetune, Made: made}}
		if diff := cmp.Diff(want, res.Announced); diff != "" {
			t.Error(diff)
		}
	}
	if res := w.lineage("acme/base:v1", hub.LineageOptions{Down: true, NoCheck: true}); len(res.Edges) != 1 || res.Edges[0].Learnt != hub.LearntAnnounced {
		t.Errorf("found: %+v", res.Edges)
	}
	if res := push("far/alone:v1"); len(res.Announced) != 0 || !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.HasPrefix(n, "nothing to announce") }) {
		t.Errorf("without a base: %+v", res)
	}
	w.srv.Add(testreg.Rule{Method: "POST,PUT,PATCH", Path: "/acme/base/", Do: testreg.Status(http.StatusForbidden, nil, "")})
	if res := push("far/second:v1", base); len(res.Announced) != 1 || res.Announced[0].Problem == "" || w.digestOf("far/second", "v1") != res.Digest {
		t.Errorf("where nobody may write: %+v", res)
	}
}

func TestAnnounceRefused(t *testing.T) {
	w := newWorld(t)
	relatives(w)
	_, err := w.Announce(t.Context(), w.ref("acme/base:v1"))
	wantErr(t, err, hub.ErrUsage)

	w.srv.Add(testreg.Rule{Method: "POST,PUT,PATCH", Path: "/acme/base/", Do: testreg.Status(http.StatusForbidden, nil, "")})
	res, err := w.Announce(t.Context(), w.ref("acme/tuned:v1")) // the dataset can be told
	if err != nil || len(res.Bases) != 2 || res.Bases[0].Problem == "" || !res.Bases[1].Made {
		t.Errorf("Announce = %+v, %v", res, err)
	}
	w.made("acme/second:v1", files{"notes.txt": "x"}, hub.Input{Reference: w.ref("acme/base:v1")})
	_, err = w.Announce(t.Context(), w.ref("acme/second:v1"))
	wantErr(t, err, remote.ErrForbidden)
}
