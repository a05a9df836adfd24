package signing_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(pluginKey); mode != "" && strings.HasPrefix(filepath.Base(os.Args[0]), "sigstore-kms-") {
		os.Exit(runPlugin(mode))
	}
	goleak.VerifyTestMain(m)
}

// A registryRepo is a repository in a registry.
type registryRepo struct{ *remote.Repository }

var _ signing.Repository = (*remote.Repository)(nil)

func newRepo(t testing.TB, srv *testreg.Server) registryRepo {
	t.Helper()
	client, err := remote.New(remote.Options{AuthFile: filepath.Join(t.TempDir(), "config.json")})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := client.Repository(srv.Host + "/org/model")
	if err != nil {
		t.Fatal(err)
	}
	return registryRepo{repo}
}

// model pushes a model's manifest.
func (r registryRepo) model(t testing.TB, name string) signing.Target {
	t.Helper()
	empty := ocispec.DescriptorEmptyJSON
	if err := r.Push(t.Context(), empty, bytes.NewReader(empty.Data)); err != nil {
		t.Fatal(err)
	}
	raw := modelManifest(t, name)
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	if err := r.PushManifest(t.Context(), desc, raw, name); err != nil {
		t.Fatal(err)
	}
	return signing.Target{Repository: r.Name(), Descriptor: desc}
}

// overBoth runs f against a registry with the referrers API and one without.
func overBoth(t *testing.T, f func(t *testing.T, srv *testreg.Server, repo registryRepo)) {
	for name, opts := range map[string]testreg.Options{
		"referrers API": {},
		"referrers tag": {NoReferrers: true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := testreg.New(t, opts)
			f(t, srv, newRepo(t, srv))
		})
	}
}

func TestRegistry(t *testing.T) {
	overBoth(t, func(t *testing.T, _ *testreg.Server, repo registryRepo) {
		for _, format := range []signing.Format{signing.Bundle, signing.Classic, signing.Both} {
			model := repo.model(t, "of-"+format.String())
			opts := signing.SignOptions{Format: format}
			if _, err := signing.Verify(t.Context(), repo, model, trustAlice()); !errors.Is(err, signing.ErrNoSignature) {
				t.Errorf("%v: before signing: %v, want ErrNoSignature", format, err)
			}
			if _, err := signing.Sign(t.Context(), repo, model, mallory().signer, opts); err != nil {
				t.Fatal(err)
			}
			if _, err := signing.Verify(t.Context(), repo, model, trustAlice()); !errors.Is(err, signing.ErrUntrusted) {
				t.Errorf("%v: signed with another key: %v, want ErrUntrusted", format, err)
			}
			if _, err := signing.Sign(t.Context(), repo, model, alice().signer, opts); err != nil {
				t.Fatal(err)
			}
			if made, err := signing.Sign(t.Context(), repo, model, alice().signer, opts); err != nil || len(made) > 0 {
				t.Errorf("%v: signing again made %v, %v", format, made, err)
			}
			report, err := signing.Verify(t.Context(), repo, model, trustAlice())
			if err != nil || len(report.Signers) != 1 {
				t.Errorf("%v: Verify = %+v, %v", format, report, err)
			}
		}
	})
}

// Whoever can push tags can hide signatures behind a referrers tag of his own,
// and no more than that.
func TestRegistryTagReplaced(t *testing.T) {
	tests := map[string]struct {
		mediaType string
		raw       func(t *testing.T) []byte
	}{
		"by an empty index": {ocispec.MediaTypeImageIndex, func(*testing.T) []byte {
			return []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		}},
		"by a manifest": {ocispec.MediaTypeImageManifest, func(t *testing.T) []byte { return modelManifest(t, "other") }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t, testreg.New(t, testreg.Options{NoReferrers: true}))
			model := repo.model(t, "model")
			if _, err := signing.Sign(t.Context(), repo, model, alice().signer, signing.SignOptions{}); err != nil {
				t.Fatal(err)
			}
			raw := tt.raw(t)
			tag := "sha256-" + model.Descriptor.Digest.Encoded()
			if err := repo.PushManifest(t.Context(), content.NewDescriptorFromBytes(tt.mediaType, raw), raw, tag); err != nil {
				t.Fatal(err)
			}
			if report, err := signing.Verify(t.Context(), repo, model, trustAlice()); err == nil {
				t.Errorf("Verify = %+v, want an error", report)
			}
		})
	}
}

// Of several signers at once none loses.
func TestRegistryManySigners(t *testing.T) {
	overBoth(t, func(t *testing.T, _ *testreg.Server, repo registryRepo) { manySigners(t, repo, 12) })
}

func manySigners(t *testing.T, repo registryRepo, n int) {
	model := repo.model(t, "model")
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			opts := signing.SignOptions{Annotations: map[string]string{"n": string(rune('a' + i))}}
			if _, err := signing.Sign(t.Context(), repo, model, alice().signer, opts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	referrers, err := repo.Referrers(t.Context(), model.Descriptor, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := signing.Count(t.Context(), repo, model.Descriptor, referrers); err != nil || got != n {
		t.Errorf("Count = %d, %v, want %d", got, err, n)
	}
}

// A registry that withholds what it has makes an error that is not "unsigned".
func TestRegistryFails(t *testing.T) {
	for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
		t.Run(format.String(), func(t *testing.T) {
			srv := testreg.New(t, testreg.Options{})
			repo := newRepo(t, srv)
			model := repo.model(t, "model")
			if _, err := signing.Sign(t.Context(), repo, model, alice().signer, signing.SignOptions{Format: format}); err != nil {
				t.Fatal(err)
			}
			srv.Add(testreg.Rule{Method: http.MethodGet, Path: `/(referrers|manifests)/`, Do: forbid})
			_, err := signing.Verify(t.Context(), repo, model, trustAlice())
			answers := []error{nil, signing.ErrNoSignature, signing.ErrUntrusted, signing.ErrTooMany}
			if slices.ContainsFunc(answers, func(answer error) bool { return errors.Is(err, answer) }) {
				t.Errorf("Verify error = %v, want one that is no answer", err)
			}
		})
	}
}

// Verification asks the repository it is given and nobody else.
func TestVerifyIsOffline(t *testing.T) {
	was := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = was })
	http.DefaultTransport = refuse{t}
	r := newFake()
	model := r.model(t, "model")
	mustSign(t, r, model, alice(), signing.SignOptions{Format: signing.Both})
	mustVerify(t, r, model, alice())
}

type refuse struct{ t *testing.T }

func (r refuse) RoundTrip(req *http.Request) (*http.Response, error) {
	r.t.Errorf("request to %s", req.URL)
	return nil, io.ErrUnexpectedEOF
}

func forbid(x testreg.Exchange) { x.W.WriteHeader(http.StatusForbidden) }
