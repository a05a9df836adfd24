package hub_test

import (
	"errors"
	"strings"
	"testing"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// whole says what became of org/m as a whole.
func (w *world) whole(s record.State) {
	w.t.Helper()
	_, err := hub.New(hub.Options{Remote: w.client}).SetRepositoryState(w.t.Context(), w.ref("org/m"), nil,
		hub.StateChange{State: s, Reason: "old", Replacement: w.srv.Host + "/org/new"})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestRepositoryDeprecated(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/m:v1", "one")
	w.whole(record.Deprecated)
	strict := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Strict: true})
	for _, ref := range []string{"org/m:v1", "org/m@" + v1.Digest} {
		for name := range w.uses(w.Hub) {
			fresh := hub.New(hub.Options{Remote: w.client, Warn: w.warn})
			w.warned()
			if err := w.uses(fresh)[name](ref); err != nil {
				t.Errorf("%s %s: %v", name, ref, err)
			}
			if got := w.warned(); strings.Count(got, "/org/m was deprecated") != 1 || !strings.Contains(got, "use "+w.srv.Host+"/org/new") {
				t.Errorf("%s %s warns %q", name, ref, got)
			}
			wantErr(t, w.uses(strict)[name](ref), hub.ErrDeprecated)
		}
	}
	fresh := hub.New(hub.Options{Remote: w.client, Warn: w.warn})
	if res, err := fresh.Inspect(t.Context(), w.ref("org/m:v1")); err != nil || res.Status != nil ||
		res.Repository == nil || res.Repository.State != record.Deprecated || res.Repository.Replacement == "" {
		t.Errorf("Inspect = %+v, %v", res, err)
	}
	w.push("org/m:v2", "two") // it is not closed
	w.whole(record.Active)
	again := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Strict: true})
	if _, err := again.Resolve(t.Context(), w.ref("org/m:v1")); err != nil {
		t.Errorf("after it was restored: %v", err)
	}
}

// A policy says what a deprecated repository means.
func TestRepositoryDeprecatedByPolicy(t *testing.T) {
	for rule, want := range map[string]error{
		"deprecated: refuse": hub.ErrDeprecated, "deprecated: warn": nil, "deprecated: allow": nil, "yanked: refuse": nil,
	} {
		t.Run(rule, func(t *testing.T) {
			w := newWorld(t)
			w.push("org/m:v1", "one")
			w.whole(record.Deprecated)
			p, err := policy.Parse([]byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: p
  annotations:
    policy.modelreg.dev/model: "` + rule + `"
spec:
  images: [{glob: "` + w.srv.Host + `/org/m"}]
  authorities: [{name: all, static: {action: pass}}]
`))
			if err != nil {
				t.Fatal(err)
			}
			h := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Rules: rules(hub.Rules{Policies: []*policy.Policy{p}})})
			w.warned()
			_, err = h.Resolve(t.Context(), w.ref("org/m:v1"))
			wantErr(t, err, want)
			if warned := strings.Contains(w.warned(), "was deprecated"); warned != (want == nil && rule != "deprecated: allow") {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}

func TestRepositoryRetired(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/m:v1", "one")
	w.push("org/new:v1", "one")
	w.whole(record.Retired)
	fresh := func() *hub.Hub { return hub.New(hub.Options{Remote: w.client, Warn: w.warn}) }
	for name, use := range w.uses(fresh()) {
		for _, ref := range []string{"org/m:v1", "org/m:v9"} {
			err := use(ref)
			wantErr(t, err, hub.ErrRetired)
			if e, ok := errors.AsType[*hub.StateError](err); !ok || e.Replacement != w.srv.Host+"/org/new" || e.Reason != "old" {
				t.Errorf("%s %s: %v", name, ref, err)
			}
		}
		w.warned()
		if err := use("org/m@" + v1.Digest); err != nil {
			t.Errorf("%s by digest: %v", name, err)
		}
		if got := w.warned(); !strings.Contains(got, "was retired") {
			t.Errorf("%s warns %q", name, got)
		}
	}
	w.srv.Reset()
	_, err := fresh().Push(t.Context(), dir(t, files{"notes.txt": "two"}), w.ref("org/m:v2"), hub.PushOptions{})
	wantErr(t, err, hub.ErrRetired)
	_, err = fresh().Tag(t.Context(), w.ref("org/m:v1"), "v2")
	wantErr(t, err, hub.ErrRetired)
	_, err = fresh().Copy(t.Context(), w.ref("org/new:v1"), w.ref("org/m:v2"), hub.CopyOptions{})
	wantErr(t, err, hub.ErrRetired)
	for _, r := range w.srv.Requests() {
		if r.Method == "PATCH" || r.Method == "PUT" && strings.Contains(r.Path, "/manifests/v2") {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
}

// A retired name that has moved leads on for what is not there any more.
func TestRetiredAndMoved(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	v2 := w.push("org/new:v2", "two")
	w.says(func(r *record.Record) {
		r.Status, r.Redirect = record.Status{State: record.Retired}, w.srv.Host+"/org/new"
	})
	fresh := hub.New(hub.Options{Remote: w.client, Warn: w.warn})
	if res, err := fresh.Resolve(t.Context(), w.ref("org/m:v2")); err != nil || res.Digest != v2.Digest {
		t.Errorf("Resolve = %+v, %v", res, err)
	}
	_, err := fresh.Resolve(t.Context(), w.ref("org/m:v1"))
	if e, ok := errors.AsType[*hub.StateError](err); !ok || e.Replacement != w.srv.Host+"/org/new" {
		t.Errorf("error = %v, want one that says where it went", err)
	}
	w.says(func(r *record.Record) { r.Status = record.Status{} })
	_, err = hub.New(hub.Options{Remote: w.client}).Push(t.Context(), dir(t, files{"notes.txt": "three"}), w.ref("org/m:v3"), hub.PushOptions{})
	wantErr(t, err, hub.ErrRetired)
}

// What became of a repository is one request, beside that for the version and once
// however often the record is needed.
func TestRepositoryStateCosts(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.publish(alice())
	w.state("org/m:v1", alice(), record.Deprecated, "slow")
	w.whole(record.Deprecated)
	for name, use := range map[string]func(*hub.Hub) error{
		"resolve": func(h *hub.Hub) error { _, err := h.Resolve(t.Context(), w.ref("org/m:v1")); return err },
		"without a tag": func(h *hub.Hub) error {
			_, err := h.Resolve(t.Context(), w.ref("org/m"))
			return err
		},
		"inspect": func(h *hub.Hub) error { _, err := h.Inspect(t.Context(), w.ref("org/m:v1")); return err },
		"log":     func(h *hub.Hub) error { _, err := h.Log(t.Context(), w.ref("org/m:v1"), hub.LogOptions{}); return err },
		"ls":      func(h *hub.Hub) error { _, err := h.Versions(t.Context(), w.ref("org/m"), false); return err },
	} {
		w.srv.Reset()
		if err := use(hub.New(hub.Options{Remote: w.client, Warn: w.warn})); err != nil && name != "without a tag" {
			t.Errorf("%s: %v", name, err)
		}
		n := 0
		for _, r := range w.srv.Requests() {
			if strings.HasSuffix(r.Path, "/manifests/"+record.Tag) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s reads the record %d times", name, n)
		}
	}
}

// A record that cannot be read is told of, and no reason to refuse.
func TestRepositoryStateUnknown(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.srv.Add(testreg.Rule{Path: "/manifests/" + record.Tag, Do: testreg.Status(403, nil, "")})
	fresh := hub.New(hub.Options{Remote: w.client, Warn: w.warn})
	if _, err := fresh.Resolve(t.Context(), w.ref("org/m:v1")); err != nil {
		t.Error(err)
	}
	if got := w.warned(); !strings.Contains(got, "is not known") {
		t.Errorf("warnings = %q", got)
	}
	_, err := hub.New(hub.Options{Remote: w.client, Strict: true}).Resolve(t.Context(), w.ref("org/m:v1"))
	if err == nil {
		t.Error("who is strict takes it all the same")
	}
	_, err = fresh.Resolve(t.Context(), w.ref("org/m:v9"))
	wantErr(t, err, errdef.ErrNotFound)
}
