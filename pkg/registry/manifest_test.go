package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
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

func TestReferrersTag(t *testing.T) {
	tests := map[digest.Digest]string{
		someDigest:                   "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		digest.SHA512.FromString(""): "sha512-cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce", // cut to 64
	}
	for dgst, want := range tests {
		if got := registry.ReferrersTag(dgst); got != want || !registry.IsReferrersTag(got) {
			t.Errorf("ReferrersTag(%s) = %s, want %s", dgst, got, want)
		}
	}
	for _, tag := range []string{"", "latest", "sha256-", "sha256-00", "sha256-" + strings.Repeat("A", 64), "sha256-" + strings.Repeat("0", 64) + ".sig", "md5-" + strings.Repeat("0", 64)} {
		if registry.IsReferrersTag(tag) {
			t.Errorf("%q counts as a referrers tag", tag)
		}
	}
}

// Whatever is taken as a manifest is listed under the digest of its bytes, with
// a subject that has a referrers tag, in an entry of bounded size.
func FuzzDescribe(f *testing.F) {
	subject := `"subject":{"mediaType":"a/b","digest":"` + someDigest + `","size":1}`
	for _, body := range []string{
		`{}`, `{` + subject + `}`, `{"subject":null}`, `{"config":{"mediaType":"a/b"},` + subject + `}`,
		`{"artifactType":"a/b","annotations":{"a":"b"}}`, `{"Subject":{}}`, `{"a":1,"a":2}`, `[`, "\xff",
		`{"subject":{"digest":"sha512:00"}}`, `{"annotations":{"a":"` + strings.Repeat("b", registry.MaxListed) + `"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		desc, subject, err := registry.Describe(manifestType, raw)
		if err != nil {
			return
		}
		if desc.Digest != digest.FromBytes(raw) || desc.Size != int64(len(raw)) {
			t.Errorf("described as %s of %d bytes", desc.Digest, desc.Size)
		}
		if subject != "" && !registry.IsReferrersTag(registry.ReferrersTag(subject)) {
			t.Errorf("the tag of %s is %s, which is none", subject, registry.ReferrersTag(subject))
		}
		size := 0
		for key, value := range desc.Annotations {
			size += len(key) + len(value)
		}
		if _, err := json.Marshal(desc); err != nil || size > registry.MaxListed {
			t.Errorf("entry with %d bytes of annotations: %v", size, err)
		}
	})
}
