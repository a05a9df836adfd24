package remote_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A spegel answers as Spegel does on each node: it reads only, knows which
// registry is meant by ns, gives what some node has, parts of it too, and says
// 404 at once for what none has.
type spegel struct {
	mu   sync.Mutex
	has  map[string][]byte // by digest
	seen []string          // "ns status" of each request below /v2/
}

func (s *spegel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.has[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead, r.URL.Query().Get("ns") == "":
		s.seen = append(s.seen, "refused "+r.Method+" "+r.URL.String())
		w.WriteHeader(http.StatusNotFound)
	case !ok:
		s.seen = append(s.seen, "404")
		w.WriteHeader(http.StatusNotFound)
	default:
		s.seen = append(s.seen, "200 "+r.Header.Get("Range"))
		w.Header().Set("Docker-Content-Digest", describe("", data).Digest.String())
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

func TestSpegel(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	known := put(t, newRepo(t, origin), large)
	_, data := content(3, 2<<20)
	unknown := put(t, newRepo(t, origin), data)
	node := &spegel{has: map[string][]byte{known.Digest.String(): large}}
	mirror := testreg.New(t, testreg.Options{Handler: node})
	c := newClient(t, remote.Options{Mirrors: map[string][]remote.Mirror{remote.DefaultMirrors: {{URL: mirror.URL}}}})
	repo := repoOf(t, c, origin.Host+"/org/model")
	heaps := pull(t, repo, known, unknown)
	if !bytes.Equal(heaps[0].data, large) || !bytes.Equal(heaps[1].data, data) {
		t.Error("the bytes are not those that were pushed")
	}
	if got, err := readAll(repo.FetchRange(t.Context(), known, 5, 5)); err != nil || string(got) != "large" {
		t.Errorf("FetchRange = %q, %v", got, err)
	}
	if n := blobReads(origin); n != 1 {
		t.Errorf("the registry was asked for %d blobs, want 1", n)
	}
	if diff := cmp.Diff([]string{"404", "200 ", "200 bytes=5-9"}, node.seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	all, err := c.Mirrors(t.Context(), origin.Host)
	if err != nil || len(all) != 1 || all[0].Problem != "" {
		t.Errorf("Mirrors = %v, %v", all, err)
	}
}

// A dragonfly answers as its daemon does in mirror mode: it asks the registry
// that a header or ns names, and keeps blobs.
type dragonfly struct {
	mu     sync.Mutex
	blobs  map[string][]byte
	header bool // it is an old one, which knows the header only
	asked  int  // requests to registries
}

func (d *dragonfly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upstream := r.Header.Get("X-Dragonfly-Registry")
	if ns := r.URL.Query().Get("ns"); upstream == "" && ns != "" && !d.header {
		upstream = "http://" + ns
	}
	if upstream == "" {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	data, ok := d.blobs[r.URL.Path]
	if !ok {
		d.asked++
		resp, err := http.Get(upstream + r.URL.Path)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		data, _ = io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			w.WriteHeader(resp.StatusCode)
			return
		}
		d.blobs[r.URL.Path] = data
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func TestDragonflyMirror(t *testing.T) {
	for name, old := range map[string]bool{"ns": false, "header": true} {
		t.Run(name, func(t *testing.T) {
			origin := testreg.New(t, testreg.Options{})
			blob := put(t, newRepo(t, origin), large)
			daemon := &dragonfly{blobs: map[string][]byte{}, header: old}
			mirror := testreg.New(t, testreg.Options{Handler: daemon})
			m := remote.Mirror{URL: mirror.URL}
			if old {
				m.Header = http.Header{"X-Dragonfly-Registry": {origin.URL}}
			}
			for range 3 { // nodes
				c := newClient(t, remote.Options{Mirrors: map[string][]remote.Mirror{origin.Host: {m}}})
				if got := pull(t, repoOf(t, c, origin.Host+"/org/model"), blob); !bytes.Equal(got[0].data, large) {
					t.Error("the bytes are not those that were pushed")
				}
			}
			if n := blobReads(origin); n != 1 || daemon.asked != 1 {
				t.Errorf("the registry was asked %d times, want once for three nodes", n)
			}
		})
	}
}

// In proxy mode all requests go through Dragonfly, credentials included.
func TestDragonflyProxy(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	blob := put(t, newRepo(t, origin), large)
	var mu sync.Mutex
	kept, asked := map[string][]byte{}, 0
	proxy := testreg.New(t, testreg.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/sha256") { // as its rules say
			rp := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.URL.Host})
			rp.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if kept[r.URL.Path] == nil {
			asked++
			resp, err := http.Get(r.URL.String())
			if err != nil || resp.StatusCode != http.StatusOK {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			kept[r.URL.Path], _ = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(kept[r.URL.Path]))
	})})
	to, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		tr := &http.Transport{Proxy: http.ProxyURL(to)} // as the environment would have it
		t.Cleanup(tr.CloseIdleConnections)
		c := remote.WithNear(newClient(t, remote.Options{}), tr)
		if got := pull(t, repoOf(t, c, origin.Host+"/org/model"), blob); !bytes.Equal(got[0].data, large) {
			t.Error("the bytes are not those that were pushed")
		}
	}
	if n := blobReads(origin); n != 1 || asked != 1 {
		t.Errorf("the registry was asked %d times, want once", n)
	}
}

// What a mirror does to ranges is made up for by the registry.
func TestMirrorRanges(t *testing.T) {
	for _, fault := range []string{"range_wrong-start", "range_wrong-total", "416", "range-400"} {
		t.Run(fault, func(t *testing.T) {
			m := newMirrored(t, remote.Options{}, []testreg.Rule{testreg.Fault(fault)})
			blob := put(t, m.repo, large)
			for range 2 {
				got, err := readAll(m.repo.FetchRange(t.Context(), blob, 100, 50))
				if err != nil || !bytes.Equal(got, large[100:150]) {
					t.Errorf("FetchRange = %q, %v", got, err)
				}
			}
			if n := len(m.mirrors[0].Requests()); n != 1 {
				t.Errorf("the mirror was asked %d times, want once", n)
			}
			if got, err := readAll(m.repo.Fetch(t.Context(), blob)); err != nil || !bytes.Equal(got, large) {
				t.Errorf("Fetch: %v", err)
			}
		})
	}
}

// Bytes from the wrong place of a blob are found out at its end, and then it
// comes from elsewhere.
func TestMirrorShiftsRanges(t *testing.T) {
	cut := testreg.Rule{Method: "GET", Path: "/blobs/", Range: testreg.Without, To: 1, Do: testreg.Cut(testreg.Middle)}
	m := newMirrored(t, remote.Options{}, []testreg.Rule{{Path: "/blobs/", Do: testreg.FlipBit(7)}}, []testreg.Rule{cut, testreg.Fault("range_shift")})
	m.origin.Add(testreg.Rule{Method: "GET", Path: "/blobs/", To: 1, Do: testreg.Status(http.StatusServiceUnavailable, nil, "")})
	blob := put(t, m.repo, large)
	if got := pull(t, m.repo, blob); !bytes.Equal(got[0].data, large) {
		t.Error("the bytes are not those that were pushed")
	}
}
