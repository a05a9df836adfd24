package hub_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// state says something of a version of org/m.
func (w *world) state(ref string, p party, s record.State, reason string) *hub.StateResult {
	w.t.Helper()
	res, err := w.SetState(w.t.Context(), w.ref(ref), p.signer, hub.StateChange{State: s, Reason: reason, Replacement: "ghcr.io/org/m:v9"})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// publish names those whose statements count.
func (w *world) publish(parties ...party) {
	w.says(func(r *record.Record) {
		r.Publishers = nil
		for _, p := range parties {
			r.Publishers = append(r.Publishers, record.Party{Key: string(p.signer.Public().PEM())})
		}
	})
}

// uses are the ways to use a version that ask what became of it.
func (w *world) uses(h *hub.Hub) map[string]func(ref string) error {
	return map[string]func(string) error{
		"resolve": func(s string) error { _, err := h.Resolve(w.t.Context(), w.ref(s)); return err },
		"pull": func(s string) error {
			_, err := h.Pull(w.t.Context(), w.ref(s), w.t.TempDir(), hub.PullOptions{})
			return err
		},
		"cat":  func(s string) error { return h.Cat(w.t.Context(), w.ref(s), "notes.txt", io.Discard) },
		"lock": func(s string) error { _, err := h.Lock(w.t.Context(), w.ref(s), hub.LockOptions{}); return err },
	}
}

func TestYanked(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/m:v1.0.0", "one")
	v2 := w.push("org/m:v1.1.0", "two")
	w.state("org/m:v1.1.0", alice(), record.Yanked, "leaked data")
	for name, use := range w.uses(w.Hub) {
		t.Run(name, func(t *testing.T) {
			err := use("org/m:v1.1.0")
			wantErr(t, err, policy.ErrYanked)
			if e, ok := errors.AsType[*hub.StateError](err); !ok || e.Reason != "leaked data" || e.Replacement == "" || e.Since.IsZero() {
				t.Errorf("error = %+v, want one with reason, date and replacement", err)
			}
			w.warned()
			if err := use("org/m@" + v2.Digest); err != nil {
				t.Errorf("by digest: %v", err)
			}
			if got := w.warned(); !strings.Contains(got, "WITHDRAWN") || !strings.Contains(got, "leaked data") {
				t.Errorf("warnings = %q", got)
			}
			if err := use(`org/m:"^1"`); err != nil {
				t.Errorf("a range: %v", err)
			}
			if got := w.warned(); !strings.Contains(got, "not taken for") {
				t.Errorf("warnings = %q", got)
			}
		})
	}
	res, err := w.Resolve(t.Context(), w.ref(`org/m:"^1"`))
	if err != nil || res.Digest != v1.Digest {
		t.Errorf("the range is %+v, %v; want the version that was not yanked", res, err)
	}
	_, err = w.Resolve(t.Context(), w.ref(`org/m:">=1.1"`))
	wantErr(t, err, policy.ErrYanked)

	w.state("org/m:v1.1.0", alice(), record.Active, "it was not that one")
	for name, use := range w.uses(w.Hub) {
		if err := use("org/m:v1.1.0"); err != nil {
			t.Errorf("%s after it was restored: %v", name, err)
		}
	}
}

func TestDeprecated(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.state("org/m:v1", alice(), record.Deprecated, "slow")
	strict := hub.New(hub.Options{Remote: w.client, Warn: w.warn, Strict: true})
	for name, use := range w.uses(w.Hub) {
		w.warned()
		if err := use("org/m:v1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.warned(); !strings.Contains(got, "was deprecated") || !strings.Contains(got, "use ghcr.io/org/m:v9") {
			t.Errorf("%s warns %q", name, got)
		}
		wantErr(t, w.uses(strict)[name]("org/m:v1"), hub.ErrDeprecated)
	}
}

func TestStatusByWhom(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/m:v1", "one")
	w.state("org/m:v1", stranger(), record.Yanked, "out of spite")
	w.publish(alice())
	fresh := hub.New(hub.Options{Remote: w.client, Warn: w.warn})
	if _, err := fresh.Resolve(t.Context(), w.ref("org/m:v1")); err != nil {
		t.Errorf("a statement by somebody else counts: %v", err)
	}
	if res, err := fresh.Inspect(t.Context(), w.ref("org/m:v1")); err != nil || res.Status == nil || res.Status.Ignored != 1 {
		t.Errorf("Inspect = %+v, %v; want it to tell of the statement that does not count", res.Status, err)
	}
	_, err := fresh.SetState(t.Context(), w.ref("org/m:v1"), stranger().signer, hub.StateChange{State: record.Yanked})
	wantErr(t, err, hub.ErrUsage)

	w.state("org/m:v1", alice(), record.Yanked, "by the publisher")
	res, err := fresh.Inspect(t.Context(), w.ref("org/m@"+v1.Digest))
	if err != nil || res.Status.State != record.Yanked || res.Status.Signer == nil ||
		res.Status.Signer.KeyFingerprint != alice().signer.Public().Fingerprint() {
		t.Errorf("Inspect = %+v, %v; want it yanked by the publisher", res.Status, err)
	}
	// Those whom the user trusts are heard too, and the worse decides.
	_, err = fresh.Pull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{Trust: stranger().trust})
	wantErr(t, err, policy.ErrYanked)
}

func TestSetStateAgain(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	first := w.state("org/m:v1", alice(), record.Yanked, "why")
	if !first.Changed || first.Statement == "" {
		t.Errorf("SetState = %+v", first)
	}
	if again := w.state("org/m:v1", alice(), record.Yanked, "why"); again.Changed {
		t.Errorf("the same again = %+v", again)
	}
	if restored := w.state("org/m:v1", alice(), record.Active, ""); !restored.Changed || restored.State.State != record.Active {
		t.Errorf("restored = %+v", restored)
	}
}

// What a pull of a version asks for because it may have been withdrawn.
func TestStatusCosts(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	fresh := hub.New(hub.Options{Remote: w.client})
	w.srv.Reset()
	if _, err := fresh.Pull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, r := range w.srv.Requests() {
		if strings.Contains(r.Path, "/sha256-") || strings.Contains(r.Path, "/referrers/") || strings.Contains(r.Path, record.Tag) {
			asked = append(asked, r.Method+" "+r.Path)
		}
	}
	if len(asked) != 2 {
		t.Errorf("requests: %v, want one for the version and one for the repository", asked)
	}
}

func TestStatusUnknown(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.srv.Add(testreg.Rule{Path: "/manifests/sha256-", Do: testreg.Status(403, nil, "")})
	if _, err := w.Resolve(t.Context(), w.ref("org/m:v1")); err != nil {
		t.Errorf("a registry that does not tell keeps from using it: %v", err)
	}
	if got := w.warned(); !strings.Contains(got, "whether it was withdrawn is not known") {
		t.Errorf("warnings = %q", got)
	}
	strict := hub.New(hub.Options{Remote: w.client, Strict: true})
	if _, err := strict.Resolve(t.Context(), w.ref("org/m:v1")); err == nil {
		t.Error("who is strict takes it all the same")
	}
}

func TestTombstone(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/m:v1", "one")
	if err := w.Bury(t.Context(), w.ref("org/m"), v1.Digest, hub.Burial{Reason: "licence", Replacement: "ghcr.io/org/m:v2", Author: "me"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Resolve(t.Context(), w.ref("org/m@"+v1.Digest)); err != nil {
		t.Errorf("a version that is still there: %v", err)
	}
	w.srv.Add(testreg.Rule{Path: "/manifests/" + v1.Digest, Do: testreg.Status(404, nil, "")})
	hex := strings.TrimPrefix(v1.Digest, "sha256:")
	for _, ref := range []string{"org/m@" + v1.Digest, "org/m:_k." + hex[:40]} {
		_, err := w.Resolve(t.Context(), w.ref(ref))
		wantErr(t, err, hub.ErrGone)
		if e, ok := errors.AsType[*hub.StateError](err); !ok || e.Reason != "licence" || e.Replacement == "" {
			t.Errorf("%s: error = %v", ref, err)
		}
	}
}

func TestRedirect(t *testing.T) {
	w := newWorld(t)
	v1 := w.push("org/new:v1", "one")
	w.push("org/m:v0", "zero")
	w.says(func(r *record.Record) { r.Redirect = w.srv.Host + "/org/new" })
	res, err := w.Resolve(t.Context(), w.ref("org/m:v1"))
	if err != nil || res.Digest != v1.Digest || res.Repository != w.srv.Host+"/org/new" {
		t.Fatalf("Resolve = %+v, %v", res, err)
	}
	if got := w.warned(); !strings.Contains(got, "has moved to") {
		t.Errorf("warnings = %q", got)
	}
	var out bytes.Buffer
	if err := w.Cat(t.Context(), w.ref("org/m@"+v1.Digest), "notes.txt", &out); err != nil || out.String() != "one" {
		t.Errorf("Cat = %q, %v", out.String(), err)
	}
	if res, err := w.Resolve(t.Context(), w.ref("org/m:v0")); err != nil || res.Repository != w.srv.Host+"/org/m" {
		t.Errorf("Resolve = %+v, %v; want what is still there", res, err)
	}
	_, err = w.Tag(t.Context(), w.ref("org/m:v1"), "prod")
	wantErr(t, err, errdef.ErrNotFound)
	if got := w.digestOf("org/new", "prod"); got != "" {
		t.Error("what was to be changed was changed elsewhere")
	}
}

// Whoever may push to a repository must not be able to send those who name a tag
// to another registry.
func TestRedirectToAnotherRegistry(t *testing.T) {
	w, there := newWorld(t), testreg.New(t, testreg.Options{})
	v1 := w.push("org/new:v1", "one")
	w.push("org/m:v0", "zero")
	if _, err := w.Copy(t.Context(), w.ref("org/new:v1"), hostRef(t, there.Host+"/org/m:v1"), hub.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	w.says(func(r *record.Record) { r.Redirect = there.Host + "/org/m" })
	_, err := w.Resolve(t.Context(), w.ref("org/m:v1"))
	wantErr(t, err, errdef.ErrNotFound)
	if err == nil || !strings.Contains(err.Error(), "in another registry") {
		t.Errorf("error = %v, want one that tells where it is", err)
	}
	if res, err := w.Resolve(t.Context(), w.ref("org/m@"+v1.Digest)); err != nil || res.Digest != v1.Digest {
		t.Errorf("by digest: %+v, %v", res, err)
	}
}

// A redirect is followed once.
func TestRedirectInACircle(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v0", "zero")
	w.push("org/new:v0", "zero")
	w.says(func(r *record.Record) { r.Redirect = w.srv.Host + "/org/new" })
	if _, err := w.SetRecord(t.Context(), w.ref("org/new"), nil, func(r *record.Record) error {
		r.Redirect = w.srv.Host + "/org/m"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Resolve(t.Context(), w.ref("org/m:v1"))
	wantErr(t, err, errdef.ErrNotFound)
}

// What was decided about the old name of a repository holds for what is found
// under the new one.
func TestRedirectIsNoWayAroundPolicies(t *testing.T) {
	w := newWorld(t)
	w.push("org/new:v1", "one")
	w.push("org/m:v0", "zero")
	w.says(func(r *record.Record) { r.Redirect = w.srv.Host + "/org/new" })
	doc := func(name, action string) string {
		return `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: ` + name + `}
spec:
  images: [{glob: "` + w.srv.Host + "/org/" + name + `"}]
  authorities: [{name: all, static: {action: ` + action + `}}]
`
	}
	p, err := policy.Parse([]byte(doc("m", "fail") + "---\n" + doc("new", "pass")))
	if err != nil {
		t.Fatal(err)
	}
	h := hub.New(hub.Options{Remote: w.client, Rules: rules(hub.Rules{Policies: []*policy.Policy{p}})})
	if _, err := h.Pull(t.Context(), w.ref("org/new:v1"), t.TempDir(), hub.PullOptions{}); err != nil {
		t.Errorf("under its own name: %v", err)
	}
	_, err = h.Pull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{})
	wantErr(t, err, policy.ErrRefused)
}

// A policy about statuses decides alone.
func TestStatusByPolicy(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	w.state("org/m:v1", alice(), record.Yanked, "why")
	p, err := policy.Parse([]byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: lax
  annotations:
    policy.modelreg.dev/model: "yanked: warn"
spec:
  images: [{glob: "` + w.srv.Host + `/org/m"}]
  authorities: [{name: all, static: {action: pass}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]hub.Rules{"a lax policy": {Policies: []*policy.Policy{p}}, "no verification": {Skip: true}} {
		h := hub.New(hub.Options{Remote: w.client, Rules: rules(opts)})
		if _, err := h.Pull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever may state something can date it at will: what is stated after it counts
// all the same, and that the date is odd is told.
func TestRestoreOfAStatementOfTheFuture(t *testing.T) {
	for name, since := range map[string]time.Time{"the last year": time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "a wrong clock": time.Now().AddDate(7, 0, 0)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.push("org/m:v1", "one")
			w.publish(alice())
			if _, err := w.SetState(t.Context(), w.ref("org/m:v1"), alice().signer, hub.StateChange{State: record.Yanked, Reason: "typo", Now: since}); err != nil {
				t.Fatal(err)
			}
			w.warned()
			_, err := w.Pull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{})
			wantErr(t, err, policy.ErrYanked)
			if got := w.warned(); !strings.Contains(got, "in the future") {
				t.Errorf("warnings: %s", got)
			}
			for _, state := range []record.State{record.Active, record.Deprecated, record.Active} {
				res, err := w.SetState(t.Context(), w.ref("org/m:v1"), alice().signer, hub.StateChange{State: state})
				if err != nil || res.State.State != state || !res.Changed {
					t.Fatalf("%s: %+v, %v", state, res, err)
				}
			}
			w.warned()
			if _, err := w.Pull(t.Context(), w.ref("org/m:v1"), t.TempDir(), hub.PullOptions{}); err != nil {
				t.Error(err)
			}
			if got := w.warned(); got != "" {
				t.Errorf("what was put right is still warned of: %s", got)
			}
		})
	}
}
