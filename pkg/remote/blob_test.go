package remote_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// blobRequests counts the GETs of blobs that a server has seen.
func blobRequests(s *testreg.Server) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/sha256:") {
			n++
		}
	}
	return n
}

// readParts reads the blob in parts of 100,000 bytes.
func readParts(t *testing.T, r *remote.Repository, desc ocispec.Descriptor, want []byte) {
	t.Helper()
	open := r.Locate(desc)
	for off := int64(0); off < desc.Size; off += 100_000 {
		n := min(100_000, desc.Size-off)
		rc, from, err := open(t.Context(), off, n)
		if err != nil || from != off {
			t.Fatalf("open part at %d = from %d, %v", off, from, err)
		}
		got, err := io.ReadAll(rc)
		rc.Close()
		if err != nil || !bytes.Equal(got, want[off:off+n]) {
			t.Fatalf("part at %d is wrong: %d bytes, %v", off, len(got), err)
		}
	}
}

// A registry that redirects is asked once for a blob, and its credentials stay
// with it; when where it led refuses, once more.
func TestRedirectIsRemembered(t *testing.T) {
	refuse := func(status int) testreg.Rule {
		return testreg.Rule{Method: "GET", Path: "/blobs/", From: 3, To: 3, Do: testreg.Status(status, nil, "expired")}
	}
	tests := map[string]struct {
		cdn    []testreg.Rule
		origin int // requests
		cdnAll int
	}{
		"lasting":      {nil, 1, 10},
		"expired 401":  {[]testreg.Rule{refuse(401)}, 2, 0},
		"expired 403":  {[]testreg.Rule{refuse(403)}, 2, 0},
		"expired 404":  {[]testreg.Rule{refuse(404)}, 2, 0},
		"expired 410":  {[]testreg.Rule{refuse(410)}, 2, 0},
		"expired 400":  {[]testreg.Rule{refuse(400)}, 2, 0},
		"failing 500":  {[]testreg.Rule{refuse(500)}, 2, 0},
		"failing 502":  {[]testreg.Rule{refuse(502)}, 2, 0},
		"failing 504":  {[]testreg.Rule{refuse(504)}, 2, 0},
		"wrong answer": {[]testreg.Rule{{Method: "GET", Range: testreg.With, From: 3, To: 3, Do: testreg.ContentRange(1, 0)}}, 2, 0},
		"reset":        {[]testreg.Rule{{Method: "GET", From: 3, To: 4, Do: testreg.Reset()}}, 2, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			origin := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Bearer}})
			cdn := testreg.New(t, testreg.Options{Handler: origin.Backend(), Rules: tt.cdn})
			r := newRepo(t, origin)
			desc, data := content(7, 1_000_000)
			if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			origin.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Auth: testreg.With, Do: testreg.Redirect(cdn.URL + "{path}")})
			readParts(t, r, desc, data)
			got := 0
			for _, q := range origin.Requests() {
				if q.Method == http.MethodGet && strings.Contains(q.Path, "/blobs/sha256:") && q.Status == http.StatusTemporaryRedirect {
					got++
				}
			}
			if got != tt.origin {
				t.Errorf("the registry redirected %d times, want %d", got, tt.origin)
			}
			if tt.cdnAll > 0 && blobRequests(cdn) != tt.cdnAll {
				t.Errorf("%d requests at the other host, want %d", blobRequests(cdn), tt.cdnAll)
			}
			for _, q := range cdn.Requests() {
				if q.Auth != "" {
					t.Error("credentials went to another host")
				}
			}
		})
	}
}

// A host that a registry leads to may be busy for a moment. When it stays so,
// the registry is asked for another.
func TestBusyRedirect(t *testing.T) {
	busy := func(from, to int) testreg.Rule {
		return testreg.Rule{Method: "GET", From: from, To: to, Do: testreg.RetryAfter(503, "3")}
	}
	tests := map[string]struct {
		cdn    []testreg.Rule
		origin int   // redirects
		refuse []int // calls
	}{
		"once":           {[]testreg.Rule{busy(2, 2)}, 1, []int{1}},
		"twice":          {[]testreg.Rule{busy(2, 3)}, 2, []int{1, 2}},
		"now and then":   {[]testreg.Rule{busy(2, 2), busy(3, 3)}, 1, []int{1, 3}},
		"from the start": {[]testreg.Rule{busy(1, 2)}, 3, []int{0, 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			origin := testreg.New(t, testreg.Options{})
			cdn := testreg.New(t, testreg.Options{Handler: origin.Backend(), Rules: tt.cdn})
			r := newRepo(t, origin)
			_, data := content(7, 1000)
			desc := put(t, r, data)
			origin.Add(testreg.Rule{Name: "redirect", Method: "GET", Path: "/blobs/sha256:", Do: testreg.Redirect(cdn.URL + "{path}")})
			open := r.Locate(desc)
			var refused []int
			for i := range 5 {
				rc, _, err := open(t.Context(), int64(i), 10)
				if err == nil {
					rc.Close()
					continue
				}
				refused = append(refused, i)
				e, ok := errors.AsType[*remote.Error](err)
				if !ok {
					t.Fatalf("call %d: %v", i, err)
				}
				if wait, again := e.Retry(); wait != 3*time.Second || !again || !e.Overloaded() {
					t.Errorf("call %d: wait %v, again %v, overloaded %v", i, wait, again, e.Overloaded())
				}
			}
			if diff := cmp.Diff(tt.refuse, refused); diff != "" {
				t.Errorf("refused calls (-want +got):\n%s", diff)
			}
			if n := blobRequests(origin); n != tt.origin {
				t.Errorf("the registry was asked %d times, want %d", n, tt.origin)
			}
		})
	}
}

// Who reads a part once is not to be told to try again.
func TestBusyRedirectOfOneReader(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	cdn := testreg.New(t, testreg.Options{Handler: origin.Backend(), Rules: []testreg.Rule{
		{Method: "GET", From: 2, To: 4, Do: testreg.RetryAfter(503, "0")},
	}})
	r := newRepo(t, origin)
	_, data := content(7, 1000)
	desc := put(t, r, data)
	origin.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: testreg.Redirect(cdn.URL + "{path}")})
	for i := range 2 {
		if _, err := readAll(r.FetchRange(t.Context(), desc, int64(i), 10)); err != nil {
			t.Errorf("read %d: %v", i, err)
		}
	}
}

// A part through Locate is asked for once: the one who reads many decides when
// to ask again. FetchRange asks again by itself.
func TestLocateAsksOnce(t *testing.T) {
	desc, _ := content(7, 1000)
	for name, first := range map[string]func(*http.Request) (*http.Response, error){
		"429":   status(429, map[string]string{"Retry-After": "7"}, nil),
		"503":   status(503, map[string]string{"Retry-After": "7"}, nil),
		"500":   status(500, nil, nil),
		"reset": broken(syscall.ECONNRESET),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport, n := answers(first)
				r := repoOf(t, newClient(t, remote.Options{Transport: transport}), "registry.example/a/b")
				_, _, err := r.Locate(desc)(t.Context(), 10, 10)
				e, ok := errors.AsType[*remote.Error](err)
				if !ok || *n != 1 {
					t.Fatalf("%d requests, then %v; want one", *n, err)
				}
				wait, again := e.Retry()
				if want := e.Overloaded(); !again || (wait == 7*time.Second) != want {
					t.Errorf("Retry = %v, %v", wait, again)
				}
				if _, err := r.FetchRange(t.Context(), desc, 10, 10); err == nil || *n != 7 {
					t.Errorf("FetchRange: %d requests, then %v; want 6", *n-1, err)
				}
			})
		})
	}
}

// A registry may redirect whole blobs and not parts, which are then read where
// the whole one was.
func TestRedirectOfWholeBlobs(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	cdn := testreg.New(t, testreg.Options{Handler: origin.Backend()})
	r := newRepo(t, origin)
	desc, data := content(7, 1_000_000)
	if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	origin.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Range: testreg.Without, Do: testreg.Redirect(cdn.URL + "{path}")})
	readParts(t, r, desc, data)
	if blobRequests(cdn) != 0 {
		t.Error("parts were redirected")
	}
	rc, err := r.Fetch(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
	readParts(t, r, desc, data)
	if got := blobRequests(cdn); got != 11 {
		t.Errorf("%d requests at the other host, want 11", got)
	}
}

// A host that a registry leads to must obey the same rules at each request.
func TestRememberedRedirectIsGuarded(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	cdn := testreg.New(t, testreg.Options{Handler: origin.Backend(), Rules: []testreg.Rule{
		{Method: "GET", From: 2, Do: testreg.Redirect("http://169.254.169.254{path}")},
	}})
	r := newRepo(t, origin)
	desc, data := content(7, 300_000)
	if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	origin.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: testreg.Redirect(cdn.URL + "{path}")})
	open := r.Locate(desc)
	for i := range 2 {
		rc, _, err := open(t.Context(), int64(i), 10)
		if i == 0 && err != nil || i == 1 && !errors.Is(err, remote.ErrProtocol) {
			t.Errorf("request %d = %v", i, err)
		}
		if err == nil {
			rc.Close()
		}
	}
}

// A registry without parts gives whole blobs, and is taken at that.
func TestLocateWhole(t *testing.T) {
	s := testreg.New(t, testreg.Options{Rules: []testreg.Rule{testreg.Fault("ignore_range")}})
	r := newRepo(t, s)
	desc, data := content(7, 1_000_000)
	if err := r.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	rc, from, err := r.Locate(desc)(t.Context(), 500_000, 10)
	if err != nil || from != 0 {
		t.Fatalf("from %d, %v", from, err)
	}
	defer rc.Close()
	if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
