package registry_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"github.com/modelreg/modelreg/pkg/registry"
)

const indexType = ocispec.MediaTypeImageIndex

func fallbackTag(d digest.Digest) string { return strings.Replace(d.String(), ":", "-", 1) }

// listed returns what an index at path lists, sorted by digest.
func (s server) listed(path string) []ocispec.Descriptor {
	s.t.Helper()
	a := s.do("GET", path, map[string]string{"Accept": indexType}, nil).want(s.t, 200)
	var index ocispec.Index
	if err := json.Unmarshal(a.body, &index); err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	if got := a.Header.Get("Content-Type"); got != indexType {
		s.t.Errorf("GET %s: Content-Type = %q, want %q", path, got, indexType)
	}
	return index.Manifests
}

func digestsOf(list []ocispec.Descriptor) []digest.Digest {
	var all []digest.Digest
	for _, d := range list {
		all = append(all, d.Digest)
	}
	slices.Sort(all)
	return all
}

func TestParallelReferrersAreAllListed(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	repo := s.repository("org/model")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})

	var want []digest.Digest
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			d := pack(t, s.repository("org/model"), "application/x-signature", oras.PackManifestOptions{
				Subject:             &subject,
				ManifestAnnotations: map[string]string{"n": fmt.Sprint(i)},
			})
			mu.Lock()
			defer mu.Unlock()
			want = append(want, d.Digest)
		})
	}
	wg.Wait()
	slices.Sort(want)
	if len(want) != 12 {
		t.Fatalf("pushed %d different referrers, want 12", len(want))
	}
	api := s.listed("/v2/org/model/referrers/" + subject.Digest.String())
	if diff := cmp.Diff(want, digestsOf(api)); diff != "" {
		t.Errorf("referrers API (-want +got):\n%s", diff)
	}
	tag := s.listed("/v2/org/model/manifests/" + fallbackTag(subject.Digest))
	if diff := cmp.Diff(api, tag); diff != "" {
		t.Errorf("API and tag differ (-api +tag):\n%s", diff)
	}
}
