package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const (
	bob      = "bob@example.com"
	provider = "https://accounts.example"
)

// yankedBy attaches to a version of org/m that somebody with a certificate has
// withdrawn it.
func (w *world) yankedBy(d *testsigstore.Deployment, identity, version string, since time.Time) {
	w.t.Helper()
	said, err := (&record.Status{State: record.Yanked, Reason: "by " + identity, Since: since, Seq: 1}).Predicate()
	if err != nil {
		w.t.Fatal(err)
	}
	desc, _ := w.manifest("org/m", version)
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":%q}}],"predicateType":%q,"predicate":%s}`,
		desc.Digest.Encoded(), record.StatusType, said)
	about := signing.Target{Repository: w.srv.Host + "/org/m", Descriptor: desc}
	bundle := d.Bundle(identity, provider, payload, testsigstore.BundleOptions{Log: testsigstore.RekorV1})
	if _, err := signing.AttachDetached(w.t.Context(), w.repo("org/m"), about, bundle, record.StatusType); err != nil {
		w.t.Fatal(err)
	}
}

// Publishers whose certificates nobody can check here are not left out unheard.
func TestStatusByUncheckedPublishers(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	key := record.Party{Key: string(alice().signer.Public().PEM())}
	identity := record.Party{Identity: bob, Issuer: provider}
	tests := map[string]struct {
		publishers []record.Party
		by         string // yanked by them, with a certificate
		then       func(w *world)
		rooted     bool
		yanked     bool
		told       bool // that certificates cannot be checked
	}{
		"key and identity":             {publishers: []record.Party{key, identity}, by: bob, yanked: true, told: true},
		"key and identity, with roots": {publishers: []record.Party{key, identity}, by: bob, rooted: true, yanked: true},
		"somebody else":                {publishers: []record.Party{key, identity}, by: "eve@example.com", told: true},
		"identity alone":               {publishers: []record.Party{identity}, by: bob, yanked: true, told: true},
		"identity alone, not by them":  {publishers: []record.Party{identity}, by: "eve@example.com", told: true},
		"keys alone":                   {publishers: []record.Party{key}, by: bob},
		"taken back by the key": {
			publishers: []record.Party{key, identity}, by: bob, told: true,
			then: func(w *world) { w.state("org/m:v1", alice(), record.Active, "") },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.push("org/m:v1", "one")
			w.says(func(r *record.Record) { r.Publishers = tt.publishers })
			w.yankedBy(d, tt.by, "v1", time.Now().Add(-time.Hour).UTC().Truncate(time.Second))
			if tt.then != nil {
				tt.then(w)
			}
			w.warned()
			opts := hub.Options{Remote: w.client, Warn: w.warn}
			if tt.rooted {
				opts.Rules = func(context.Context) (hub.Rules, error) {
					return hub.Rules{Roots: func(string) (*signing.Roots, error) { return signing.ParseTrustedRoot(d.TrustedRoot()) }}, nil
				}
			}
			h := hub.New(opts)
			for range 2 {
				if _, err := h.Resolve(t.Context(), w.ref("org/m:v1")); errors.Is(err, policy.ErrYanked) != tt.yanked || err != nil && !tt.yanked {
					t.Errorf("Resolve = %v, want it yanked: %v", err, tt.yanked)
				}
			}
			want := 0
			if tt.told {
				want = 1
			}
			if got := w.warned(); strings.Count(got, "no trusted root is known here") != want {
				t.Errorf("warnings = %q, want %d of the root", got, want)
			}
		})
	}
}

// Whoever makes a version of one that was withdrawn is told.
func TestMadeOfWhatWasYanked(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "one")
	inputs := []hub.Input{{Reference: w.ref("org/m:v1")}}
	w.srv.Reset()
	push := func(strict bool) error {
		_, err := w.Push(t.Context(), dir(t, files{"notes.txt": "tuned"}), w.ref("org/tuned:v1"), hub.PushOptions{Inputs: inputs, Strict: strict})
		return err
	}
	if err := push(true); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, r := range w.srv.Requests() {
		if strings.Contains(r.Path, "/org/m/manifests/sha256-") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the status of the base costs %d requests, want 1", asked)
	}
	w.state("org/m:v1", alice(), record.Yanked, "leaked data")
	w.warned()
	if err := push(false); err != nil {
		t.Error(err)
	}
	if got := w.warned(); !strings.Contains(got, "made of what is not to be used") || !strings.Contains(got, "leaked data; use ghcr.io/org/m:v9") {
		t.Errorf("warnings = %q", got)
	}
	err := push(true)
	wantErr(t, err, policy.ErrYanked)
	wantErr(t, err, hub.ErrStrict)
}
