package registry_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"

	"github.com/modelreg/modelreg/pkg/registry"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParsePath(t *testing.T) {
	tests := map[string]struct {
		path      string
		kind      registry.PathKind
		name, ref string
	}{
		"base":                   {"/v2/", registry.KindBase, "", ""},
		"catalogue":              {"/v2/_catalog", registry.KindCatalog, "", ""},
		"tags":                   {"/v2/m/tags/list", registry.KindTags, "m", ""},
		"tag":                    {"/v2/org/m/manifests/v1.0_x-Y", registry.KindManifest, "org/m", "v1.0_x-Y"},
		"digest":                 {"/v2/org/m/manifests/" + someDigest, registry.KindManifest, "org/m", someDigest},
		"blob":                   {"/v2/a/b/c/blobs/" + someDigest, registry.KindBlob, "a/b/c", someDigest},
		"start of an upload":     {"/v2/m/blobs/uploads/", registry.KindUpload, "m", ""},
		"upload without slash":   {"/v2/m/blobs/uploads", registry.KindUpload, "m", ""},
		"upload":                 {"/v2/m/blobs/uploads/0f-1_x=", registry.KindUpload, "m", "0f-1_x="},
		"referrers":              {"/v2/m/referrers/" + someDigest, registry.KindReferrers, "m", someDigest},
		"referrers of no digest": {"/v2/m/referrers/x", registry.KindReferrers, "m", "x"},
		"name of our words":      {"/v2/a/manifests/b/manifests/c", registry.KindManifest, "a/manifests/b", "c"},
		"name ends like a list":  {"/v2/tags/list/manifests/c", registry.KindManifest, "tags/list", "c"},
		"tag called list":        {"/v2/m/manifests/list", registry.KindManifest, "m", "list"},
		"separators":             {"/v2/a.b_c__d--e/tags/list", registry.KindTags, "a.b_c__d--e", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			kind, name, ref, ok := registry.ParsePath(tc.path)
			if !ok || kind != tc.kind || name != tc.name || ref != tc.ref {
				t.Errorf("ParsePath(%q) = %v, %q, %q, %v; want %v, %q, %q, true",
					tc.path, kind, name, ref, ok, tc.kind, tc.name, tc.ref)
			}
		})
	}
}

func TestParsePathRejects(t *testing.T) {
	tests := map[string]string{
		"empty":                    "",
		"other root":               "/v1/m/tags/list",
		"no name":                  "/v2/manifests/x",
		"empty component":          "/v2/a//b/manifests/x",
		"leading slash":            "/v2//a/manifests/x",
		"dots":                     "/v2/a/../b/manifests/x",
		"upper case":               "/v2/Org/m/manifests/x",
		"port":                     "/v2/host:5000/m/manifests/x",
		"three underscores":        "/v2/a___b/manifests/x",
		"two dots":                 "/v2/a..b/manifests/x",
		"mixed separator":          "/v2/a-_b/manifests/x",
		"separator first":          "/v2/-a/manifests/x",
		"separator last":           "/v2/a-/manifests/x",
		"name too long":            "/v2/" + strings.Repeat("a", 256) + "/manifests/x",
		"tag too long":             "/v2/m/manifests/" + strings.Repeat("a", 129),
		"tag begins with a dot":    "/v2/m/manifests/.x",
		"short digest":             "/v2/m/manifests/sha256:00",
		"upper-case digest":        "/v2/m/manifests/" + strings.ToUpper(someDigest),
		"unknown algorithm":        "/v2/m/manifests/md5:d41d8cd98f00b204e9800998ecf8427e",
		"empty reference":          "/v2/m/manifests/",
		"slash behind":             "/v2/m/manifests/x/",
		"blob by tag":              "/v2/m/blobs/x",
		"control character":        "/v2/m/manifests/x\x00",
		"newline in the name":      "/v2/a\n/manifests/x",
		"full-width letters":       "/v2/ａ/manifests/x",
		"catalogue with something": "/v2/_catalog/x",
	}
	for name, path := range tests {
		t.Run(name, func(t *testing.T) {
			if kind, name, ref, ok := registry.ParsePath(path); ok {
				t.Errorf("ParsePath(%q) = %v, %q, %q; want it refused", path, kind, name, ref)
			}
		})
	}
}

// Whatever we make of a path, Distribution's router must make the same of it:
// a path on which the two disagree would be a way around the one in front.
func FuzzParsePath(f *testing.F) {
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/m/tags/list", "/v2/a/b/manifests/latest",
		"/v2/m/manifests/" + someDigest, "/v2/m/blobs/" + someDigest, "/v2/m/blobs/uploads/",
		"/v2/m/blobs/uploads/2f-1", "/v2/m/referrers/" + someDigest, "/v2/a/manifests/b/blobs/uploads/x",
		"/v2/a/../b/manifests/x", "/v2/host:5000/m/manifests/x", "/v2/a%2fb/manifests/x", "/v2/m/manifests/x/",
	} {
		f.Add(path)
	}
	f.Add("/v2/m/blobs/uploads/0 0")
	d := newDistribution()
	f.Fuzz(func(t *testing.T, path string) {
		kind, name, ref, ok := registry.ParsePath(path)
		if !ok {
			return
		}
		theirs := d.route(path)
		if kind == registry.KindReferrers {
			if theirs != "" {
				t.Fatalf("%q: ours are referrers, Distribution's are %q", path, theirs)
			}
			return
		}
		want := map[registry.PathKind]string{
			registry.KindBase: v2.RouteNameBase, registry.KindCatalog: v2.RouteNameCatalog,
			registry.KindTags: v2.RouteNameTags, registry.KindManifest: v2.RouteNameManifest,
			registry.KindBlob: v2.RouteNameBlob, registry.KindUpload: v2.RouteNameBlobUpload,
		}[kind]
		if kind == registry.KindUpload && ref != "" {
			want = v2.RouteNameBlobUploadChunk
		}
		if theirs != "" && theirs != want {
			t.Fatalf("%q: ours is %q, Distribution's %q", path, want, theirs)
		}
		if kind == registry.KindManifest && theirs == "" {
			t.Fatalf("%q: ours is a manifest, Distribution does not know it", path)
		}
		if got := d.path(t, want, name, ref); got != path && got != path+"/" {
			t.Fatalf("%q: Distribution builds %q of name %q and reference %q", path, got, name, ref)
		}
	})
}

// distribution is Distribution's router.
type distribution struct {
	route func(path string) string                           // name of the route, or ""
	path  func(t *testing.T, route, name, ref string) string // the other way round
}

func newDistribution() distribution {
	var seen string
	router := v2.Router()
	for _, name := range []string{
		v2.RouteNameBase, v2.RouteNameCatalog, v2.RouteNameTags, v2.RouteNameManifest,
		v2.RouteNameBlob, v2.RouteNameBlobUpload, v2.RouteNameBlobUploadChunk,
	} {
		router.GetRoute(name).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen = name }))
	}
	return distribution{
		route: func(path string) string {
			seen = ""
			req := &http.Request{Method: "GET", URL: &url.URL{Path: path}, Host: "localhost"}
			router.ServeHTTP(httptest.NewRecorder(), req)
			return seen
		},
		path: func(t *testing.T, route, name, ref string) string {
			t.Helper()
			u, err := router.GetRoute(route).URLPath("name", name, "reference", ref, "digest", ref, "uuid", ref)
			if err != nil {
				t.Fatalf("build %s of %q and %q: %v", route, name, ref, err)
			}
			return u.Path
		},
	}
}
