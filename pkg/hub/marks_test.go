package hub_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
)

// withdrawn is a branch of four versions: plain, signed, yanked by alice, and yanked
// by a stranger.
func withdrawn(t *testing.T, opts testreg.Options) *world {
	t.Helper()
	w := newWorldWith(t, opts)
	for _, tag := range []string{"plain", "signed", "yanked", "spited"} {
		w.commit("org/m:main", tag, hub.Committing{Message: tag})
		if _, err := w.Tag(t.Context(), w.ref("org/m:main"), tag); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Sign(t.Context(), w.ref("org/m:signed"), alice().signer, signing.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	w.state("org/m:yanked", alice(), record.Yanked, "leaked data")
	w.state("org/m:spited", stranger(), record.Deprecated, "out of spite")
	return w
}

// marked lists versions in three ways, and returns for each what became of them.
func (w *world) marked(h *hub.Hub) map[string]map[string]record.State {
	w.t.Helper()
	out := map[string]map[string]record.State{"ls": {}, "tag list": {}, "log": {}}
	note := func(list, tag string, s *hub.State) {
		if s != nil && tag != "main" {
			out[list][tag] = s.State
		}
	}
	versions, err := h.Versions(w.t.Context(), w.ref("org/m"), false)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range versions {
		note("ls", v.Tag, v.Status)
	}
	tags, err := h.ListTags(w.t.Context(), w.ref("org/m"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, tag := range tags {
		note("tag list", tag.Tag, tag.Status)
	}
	log, err := h.Log(w.t.Context(), w.ref("org/m:main"), hub.LogOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range log.Entries {
		note("log", e.Message, e.Status)
	}
	return out
}

// Lists mark the versions that whoever pulls them is warned of, or refused.
func TestMarks(t *testing.T) {
	for name, opts := range map[string]testreg.Options{"with the API": {}, "without the API": {NoReferrers: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withdrawn(t, opts)
			anybody := map[string]record.State{"yanked": record.Yanked, "spited": record.Deprecated}
			want := map[string]map[string]record.State{"ls": anybody, "tag list": anybody, "log": anybody}
			if diff := cmp.Diff(want, w.marked(hub.New(hub.Options{Remote: w.client}))); diff != "" {
				t.Errorf("where nobody is named: %s", diff)
			}
			w.publish(alice())
			hers := map[string]record.State{"yanked": record.Yanked}
			want = map[string]map[string]record.State{"ls": hers, "tag list": hers, "log": hers}
			if diff := cmp.Diff(want, w.marked(hub.New(hub.Options{Remote: w.client}))); diff != "" {
				t.Errorf("where alice is named: %s", diff)
			}
			w.state("org/m:yanked", alice(), record.Active, "")
			want = map[string]map[string]record.State{"ls": {}, "tag list": {}, "log": {}}
			if diff := cmp.Diff(want, w.marked(hub.New(hub.Options{Remote: w.client}))); diff != "" {
				t.Errorf("restored: %s", diff)
			}
		})
	}
}

// What is asked for the marks alone: a list for each version that something is
// attached to, the record, and the statements. A log has read the lists anyway.
func TestRequestsOfMarks(t *testing.T) {
	w := withdrawn(t, testreg.Options{NoReferrers: true})
	w.publish(alice())
	count := func(part string) (n int) {
		for _, r := range w.srv.Requests() {
			if strings.Contains(r.Path, part) {
				n++
			}
		}
		return n
	}
	tests := map[string]struct {
		list  func(h *hub.Hub) error
		lists int
	}{
		"ls":       {func(h *hub.Hub) error { _, err := h.Versions(t.Context(), w.ref("org/m"), false); return err }, 3},
		"tag list": {func(h *hub.Hub) error { _, err := h.ListTags(t.Context(), w.ref("org/m")); return err }, 3},
		"log": {func(h *hub.Hub) error {
			_, err := h.Log(t.Context(), w.ref("org/m:main"), hub.LogOptions{})
			return err
		}, 3 + 2}, // again for what is stated
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.srv.Reset()
			if err := tt.list(hub.New(hub.Options{Remote: w.client})); err != nil {
				t.Fatal(err)
			}
			if n := count("/manifests/sha256-"); n != tt.lists {
				t.Errorf("%d lists of what is attached were read, want %d", n, tt.lists)
			}
			if n := count("/manifests/" + record.Tag); n != 1 {
				t.Errorf("the record was read %d times", n)
			}
		})
	}
}

// A registry that does not tell what became of versions lists them all the same.
func TestMarksUnknown(t *testing.T) {
	w := withdrawn(t, testreg.Options{})
	w.srv.Add(testreg.Rule{Path: "/manifests/sha256-", Do: testreg.Status(403, nil, "")})
	list, err := w.Versions(t.Context(), w.ref("org/m"), false)
	if err != nil || len(list) != 5 {
		t.Errorf("Versions = %d, %v; want five", len(list), err)
	}
	if got := w.warned(); strings.Count(got, "withdrawn is not known") != 1 || !strings.Contains(got, "4 versions were") {
		t.Errorf("warnings = %q, want one of four versions", got)
	}
	strict := hub.New(hub.Options{Remote: w.client, Strict: true})
	if _, err := strict.Versions(t.Context(), w.ref("org/m"), false); err == nil {
		t.Error("who is strict gets a list that may lack marks")
	}
}
