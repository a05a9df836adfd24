package remote_test

import (
	"bytes"
	"context"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// mirrored is a registry with mirrors of all it has.
type mirrored struct {
	origin  *testreg.Server
	mirrors []*testreg.Server
	client  *remote.Client
	repo    *remote.Repository
}

// large is content that is too long to be checked before it is handed on.
var large = bytes.Repeat([]byte("large"), 256<<10)

// newMirrored starts a registry and a mirror for each list of rules.
func newMirrored(t *testing.T, opts remote.Options, rules ...[]testreg.Rule) *mirrored {
	t.Helper()
	m := &mirrored{origin: testreg.New(t, testreg.Options{})}
	var list []remote.Mirror
	for _, r := range rules {
		s := testreg.New(t, testreg.Options{Handler: m.origin.Backend(), Rules: r})
		m.mirrors = append(m.mirrors, s)
		list = append(list, remote.Mirror{URL: s.URL})
	}
	if opts.Mirrors == nil {
		opts.Mirrors = map[string][]remote.Mirror{m.origin.Host: list}
	}
	m.client = newClient(t, opts)
	m.repo = repoOf(t, m.client, m.origin.Host+"/org/model")
	return m
}

// blobReads counts the GET requests for blobs that a server has answered with
// content.
func blobReads(s *testreg.Server) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/sha256:") && r.Status/100 == 2 {
			n++
		}
	}
	return n
}

// A heap is a [transfer.Partial] in memory that keeps nothing.
type heap struct {
	data []byte
	done bool
}

func (h *heap) WriteAt(p []byte, off int64) (int, error) {
	if need := off + int64(len(p)) - int64(len(h.data)); need > 0 {
		h.data = append(h.data, make([]byte, need)...)
	}
	return copy(h.data[off:], p), nil
}

func (h *heap) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(h.data).ReadAt(p, off)
}
func (h *heap) Resume() (int64, hash.Hash, error) { return 0, digest.SHA256.Hash(), nil }
func (h *heap) Checkpoint(int64, hash.Hash) error { return nil }
func (h *heap) Reset() error                      { h.data = nil; return nil }
func (h *heap) Commit() error                     { h.done = true; return nil }
func (h *heap) Close() error                      { return nil }
func pull(t *testing.T, src *remote.Repository, descs ...ocispec.Descriptor) []*heap {
	t.Helper()
	heaps := make([]*heap, len(descs))
	jobs := make([]transfer.Job, len(descs))
	for i, d := range descs {
		heaps[i] = new(heap)
		jobs[i] = transfer.Job{Desc: d, Open: func() (transfer.Partial, error) { return heaps[i], nil }}
	}
	if err := transfer.Pull(t.Context(), src, jobs, transfer.PullOptions{Workers: 1}); err != nil {
		t.Fatalf("Pull: %v", err)
	}
	return heaps
}

func TestMirrorFaults(t *testing.T) {
	status := func(code int) testreg.Rule { return testreg.Rule{Do: testreg.Status(code, nil, "")} }
	tests := map[string]struct {
		rules  []testreg.Rule
		origin int // blobs of the two that come from the registry, at most
		least  int
		wait   bool // for the mirror to be given up
	}{
		"all is well":         {},
		"nothing there":       {[]testreg.Rule{status(404)}, 2, 2, false},
		"server error":        {[]testreg.Rule{status(500)}, 2, 2, false},
		"busy":                {[]testreg.Rule{{Do: testreg.RetryAfter(429, "30")}}, 2, 2, false},
		"forbidden":           {[]testreg.Rule{status(403)}, 2, 2, false},
		"unauthorized":        {[]testreg.Rule{status(401)}, 2, 2, false},
		"no answer":           {[]testreg.Rule{{Do: testreg.Hang()}}, 2, 2, true},
		"reset":               {[]testreg.Rule{{Do: testreg.Reset()}}, 2, 2, false},
		"stalled":             {[]testreg.Rule{{Path: "/blobs/", Do: testreg.Stall(testreg.Middle)}}, 2, 2, true},
		"cut":                 {[]testreg.Rule{{Path: "/blobs/", Do: testreg.Cut(testreg.Middle)}}, 2, 2, false},
		"cut once":            {[]testreg.Rule{{Path: "/blobs/", To: 1, Do: testreg.Cut(testreg.Middle)}}, 2, 1, false},
		"cut, and no ranges":  {[]testreg.Rule{{Path: "/blobs/", To: 1, Do: testreg.Cut(testreg.Middle)}, testreg.Fault("ignore_range")}, 2, 1, false},
		"truncated":           {[]testreg.Rule{testreg.Fault("truncate")}, 2, 2, false},
		"too long":            {[]testreg.Rule{testreg.Fault("long")}, 2, 2, false},
		"first byte wrong":    {[]testreg.Rule{{Path: "/blobs/", Do: testreg.FlipBit(0)}}, 2, 2, false},
		"last byte wrong":     {[]testreg.Rule{{Path: "/blobs/", Do: testreg.FlipBit(-1)}}, 2, 2, false},
		"another blob":        {[]testreg.Rule{{Path: "/blobs/", Do: testreg.Swap()}}, 2, 2, false},
		"wrong once":          {[]testreg.Rule{{Path: "/blobs/", To: 1, Do: testreg.FlipBit(-1)}}, 2, 1, false},
		"manifest wrong":      {[]testreg.Rule{{Path: "/manifests/", Do: testreg.FlipBit(-2)}}, 2, 0, false},
		"manifest missing":    {[]testreg.Rule{{Path: "/manifests/", Do: testreg.Status(404, nil, "")}}, 0, 0, false},
		"compressed on a way": {[]testreg.Rule{{Do: testreg.SetHeader(map[string]string{"Content-Encoding": "gzip"})}}, 2, 2, false},
		"led to a circle":     {[]testreg.Rule{{Do: testreg.Redirect("{url}{path}")}}, 2, 2, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirrored(t, remote.Options{}, tt.rules)
			if tt.wait {
				m.repo = repoOf(t, remote.WithMirrorPatience(m.client, 300*time.Millisecond), m.repo.Name())
			}
			little, big := put(t, m.repo, []byte("little")), put(t, m.repo, large)
			desc, raw := manifestOf(t, m.repo, nil, "note")
			if err := m.repo.PushManifest(t.Context(), desc, raw, "v1"); err != nil {
				t.Fatal(err)
			}
			_, got, err := m.repo.Manifest(t.Context(), desc.Digest.String())
			if err != nil || !bytes.Equal(got, raw) {
				t.Errorf("Manifest = %q, %v", got, err)
			}
			heaps := pull(t, m.repo, big, little)
			if string(heaps[1].data) != "little" || !bytes.Equal(heaps[0].data, large) {
				t.Error("the bytes are not those that were pushed")
			}
			if n := blobReads(m.origin); n > tt.origin || n < tt.least {
				t.Errorf("the registry was asked for %d blobs, want %d to %d", n, tt.least, tt.origin)
			}
			if n := blobReads(m.origin); n == 0 && m.repo.Served()[m.mirrors[0].Host] != big.Size+little.Size {
				t.Errorf("Served = %v", m.repo.Served())
			}
		})
	}
}

func TestMirrorOrder(t *testing.T) {
	bad := []testreg.Rule{{Path: "/blobs/", Do: testreg.FlipBit(5)}}
	m := newMirrored(t, remote.Options{}, bad, bad, nil)
	blob := put(t, m.repo, large)
	pull(t, m.repo, blob)
	if n := blobReads(m.origin); n != 0 {
		t.Errorf("the registry was asked for %d blobs, want 0: a mirror had it", n)
	}
	for i, s := range m.mirrors {
		if n := blobReads(s); n != 1 {
			t.Errorf("mirror %d was asked for %d blobs, want 1", i, n)
		}
	}
}

func TestMirrorRequests(t *testing.T) {
	m := newMirrored(t, remote.Options{}, nil)
	data := large
	blob := put(t, m.repo, data)
	desc, raw := manifestOf(t, m.repo, nil, "note")
	if err := m.repo.PushManifest(t.Context(), desc, raw, "v1"); err != nil {
		t.Fatal(err)
	}
	if n := len(m.mirrors[0].Requests()); n != 0 {
		t.Errorf("a push made %d requests to a mirror", n)
	}
	got, err := readAll(m.repo.FetchRange(t.Context(), blob, 10, 7))
	if err != nil || !bytes.Equal(got, data[10:17]) {
		t.Errorf("FetchRange = %q, %v", got, err)
	}
	for _, reference := range []string{"v1", desc.Digest.String()} {
		if got, err := m.repo.Resolve(t.Context(), reference); err != nil || got.Digest != desc.Digest {
			t.Errorf("Resolve(%s) = %v, %v", reference, got, err)
		}
	}
	if ok, err := m.repo.Exists(t.Context(), blob); !ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
	want := []string{
		"GET /v2/org/model/blobs/" + blob.Digest.String() + " ns=" + strings.Replace(m.origin.Host, ":", "%3A", 1),
		"GET /v2/org/model/manifests/" + desc.Digest.String() + " ns=" + strings.Replace(m.origin.Host, ":", "%3A", 1),
	}
	var asked []string
	for _, r := range m.mirrors[0].Requests() {
		asked = append(asked, r.Method+" "+r.Path+" "+r.Query)
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests to the mirror (-want +got):\n%s", diff)
	}
}

func TestOrigin(t *testing.T) {
	m := newMirrored(t, remote.Options{}, nil)
	blob := put(t, m.repo, large)
	if _, err := readAll(m.repo.Origin().FetchRange(t.Context(), blob, 10, 7)); err != nil {
		t.Fatal(err)
	}
	if n := len(m.mirrors[0].Requests()); n != 0 {
		t.Errorf("%d requests to a mirror, want 0", n)
	}
}

// A mirror that is trusted with tags is asked for them by those who read, and
// a mirror that is not never is.
func TestMirrorTags(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	other := testreg.New(t, testreg.Options{})
	for _, trusted := range []bool{false, true} {
		c := newClient(t, remote.Options{Mirrors: map[string][]remote.Mirror{
			remote.DefaultMirrors: {{URL: other.URL, Resolve: trusted}},
		}})
		repo := repoOf(t, c, origin.Host+"/org/model")
		mine, raw := manifestOf(t, repo, nil, "mine")
		if err := repo.PushManifest(t.Context(), mine, raw, "v1"); err != nil {
			t.Fatal(err)
		}
		elsewhere := repoOf(t, c, other.Host+"/org/model")
		theirs, raw := manifestOf(t, elsewhere, nil, "theirs")
		if err := elsewhere.PushManifest(t.Context(), theirs, raw, "v1"); err != nil {
			t.Fatal(err)
		}
		got, err := repo.Resolve(t.Context(), "v1")
		if err != nil || got.Digest != mine.Digest {
			t.Errorf("Resolve = %v, %v, want the registry's word", got.Digest, err)
		}
		want := mine.Digest
		if trusted {
			want = theirs.Digest
		}
		if got, err := repo.WithMirrorTags().Resolve(t.Context(), "v1"); err != nil || got.Digest != want {
			t.Errorf("trusted %v: Resolve with mirrors' tags = %v, %v, want %v", trusted, got.Digest, err, want)
		}
	}
}

// A mirror on another port gets its own credentials and never the registry's.
func TestMirrorCredentials(t *testing.T) {
	for _, scheme := range []testreg.AuthScheme{testreg.Basic, testreg.Bearer} {
		origin := testreg.New(t, testreg.Options{})
		data := large
		blob := put(t, newRepo(t, origin), data)
		origin.SetAuth(testreg.Auth{Scheme: scheme, Username: "me", Password: "origin"})
		open := testreg.New(t, testreg.Options{Handler: origin.Backend(), Auth: testreg.Auth{
			Scheme: scheme, Username: "me", Password: "mirror",
		}})
		lost := testreg.New(t, testreg.Options{Handler: http.NotFoundHandler()})
		auth := filepath.Join(t.TempDir(), "config.json")
		c := newClient(t, remote.Options{AuthFile: auth, Mirrors: map[string][]remote.Mirror{
			origin.Host: {{URL: lost.URL}, {URL: open.URL}},
		}})
		for host, password := range map[string]string{origin.Host: "origin", open.Host: "mirror"} {
			if err := c.Login(t.Context(), host, remote.Credential{Username: "me", Password: password}); err != nil {
				t.Fatal(err)
			}
		}
		repo := repoOf(t, c, origin.Host+"/org/model")
		if _, err := repo.Origin().FetchRange(t.Context(), blob, 0, 1); err != nil { // a token is there now
			t.Fatal(err)
		}
		before := blobReads(origin)
		if got, err := readAll(repo.Fetch(t.Context(), blob)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: Fetch: %v", scheme, err)
		}
		if n := blobReads(origin) - before; n != 0 {
			t.Errorf("%s: the registry was asked for %d blobs, want 0", scheme, n)
		}
		for _, r := range lost.Requests() {
			if r.Auth != "" {
				t.Errorf("%s: a mirror without a credential was sent one", scheme)
			}
		}
	}
}

func TestMirrorHeaderAndPath(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	blob := put(t, newRepo(t, origin), large)
	var asked []string
	away := testreg.New(t, testreg.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, "away: "+r.Header.Get("X-Secret"))
		origin.Backend().ServeHTTP(w, r)
	})})
	proxy := testreg.New(t, testreg.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path[:strings.Index(r.URL.Path, "/blobs")]+": "+r.Header.Get("X-Secret"))
		http.Redirect(w, r, away.URL+strings.Replace(r.URL.Path, "/v2/proxy/", "/v2/", 1), http.StatusTemporaryRedirect)
	})})
	c := newClient(t, remote.Options{Mirrors: map[string][]remote.Mirror{origin.Host: {{
		URL: proxy.URL + "/v2/proxy/", OverridePath: true, Header: http.Header{"x-secret": {"s"}},
	}}}})
	if _, err := readAll(repoOf(t, c, origin.Host+"/org/model").Fetch(t.Context(), blob)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/v2/proxy/org/model: s", "away: "}, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestMirrorTLS(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	blob := put(t, newRepo(t, origin), large)
	mirror := testreg.New(t, testreg.Options{Handler: origin.Backend(), TLS: true})
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, mirror.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		mirror remote.Mirror
		used   bool
	}{
		"not trusted":  {remote.Mirror{}, false},
		"authority":    {remote.Mirror{CAFiles: []string{ca}}, true},
		"not verified": {remote.Mirror{SkipVerify: true}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.mirror.URL = mirror.URL
			c := newClient(t, remote.Options{Mirrors: map[string][]remote.Mirror{origin.Host: {tt.mirror}}})
			repo := repoOf(t, c, origin.Host+"/org/model")
			if _, err := readAll(repo.Fetch(t.Context(), blob)); err != nil {
				t.Fatal(err)
			}
			if used := repo.Served()[mirror.Host] > 0; used != tt.used {
				t.Errorf("mirror used: %v, want %v", used, tt.used)
			}
		})
	}
}

func TestMirrorRejects(t *testing.T) {
	tests := map[string]remote.Mirror{
		"no URL":                {},
		"no scheme":             {URL: "mirror.example.com"},
		"another scheme":        {URL: "ftp://mirror.example.com"},
		"a password":            {URL: "https://me:secret@mirror.example.com"},
		"a password and no URL": {URL: "https://me:secret@mirror:port"},
		"a query":               {URL: "https://mirror.example.com?ns=x"},
		"no authority file":     {URL: "https://mirror.example.com", CAFiles: []string{"/nowhere/ca.pem"}},
		"no certificate":        {URL: "https://mirror.example.com", ClientCerts: [][2]string{{"/nowhere/c.pem"}}},
		"proxy with a path":     {URL: "https://mirror.example.com", Proxy: "http://proxy/path"},
		"proxy of no kind":      {URL: "https://mirror.example.com", Proxy: "ftp://proxy"},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := remote.New(remote.Options{Mirrors: map[string][]remote.Mirror{"registry.example.com": {m}}})
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("New error = %v", err)
			}
		})
	}
}

// A mirror that failed is left alone, longer each time, and not for ever.
func TestMirrorRest(t *testing.T) {
	want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}
	if diff := cmp.Diff(want, remote.MirrorRest(3, 0)); diff != "" {
		t.Errorf("rests (-want +got):\n%s", diff)
	}
	if got := remote.MirrorRest(1, time.Minute)[0]; got != time.Minute {
		t.Errorf("rest after Retry-After: 60 = %v", got)
	}
	all := remote.MirrorRest(100, 0)
	if got := all[len(all)-1]; got != 5*time.Minute {
		t.Errorf("the longest rest = %v, want 5m", got)
	}
}

func TestMirrorDownIsSkipped(t *testing.T) {
	m := newMirrored(t, remote.Options{}, []testreg.Rule{{Do: testreg.Status(503, nil, "")}})
	for i := range 5 {
		blob := put(t, m.repo, []byte{byte(i)})
		if _, err := readAll(m.repo.Fetch(t.Context(), blob)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.mirrors[0].Requests()); n != 1 {
		t.Errorf("%d requests to a mirror that does not work, want 1", n)
	}
}

func TestMirrorGivenUp(t *testing.T) {
	m := newMirrored(t, remote.Options{}, []testreg.Rule{{Do: testreg.Hang()}})
	blob := put(t, m.repo, []byte("x"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := readAll(m.repo.Fetch(ctx, blob))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch error = %v", err)
	}
	if n := blobReads(m.origin); n != 0 {
		t.Errorf("the registry was asked after the caller gave up")
	}
}

// Wrong bytes that the registry itself gave are no reason to leave a mirror alone
// that gave right ones.
func TestWrongBytesOfTheRegistry(t *testing.T) {
	m := newMirrored(t, remote.Options{}, []testreg.Rule{
		{Method: http.MethodGet, Path: "/blobs/", From: 2, To: 2, Do: testreg.Status(http.StatusServiceUnavailable, nil, "")},
	})
	m.origin.Add(testreg.Rule{Method: http.MethodGet, Path: "/blobs/", Do: testreg.FlipBit(0)})
	desc := put(t, m.repo, large)
	read := func(off int64) (p [100]byte, from transfer.Placed) {
		t.Helper()
		rc, err := m.repo.FetchRange(t.Context(), desc, off, int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		if _, err := io.ReadFull(rc, p[:]); err != nil {
			t.Fatal(err)
		}
		from, ok := rc.(transfer.Placed)
		if !ok {
			t.Fatalf("bytes from %d do not know where they are from", off)
		}
		return p, from
	}
	if p, _ := read(0); !bytes.Equal(p[:], large[:100]) {
		t.Fatal("the mirror gives wrong bytes")
	}
	p, from := read(1000) // of the registry, since the mirror fails once
	if bytes.Equal(p[:], large[1000:1100]) {
		t.Fatal("the registry gives the right bytes")
	}
	if from.Distrust() {
		t.Error("somebody else is blamed for what the registry gave")
	}
	if !m.repo.Distrust(desc) {
		t.Error("the mirror was taken off the list of those that gave bytes")
	}
}
