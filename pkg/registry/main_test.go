package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/modelreg/modelreg/pkg/registry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// A server is a registry on loopback, gone when the test ends.
type server struct {
	*httptest.Server
	t    *testing.T
	stop func() // before the test ends
}

func serve(t *testing.T, opts registry.Options) server {
	t.Helper()
	return serveAs(t, opts, func(r *registry.Registry) http.Handler { return r })
}

func serveAs(t *testing.T, opts registry.Options, handler func(*registry.Registry) http.Handler) server {
	t.Helper()
	r, err := registry.New(context.Background(), opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	s := httptest.NewServer(handler(r))
	stop := sync.OnceFunc(func() {
		s.CloseClientConnections()
		s.Close()
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return server{s, t, stop}
}

// repository returns an oras-go client of one repository.
func (s server) repository(name string) *remote.Repository {
	s.t.Helper()
	repo, err := remote.NewRepository(s.Listener.Addr().String() + "/" + name)
	if err != nil {
		s.t.Fatalf("NewRepository(%s): %v", name, err)
	}
	repo.PlainHTTP = true
	repo.Client = s.Client()
	return repo
}

// An answer is a response that has been read.
type answer struct {
	*http.Response
	body []byte
}

func (s server) do(method, path string, header map[string]string, body []byte) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	for key, value := range header {
		req.Header.Set(key, value)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp, b}
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s = %s %s, want %d", a.Request.Method, a.Request.URL, a.Status, a.body, status)
	}
	return a
}

// pushBlob stores data in a repository.
func pushBlob(t *testing.T, repo content.Pusher, mediaType string, data []byte) ocispec.Descriptor {
	t.Helper()
	desc := content.NewDescriptorFromBytes(mediaType, data)
	if err := repo.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatalf("push blob: %v", err)
	}
	return desc
}

// pack pushes a small artifact.
func pack(t *testing.T, repo oras.Target, artifactType string, opts oras.PackManifestOptions) ocispec.Descriptor {
	t.Helper()
	if opts.ManifestAnnotations == nil {
		opts.ManifestAnnotations = map[string]string{}
	}
	opts.ManifestAnnotations[ocispec.AnnotationCreated] = "2026-01-02T03:04:05Z"
	desc, err := oras.PackManifest(t.Context(), repo, oras.PackManifestVersion1_1, artifactType, opts)
	if err != nil {
		t.Fatalf("pack: %v", err)
	}
	return desc
}

func sha256Of(b []byte) digest.Digest { return digest.FromBytes(b) }

// tagPage returns one page of a list of tags and where the next one is.
func (s server) tagPage(path string) (tags []string, next string) {
	s.t.Helper()
	a := s.do("GET", path, nil, nil).want(s.t, 200)
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return list.Tags, nextOf(a)
}
