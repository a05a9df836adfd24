package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/registry"
)

func blobFile(data string, d digest.Digest) string {
	return filepath.Join(data, "docker/registry/v2/blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

// rewriteBlob changes the content of a blob on the disk.
func rewriteBlob(t *testing.T, data string, d digest.Digest, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(blobFile(data, d))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blobFile(data, d), change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func removeBlob(t *testing.T, data string, d digest.Digest) {
	t.Helper()
	if err := os.Remove(blobFile(data, d)); err != nil {
		t.Fatal(err)
	}
}

func TestRanges(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	data := []byte("0123456789")
	desc := pushBlob(t, s.repository("m"), "application/octet-stream", data)
	path := "/v2/m/blobs/" + desc.Digest.String()

	tests := map[string]struct {
		value, body, contentRange string
		status                    int
	}{
		"none":        {"", "0123456789", "", 200},
		"closed":      {"bytes=2-4", "234", "bytes 2-4/10", 206},
		"open":        {"bytes=7-", "789", "bytes 7-9/10", 206},
		"suffix":      {"bytes=-3", "789", "bytes 7-9/10", 206},
		"behind":      {"bytes=10-", "", "bytes */10", 416},
		"past end":    {"bytes=8-99", "89", "bytes 8-9/10", 206},
		"other units": {"lines=1-2", "", "", 416},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			header := map[string]string{"Accept-Encoding": "identity"}
			if tc.value != "" {
				header["Range"] = tc.value
			}
			a := s.do("GET", path, header, nil).want(t, tc.status)
			if tc.status < 400 && string(a.body) != tc.body {
				t.Errorf("body = %q, want %q", a.body, tc.body)
			}
			if got := a.Header.Get("Content-Range"); got != tc.contentRange {
				t.Errorf("Content-Range = %q, want %q", got, tc.contentRange)
			}
		})
	}
}

func TestRestartKeepsContent(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	repo := s.repository("org/model")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	if err := repo.Tag(t.Context(), subject, "v1"); err != nil {
		t.Fatal(err)
	}
	signature := sign(t, repo, subject, 1)
	location := s.startUpload(t, "org/model", "01234")

	s.stop()
	s = serve(t, registry.Options{Data: data})
	repo = s.repository("org/model")
	got, err := repo.Resolve(t.Context(), "v1")
	if err != nil || got.Digest != subject.Digest {
		t.Errorf("Resolve(v1) = %s, %v; want %s", got.Digest, err, subject.Digest)
	}
	s.wantSame("org/model", subject.Digest, signature.Digest)

	// The upload that the restart broke goes on where it was.
	whole := sha256Of([]byte("0123456789"))
	s.do("PUT", location+"&digest="+whole.String(), nil, []byte("56789")).want(t, 201)
	if a := s.do("GET", "/v2/org/model/blobs/"+whole.String(), nil, nil).want(t, 200); string(a.body) != "0123456789" {
		t.Errorf("blob = %q", a.body)
	}
}

// startUpload sends the first part of a blob, and returns where to go on,
// without the host.
func (s server) startUpload(t *testing.T, name, part string) string {
	t.Helper()
	a := s.do("POST", "/v2/"+name+"/blobs/uploads/", nil, nil).want(t, 202)
	location := strings.TrimPrefix(a.Header.Get("Location"), s.URL)
	a = s.do("PATCH", location, nil, []byte(part)).want(t, 202)
	if got, want := a.Header.Get("Range"), fmt.Sprintf("0-%d", len(part)-1); got != want {
		t.Errorf("Range = %q, want %q", got, want)
	}
	return strings.TrimPrefix(a.Header.Get("Location"), s.URL)
}

func TestDirectoryIsServedOnce(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	if _, err := registry.New(t.Context(), registry.Options{Data: data}); !errors.Is(err, registry.ErrInUse) {
		t.Errorf("second New = %v, want ErrInUse", err)
	}
	serve(t, registry.Options{Data: data, ReadOnly: true})
	s.stop()
	serve(t, registry.Options{Data: data})
}

func TestMountAndDelete(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	desc := pushBlob(t, s.repository("from"), "application/octet-stream", []byte("weights"))
	err := s.repository("to").Mount(t.Context(), desc, "from", func() (io.ReadCloser, error) {
		return nil, errors.New("the blob was not mounted")
	})
	if err != nil {
		t.Fatalf("Mount: %v", err)
	}
	got, err := content.FetchAll(t.Context(), s.repository("to"), desc)
	if err != nil || string(got) != "weights" {
		t.Fatalf("fetch mounted blob = %q, %v", got, err)
	}
	if err := s.repository("to").Blobs().Delete(t.Context(), desc); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if ok, err := s.repository("to").Exists(t.Context(), desc); ok || err != nil {
		t.Errorf("Exists after Delete = %v, %v", ok, err)
	}
	if ok, err := s.repository("from").Exists(t.Context(), desc); !ok || err != nil {
		t.Errorf("Exists where it came from = %v, %v", ok, err)
	}
}

func TestReadOnly(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	subject := pack(t, s.repository("m"), "application/x-model", oras.PackManifestOptions{})
	signature := sign(t, s.repository("m"), subject, 1)
	before := tree(t, data)

	s = serve(t, registry.Options{Data: data, ReadOnly: true})
	s.wantSame("m", subject.Digest, signature.Digest)
	manifest := "/v2/m/manifests/" + signature.Digest.String()
	for _, tc := range [][2]string{
		{"DELETE", manifest},
		{"PUT", "/v2/m/manifests/v1"},
		{"POST", "/v2/m/blobs/uploads/"},
		{"POST", "/v2/m/blobs/uploads/?mount=" + someDigest + "&from=m"},
		{"DELETE", "/v2/m/blobs/" + someDigest},
	} {
		s.do(tc[0], tc[1], nil, nil).want(t, http.StatusMethodNotAllowed)
	}
	if diff := cmp.Diff(before, tree(t, data)); diff != "" {
		t.Errorf("directory changed (-before +after):\n%s", diff)
	}
	if _, err := registry.New(t.Context(), registry.Options{Data: filepath.Join(data, "absent"), ReadOnly: true}); err == nil {
		t.Error("New opened a directory that is not there for reading")
	}
}

// tree returns the names of all files below dir.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTagsAreListedInPages(t *testing.T) {
	s := serve(t, registry.Options{Data: t.TempDir()})
	repo := s.repository("m")
	subject := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	sign(t, repo, subject, 1)
	hidden := fallbackTag(subject.Digest)
	signature := hidden + ".sig" // cosign's, which is no list
	visible := []string{"A", "a", "b", signature, "sha256-x", "z"}
	for _, tag := range visible {
		if err := repo.Tag(t.Context(), subject, tag); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{"A", "a", "b", hidden, signature, "sha256-x", "z"}

	for name, tc := range map[string]struct {
		query string
		want  []string
	}{
		"without lists": {"", visible},
		"everything":    {"modelreg_all=1", all},
	} {
		for n := 1; n <= len(all)+1; n++ {
			t.Run(fmt.Sprintf("%s by %d", name, n), func(t *testing.T) {
				var got []string
				next := fmt.Sprintf("/v2/m/tags/list?n=%d&%s", n, tc.query)
				for pages := 0; next != ""; pages++ {
					if pages > len(all) {
						t.Fatal("pages without end")
					}
					page, link := s.tagPage(next)
					if link != "" && len(page) != n {
						t.Errorf("page of %d tags, want %d", len(page), n)
					}
					got, next = append(got, page...), link
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("tags (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestTagList(t *testing.T) {
	s := serve(t, registry.Options{})
	repo := s.repository("org/m")
	desc := pack(t, repo, "application/x-model", oras.PackManifestOptions{})
	for _, tag := range []string{"a", "c"} {
		if err := repo.Tag(t.Context(), desc, tag); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		query string
		want  []string
	}{
		"all":                {"", []string{"a", "c"}},
		"none":               {"?n=0", []string{}},
		"after one":          {"?last=a", []string{"c"}},
		"after one not here": {"?last=b", []string{"c"}},
		"after all":          {"?last=z", []string{}},
		"exactly":            {"?n=2", []string{"a", "c"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, next := s.tagPage("/v2/org/m/tags/list" + tc.query)
			if diff := cmp.Diff(tc.want, got); diff != "" || next != "" {
				t.Errorf("next = %q, tags (-want +got):\n%s", next, diff)
			}
		})
	}
	for _, n := range []string{"-1", "x", "1e3"} {
		s.do("GET", "/v2/org/m/tags/list?n="+n, nil, nil).want(t, 400)
	}
	if a := s.do("GET", "/v2/nobody/tags/list", nil, nil).want(t, 404); !bytes.Contains(a.body, []byte("NAME_UNKNOWN")) {
		t.Errorf("body = %s, want NAME_UNKNOWN", a.body)
	}
}
