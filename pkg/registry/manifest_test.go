package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"oras.land/oras-go/v2"

	"github.com/modelreg/modelreg/pkg/registry"
)

func TestManifestIsRefused(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	pack(t, repo, "application/x-model", oras.PackManifestOptions{ManifestAnnotations: map[string]string{"n": "1"}})
	good := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":{"mediaType":%q,"digest":%q,"size":1}`,
		indexType, manifestType, subject.Digest)
	tests := map[string]struct {
		body   string
		status int
	}{
		"not JSON":              {"{", 400},
		"empty":                 {"", 400},
		"subject twice":         {good + `,"subject":{"mediaType":"a/b","digest":"` + someDigest + `","size":1}}`, 400},
		"subject has no digest": {`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[],"subject":{"digest":"x"}}`, 400},
		"trailing data":         {good + `}{}`, 400},
		"too large":             {good + `,"annotations":{"a":"` + strings.Repeat("a", 4<<20) + `"}}`, 413},
		"as large as allowed":   {padded(good+`,"annotations":{"a":"`, `"}}`, 4<<20), 201},
		"good":                  {good + `}`, 201},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s.do("PUT", "/v2/m/manifests/v1", map[string]string{"Content-Type": indexType}, []byte(tc.body)).want(t, tc.status)
		})
	}
	t.Run("too large, in chunks", func(t *testing.T) {
		body := struct{ *strings.Reader }{strings.NewReader(tests["too large"].body)} // of no known length
		req, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+"/v2/m/manifests/v1", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", indexType)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status = %s, want 413", resp.Status)
		}
	})
	t.Run("path that only Distribution knows", func(t *testing.T) {
		s.do("PUT", "/v2/host:5000/m/manifests/v1", map[string]string{"Content-Type": indexType}, []byte(good+"}")).want(t, 400)
	})
}

func padded(start, end string, size int) string {
	return start + strings.Repeat("a", size-len(start)-len(end)) + end
}
