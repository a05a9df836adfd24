package signing_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

const rootFile, configFile = "trusted_root.json", "signing_config.v0.2.json"

// publishing is a repository that publishes the trusted root of a deployment,
// and this machine's view of it.
func publishing(t *testing.T, d *testsigstore.Deployment) (*testsigstore.TrustRepository, signing.TrustRepository) {
	t.Helper()
	published := testsigstore.NewTrustRepository(t)
	published.Publish(map[string][]byte{rootFile: d.TrustedRoot()}, time.Now().Add(time.Hour))
	return published, signing.TrustRepository{URL: published.URL, Root: published.Root(), Dir: t.TempDir()}
}

func mustUpdate(t *testing.T, r signing.TrustRepository) *signing.Published {
	t.Helper()
	p, err := r.Update(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a repository publishes is fetched once, kept, and needs no network after.
func TestTrustRepository(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	published := testsigstore.NewTrustRepository(t)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	files := map[string][]byte{rootFile: d.TrustedRoot(), configFile: d.SigningConfig(testsigstore.RekorV2)}
	published.Publish(files, until)
	r := signing.TrustRepository{URL: published.URL, Root: published.Root(), Dir: filepath.Join(t.TempDir(), "kept")}
	if p, err := r.Kept(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Kept before the first update = %+v, %v", p, err)
	}
	got := mustUpdate(t, r)
	if !bytes.Equal(got.TrustedRoot, files[rootFile]) || !bytes.Equal(got.SigningConfig, files[configFile]) || !got.Expires.Equal(until) || got.Repository != published.URL {
		t.Errorf("Update = %+v", got)
	}
	if raw, err := os.ReadFile(got.File); err != nil || !bytes.Equal(raw, files[rootFile]) {
		t.Errorf("kept in %s: %v", got.File, err)
	}
	asked := len(published.Asked())
	kept, err := signing.TrustRepository{URL: published.URL + "/", Dir: r.Dir, Transport: noNetwork{}}.Kept()
	if err != nil {
		t.Fatal(err)
	}
	kept.Repository = strings.TrimSuffix(kept.Repository, "/")
	if diff := cmp.Diff(got, kept); diff != "" {
		t.Errorf("Kept (-Update +Kept):\n%s", diff)
	}
	if now := len(published.Asked()); now != asked {
		t.Errorf("Kept asked for %d things", now-asked)
	}

	// The same again costs two requests: is there a newer root, and is this still
	// what is published.
	mustUpdate(t, r)
	if diff := cmp.Diff([]string{"/2.root.json", "/timestamp.json"}, published.Asked()[asked:]); diff != "" {
		t.Errorf("an update without news asks (-want +got):\n%s", diff)
	}

	// Signatures verify with what was kept.
	roots, err := signing.ParseTrustedRoot(kept.TrustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	fake, model := signedModel(t, d, testsigstore.BundleOptions{Log: testsigstore.RekorV2, Stamp: true})
	trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: issuer}}, Roots: roots}
	if _, err := signing.Verify(t.Context(), fake, model, trust); err != nil {
		t.Error(err)
	}
	var kinds []string
	for _, party := range roots.Parties() {
		if party.ID == "" || party.From.IsZero() {
			t.Errorf("party %+v", party)
		}
		kinds = append(kinds, party.Kind)
	}
	if diff := cmp.Diff([]string{"certificate-authority", "transparency-log", "timestamp-authority"}, kinds); diff != "" {
		t.Errorf("Parties (-want +got):\n%s", diff)
	}
}

// noNetwork fails every request.
type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no network")
}

// Keys are changed by those who hold them, and what they published before is
// followed to what they publish now, also when the repository no longer needs
// the root.json that was given.
func TestTrustRepositoryRotates(t *testing.T) {
	published, r := publishing(t, testsigstore.New(t, testsigstore.Options{}))
	next := testsigstore.New(t, testsigstore.Options{}).TrustedRoot()
	mustUpdate(t, r)
	for _, role := range []string{"timestamp", "targets", "snapshot"} {
		published.Rotate(role)
	}
	published.Publish(map[string][]byte{rootFile: next}, time.Now().Add(time.Hour))
	r.Root = nil
	if got := mustUpdate(t, r); !bytes.Equal(got.TrustedRoot, next) || got.SigningConfig != nil {
		t.Error("an update after the keys changed brings the old trusted root")
	}
	// Whoever has no kept one gets there too.
	fresh := signing.TrustRepository{URL: r.URL, Root: published.Root(), Dir: t.TempDir()}
	if got := mustUpdate(t, fresh); !bytes.Equal(got.TrustedRoot, next) {
		t.Error("the first update after the keys changed brings the old trusted root")
	}
	// A kept root is not given up for an older one: keys that were revoked stay so.
	published.Set("/2.root.json", nil)
	published.Set("/3.root.json", nil)
	published.Set("/4.root.json", nil)
	r.Root = published.Root()
	if got := mustUpdate(t, r); !bytes.Equal(got.TrustedRoot, next) {
		t.Error("an older root.json takes the place of the kept one")
	}
}

// A root.json of somebody else is not kept, however new it says it is.
func TestTrustRepositoryKeepsItsRoot(t *testing.T) {
	_, r := publishing(t, testsigstore.New(t, testsigstore.Options{}))
	mustUpdate(t, r)
	other := testsigstore.NewTrustRepository(t)
	for range 3 {
		other.Rotate("timestamp")
	}
	wrong := r
	wrong.Root = other.Get("/4.root.json")
	if wrong.Root == nil {
		t.Fatal("no root.json of version 4")
	}
	if p, err := wrong.Update(t.Context()); !errors.Is(err, signing.ErrTrustRepository) {
		t.Fatalf("Update = %+v, %v; want %v", p, err, signing.ErrTrustRepository)
	}
	r.Root = nil
	mustUpdate(t, r)
}

// What the keys did not sign, what they signed before, and what is out of date
// is refused, and what was kept stays.
func TestTrustRepositoryRefuses(t *testing.T) {
	d, evil := testsigstore.New(t, testsigstore.Options{}), testsigstore.New(t, testsigstore.Options{})
	hour := func() time.Time { return time.Now().Add(time.Hour) }
	tests := map[string]struct {
		change func(*testsigstore.TrustRepository)
		want   error
	}{
		"another's timestamp": {func(r *testsigstore.TrustRepository) {
			other := testsigstore.NewTrustRepository(t)
			other.Publish(nil, hour())
			other.Publish(map[string][]byte{rootFile: evil.TrustedRoot()}, hour())
			r.Set("/timestamp.json", other.Get("/timestamp.json"))
		}, signing.ErrTrustRepository},
		"another's root": {func(r *testsigstore.TrustRepository) {
			other := testsigstore.NewTrustRepository(t)
			other.Rotate("timestamp")
			r.Set("/2.root.json", other.Get("/2.root.json"))
		}, signing.ErrTrustRepository},
		"other bytes": {func(r *testsigstore.TrustRepository) {
			r.Publish(map[string][]byte{rootFile: evil.TrustedRoot()}, hour())
			for _, path := range r.Files("/targets/") {
				r.Set(path, d.TrustedRoot())
			}
		}, signing.ErrTrustRepository},
		"a key that was revoked": {func(r *testsigstore.TrustRepository) {
			before := r.Get("/timestamp.json")
			r.Rotate("timestamp")
			r.Set("/timestamp.json", before)
		}, signing.ErrTrustRepository},
		"out of date": {func(r *testsigstore.TrustRepository) {
			r.Publish(map[string][]byte{rootFile: d.TrustedRoot()}, time.Now().Add(-time.Minute))
		}, signing.ErrTrustRepository},
		"no trusted root": {func(r *testsigstore.TrustRepository) {
			r.Publish(map[string][]byte{"other.json": []byte("{}")}, hour())
		}, signing.ErrTrustRepository},
		"no trusted root that can be read": {func(r *testsigstore.TrustRepository) {
			r.Publish(map[string][]byte{rootFile: []byte("{}")}, hour())
		}, signing.ErrTrustRepository},
		"too large a trusted root": {func(r *testsigstore.TrustRepository) {
			r.Publish(map[string][]byte{rootFile: make([]byte, 2<<20)}, hour())
		}, signing.ErrTrustRepository},
		"too large a timestamp": {func(r *testsigstore.TrustRepository) { r.Set("/timestamp.json", make([]byte, 1<<20)) }, signing.ErrTrustRepository},
		"no JSON":               {func(r *testsigstore.TrustRepository) { r.Set("/timestamp.json", []byte("<html>")) }, signing.ErrTrustRepository},
		"not there":             {func(r *testsigstore.TrustRepository) { r.Set("/timestamp.json", nil) }, signing.ErrRefused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			published, r := publishing(t, d)
			before := mustUpdate(t, r)
			tt.change(published)
			if p, err := r.Update(t.Context()); !errors.Is(err, tt.want) {
				t.Fatalf("Update = %+v, %v; want %v", p, err, tt.want)
			}
			after, err := r.Kept()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("what was kept changed (-before +after):\n%s", diff)
			}
		})
	}
}

// An older state of the repository, well signed and in date, is refused.
func TestTrustRepositoryRollback(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	published, r := publishing(t, d)
	before := published.Get("/timestamp.json")
	published.Publish(map[string][]byte{rootFile: d.TrustedRoot()}, time.Now().Add(time.Hour))
	mustUpdate(t, r)
	published.Set("/timestamp.json", before)
	if p, err := r.Update(t.Context()); !errors.Is(err, signing.ErrTrustRepository) {
		t.Errorf("Update = %+v, %v", p, err)
	}
}

func TestTrustRepositoryFails(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{})
	published, good := publishing(t, d)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir() // in which no update that fails gets in the way of another
	tests := map[string]struct {
		ctx  context.Context
		r    signing.TrustRepository
		want string
	}{
		"no root.json":    {t.Context(), signing.TrustRepository{URL: published.URL, Dir: dir}, "no root.json to begin with"},
		"another's root":  {t.Context(), signing.TrustRepository{URL: published.URL, Dir: dir, Root: testsigstore.NewTrustRepository(t).Root()}, "not to be believed"},
		"root is no root": {t.Context(), signing.TrustRepository{URL: published.URL, Dir: dir, Root: []byte("{}")}, "not to be believed"},
		"no place":        {t.Context(), signing.TrustRepository{URL: published.URL, Root: published.Root()}, "no place"},
		"no URL":          {t.Context(), signing.TrustRepository{URL: "file:///etc", Dir: dir}, "no URL"},
		"secret in URL":   {t.Context(), signing.TrustRepository{URL: "https://user:hunter2@example.com/", Dir: dir}, "no URL"},
		"dots":            {t.Context(), signing.TrustRepository{URL: "https://..", Dir: dir}, "no place"},
		"no network":      {t.Context(), signing.TrustRepository{URL: published.URL, Dir: dir, Root: published.Root(), Transport: noNetwork{}}, "does not answer: no network"},
		"cancelled":       {gone, good, context.Canceled.Error()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := tt.r.Update(tt.ctx)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Update = %+v, %v; want %q", p, err, tt.want)
			}
		})
	}
	mustUpdate(t, signing.TrustRepository{URL: published.URL, Dir: dir, Root: published.Root()})

	// What is kept and damaged is an error, and not taken for absent.
	p := mustUpdate(t, good)
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.File), "state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := good.Kept(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Kept of a damaged state = %+v, %v", p, err)
	}
	mustUpdate(t, good) // mends it
	if _, err := good.Kept(); err != nil {
		t.Error(err)
	}
}

// Several processes may update at once.
func TestTrustRepositoryAtOnce(t *testing.T) {
	_, r := publishing(t, testsigstore.New(t, testsigstore.Options{}))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := r.Update(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
