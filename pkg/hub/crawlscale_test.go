package hub_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testcards"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// tools/bench.sh measures with it; see docs/benchmarks.md.
var crawlVersions = flag.Int("versions", 0, "measure a crawl of `N` versions")

// A shelf is a registry of many models that only reads.
type shelf struct {
	tags      map[string][]string // repository: its tags
	manifests map[string][]byte   // by "repository:tag" and by digest
	blobs     map[string][]byte
}

func newShelf(t *testing.T, versions int) *shelf {
	s := &shelf{map[string][]string{}, map[string][]byte{}, map[string][]byte{}}
	for r := range testcards.Records(1, versions) {
		_, name, _ := strings.Cut(strings.ReplaceAll(r.Repository, "'", ""), "/")
		card := fmt.Sprintf("---\nlicense: %s\npipeline_tag: %s\n---\n# %s\n\n%s\n", r.Licenses[0], r.Task, r.Title, r.Card)
		layer := content.NewDescriptorFromBytes("application/vnd.cncf.model.doc.v1.raw", []byte(card))
		layer.Annotations = map[string]string{mediatypes.AnnotationFilepath: "README.md"}
		raw, err := json.Marshal(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactModel,
			Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer},
			Annotations: map[string]string{mediatypes.AnnotationFormats: r.Formats[0], mediatypes.AnnotationArchitecture: r.Architecture},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.blobs[layer.Digest.String()] = []byte(card)
		s.manifests[digest.FromBytes(raw).String()] = raw
		s.manifests[name+":"+r.Tags[0]] = raw
		s.tags[name] = append(s.tags[name], r.Tags[0])
	}
	return s
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	name, last := path, ""
	for _, kind := range []string{"/manifests/", "/blobs/", "/tags/list"} {
		if before, after, ok := strings.Cut(path, kind); ok {
			name, last = before, after
		}
	}
	body, ok := []byte("{}"), true
	w.Header().Set("Content-Type", "application/json")
	switch {
	case path == "_catalog":
		var names []string
		for name := range s.tags {
			names = append(names, name)
		}
		body, _ = json.Marshal(map[string]any{"repositories": names})
	case strings.HasSuffix(path, "/tags/list"):
		body, _ = json.Marshal(map[string]any{"name": name, "tags": s.tags[name]})
	case strings.Contains(path, "/blobs/"):
		body, ok = s.blobs[last]
	case strings.Contains(path, "/manifests/"):
		if !strings.Contains(last, "sha256:") {
			last = name + ":" + last
		}
		body, ok = s.manifests[last]
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(body).String())
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body)
}

func TestCrawlScale(t *testing.T) {
	if *crawlVersions == 0 {
		t.Skip("measures: give -args -versions 20000")
	}
	s := newShelf(t, *crawlVersions)
	srv := httptest.NewServer(s)
	defer srv.Close()
	w, ix := newWorld(t), openIndex(t)
	for _, what := range []string{"nothing was known", "nothing is new"} {
		start := time.Now()
		res, err := w.Crawl(t.Context(), ix, []string{strings.TrimPrefix(srv.URL, "http://")}, hub.CrawlOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if res.Versions != *crawlVersions || res.Failed > 0 {
			t.Errorf("result %+v", res)
		}
		t.Logf("crawl of %d versions in %d repositories, %d fetched: %v (%s)",
			res.Versions, res.Repositories, res.Fetched, time.Since(start).Round(100*time.Millisecond), what)
	}
}
