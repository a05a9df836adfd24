package remote_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

func TestProbe(t *testing.T) {
	full := remote.Capabilities{
		Referrers: true, OCISubject: true, Ranges: true, Mount: true, Chunked: true, UploadStatus: true,
		DeleteTag: true, DeleteDigest: true, DeleteBlob: true, Catalog: true, DigestHeader: true,
	}
	old := full
	old.Referrers, old.OCISubject = false, false
	tests := map[string]struct {
		opts testreg.Options
		want remote.Capabilities
	}{
		"all":          {testreg.Options{}, full},
		"no referrers": {testreg.Options{NoReferrers: true}, old},
		"little": {
			testreg.Options{NoReferrers: true, Rules: []testreg.Rule{
				testreg.Fault("ignore_range"),
				refuse("DELETE", "", 405),
				refuse("PATCH", "", 416),
				refuse("POST", "mount=", 400),
				refuse("GET", "_catalog", 401),
				testreg.Fault("no-digest"),
			}},
			remote.Capabilities{},
		},
		"ranges refused": {
			testreg.Options{NoReferrers: true, Rules: []testreg.Rule{
				testreg.Fault("416"), refuse("DELETE", "", 405), refuse("PATCH", "", 416),
				refuse("POST", "mount=", 400), refuse("GET", "_catalog", 401),
			}},
			remote.Capabilities{DigestHeader: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, tt.opts)
			c := newClient(t, remote.Options{})
			got, err := c.Probe(t.Context(), s.Host, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(remote.Capabilities{}, "MaxManifest", "MinChunk", "TagCAS")); diff != "" {
				t.Errorf("Probe (-want +got):\n%s", diff)
			}
			if got.MaxManifest < 3<<20 {
				t.Errorf("MaxManifest = %d, want about 4 MiB", got.MaxManifest)
			}
		})
	}
}

// A registry that honours conditions is found out, and so is one that only
// refuses them all.
func TestProbeTagCAS(t *testing.T) {
	conditional := func(x testreg.Exchange) {
		head := x.R.Clone(x.R.Context())
		head.Method, head.Body = "HEAD", http.NoBody
		head.Header.Set("Accept", x.R.Header.Get("Content-Type"))
		w := httptest.NewRecorder()
		x.Next.ServeHTTP(w, head)
		if etag := x.R.Header.Get("If-Match"); etag != "" && etag != w.Header().Get("Etag") {
			x.W.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		x.Pass(x.W)
	}
	for name, tt := range map[string]struct {
		do   testreg.Action
		want bool
	}{
		"honoured": {conditional, true},
		"refused": {func(x testreg.Exchange) {
			if x.R.Header.Get("If-Match") != "" {
				x.W.WriteHeader(http.StatusPreconditionFailed)
				return
			}
			x.Pass(x.W)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{Rules: []testreg.Rule{{Method: "PUT", Path: "/manifests/", Do: tt.do}}})
			got, err := newClient(t, remote.Options{}).Probe(t.Context(), s.Host, "")
			if err != nil || got.TagCAS != tt.want {
				t.Errorf("Probe: TagCAS = %v, %v; want %v", got.TagCAS, err, tt.want)
			}
		})
	}
}

func refuse(method, path string, status int) testreg.Rule {
	return testreg.Rule{Method: method, Path: path, Do: testreg.Status(status, nil, "")}
}

func TestProbeLeavesNothing(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	if _, err := repoOf(t, newClient(t, remote.Options{}), s.Host+"/org/team").Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := make(map[string]bool)
	for _, q := range s.Requests() {
		if !strings.HasPrefix(q.Path, "/v2/org/team/modelreg-probe/") && q.Path != "/v2/_catalog" {
			t.Errorf("request to %s, outside of the scratch repositories", q.Path)
		}
		if q.Method == "PUT" && strings.Contains(q.Path, "/manifests/") && q.Status == 201 {
			written[q.Path] = true
		}
	}
	if len(written) < 5 {
		t.Fatalf("only %d manifests were tried", len(written))
	}
	client := s.Client()
	for path := range written {
		resp, err := client.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 {
			t.Errorf("%s is still there: %d", path, resp.StatusCode)
		}
	}
	client.CloseIdleConnections()
}

func TestProbeOfNothing(t *testing.T) {
	s := testreg.New(t, testreg.Options{Rules: []testreg.Rule{refuse("POST", "", 403)}})
	if _, err := newClient(t, remote.Options{}).Probe(t.Context(), s.Host, "x"); err == nil {
		t.Error("Probe of a registry that takes nothing: no error")
	}
}
