package layout_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/modelreg/modelreg/pkg/layout"
)

func TestHandler(t *testing.T) {
	dir := t.TempDir()
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to, err := l.Repository("reg.example/org/m")
	if err != nil {
		t.Fatal(err)
	}
	model := newDoc(t, "hello", nil)
	desc := model.desc
	for dgst, raw := range model.blobs {
		if err := l.Push(t.Context(), ocispec.Descriptor{Digest: dgst, Size: int64(len(raw))}, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.PushManifest(t.Context(), desc, model.raw, "v1"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(layout.Handler{Dir: dir})
	defer srv.Close()
	repo, err := remote.NewRepository(srv.Listener.Addr().String() + "/any/name")
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP, repo.Client = true, srv.Client()
	for _, reference := range []string{"v1", desc.Digest.String()} {
		got, raw, err := oras.FetchBytes(t.Context(), repo, reference, oras.DefaultFetchBytesOptions)
		if err != nil || got.Digest != desc.Digest || int64(len(raw)) != desc.Size {
			t.Errorf("%s: %v, %v", reference, got, err)
		}
	}
	refers := newDoc(t, "signature", &desc)
	if err := to.PushReferrer(t.Context(), refers.raw, desc); err != nil {
		t.Fatal(err)
	}
	var found []ocispec.Descriptor
	if err := repo.Referrers(t.Context(), desc, "", func(list []ocispec.Descriptor) error { found = append(found, list...); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Digest != refers.desc.Digest {
		t.Errorf("referrers = %v", found)
	}
	var tags []string
	if err := repo.Tags(t.Context(), "", func(list []string) error { tags = append(tags, list...); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(tags) == 0 || tags[0] != "v1" {
		t.Errorf("tags = %q", tags)
	}
	blob := content.NewDescriptorFromBytes("", []byte("hello"))
	for name, tt := range map[string]struct {
		method, path, rng, body string
		status                  int
	}{
		"blob":            {"GET", "/v2/m/blobs/" + blob.Digest.String(), "", "hello", 200},
		"part":            {"GET", "/v2/m/blobs/" + blob.Digest.String(), "bytes=1-2", "el", 206},
		"head":            {"HEAD", "/v2/m/blobs/" + blob.Digest.String(), "", "", 200},
		"no blob":         {"GET", "/v2/m/blobs/sha256:" + strings.Repeat("0", 64), "", "", 404},
		"no digest":       {"GET", "/v2/m/blobs/../../oci-layout", "", "", 404},
		"no tag":          {"GET", "/v2/m/manifests/none", "", "", 404},
		"nothing":         {"GET", "/other", "", "", 404},
		"a write":         {"PUT", "/v2/m/manifests/v1", "", "", 405},
		"an upload":       {"POST", "/v2/m/blobs/uploads/", "", "", 405},
		"API":             {"GET", "/v2/", "", "{}", 200},
		"blob, odd digit": {"GET", "/v2/m/blobs/sha256:x", "", "", 422},
	} {
		req := httptest.NewRequest(tt.method, "http://x"+tt.path, nil)
		if tt.rng != "" {
			req.Header.Set("Range", tt.rng)
		}
		w := httptest.NewRecorder()
		layout.Handler{Dir: dir}.ServeHTTP(w, req)
		resp := w.Result()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != tt.status || tt.status < 300 && string(body) != tt.body {
			t.Errorf("%s: %d %q, %v", name, resp.StatusCode, body, err)
		}
		if tt.status >= 400 && !json.Valid(body) {
			t.Errorf("%s: %q is no JSON", name, body)
		}
	}
	w := httptest.NewRecorder()
	layout.Handler{Dir: t.TempDir()}.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/m/manifests/v1", nil))
	if w.Code != http.StatusUnprocessableEntity {
		t.Errorf("no layout: %d", w.Code)
	}
}
