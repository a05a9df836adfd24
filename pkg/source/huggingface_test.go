package source_test

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

const token = "hf_0123456789abcdefghijklmnopqrstuvwxyz"

func TestOpenHuggingFace(t *testing.T) {
	for name, ho := range map[string]testhub.Options{
		"one page":                    {},
		"pages of two":                {PageSize: 2},
		"signed URLs that work twice": {URLUses: 2},
		"nothing is large":            {LFS: 1 << 30},
		"everything is large":         {LFS: 1},
	} {
		t.Run(name, func(t *testing.T) {
			hub := testhub.New(t, ho)
			commit := hub.Commit("Org/Tiny-1.0", tiny())
			m := mustOpen(t, "hf://Org/Tiny-1.0", options(t, hub))
			check(t, m, tiny())
			got := []string{m.Name, m.Hub, m.ID, m.Revision, m.Commit, m.Page, m.License}
			want := []string{"hf://Org/Tiny-1.0@" + commit, "hf", "Org/Tiny-1.0", "main", commit, hub.URL() + "/Org/Tiny-1.0", "apache-2.0"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenRevisions(t *testing.T) {
	hub := testhub.New(t, testhub.Options{})
	first := hub.Commit("org/m", map[string][]byte{"a.txt": []byte("1")})
	second := hub.Commit("org/m", map[string][]byte{"a.txt": []byte("2")})
	hub.Branch("org/m", "refs/pr/1", first)
	for revision, want := range map[string]string{"": second, "@main": second, "@" + first: first, "@" + first[:8]: first, "@refs/pr/1": first} {
		m := mustOpen(t, "hf://org/m"+revision, options(t, hub))
		if m.Commit != want {
			t.Errorf("%q is %s, want %s", revision, m.Commit, want)
		}
	}
}

// What was opened stays what it is when the branch moves.
func TestOpenPinsTheCommit(t *testing.T) {
	hub := testhub.New(t, testhub.Options{})
	files := tiny()
	hub.Commit("org/m", files)
	m := mustOpen(t, "hf://org/m", options(t, hub))
	other := tiny()
	other["model.safetensors"] = append(noise(3<<20-1), 'x')
	other["config.json"] = []byte("{}")
	hub.Commit("org/m", other)
	check(t, m, files)
	for _, r := range hub.Hub.Requests() {
		if strings.Contains(r.Path, "/main") && !strings.Contains(r.Path, "/revision/") {
			t.Errorf("asked for %s", r.Path)
		}
	}
}

func TestOpenChooses(t *testing.T) {
	hub := testhub.New(t, testhub.Options{})
	hub.Commit("org/m", tiny())
	tests := map[string]struct{ include, exclude, want []string }{
		"include":          {[]string{"*.json"}, nil, []string{"config.json", "tokenizer.json"}},
		"a directory":      {[]string{"sub/"}, nil, []string{"sub/dir/a b#1.txt", "sub/übersicht.md"}},
		"star and slashes": {[]string{"s*.txt"}, nil, []string{"sub/dir/a b#1.txt"}},
		"exclude":          {nil, []string{"sub/*", "*.json", "[!R]*"}, []string{"README.md"}},
		"both":             {[]string{"*.md"}, []string{"README*"}, []string{"sub/übersicht.md"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			opts := options(t, hub)
			opts.Include, opts.Exclude = tt.include, tt.exclude
			var got []string
			for _, f := range mustOpen(t, "hf://org/m", opts).Files {
				got = append(got, f.Path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenChoosesRefuses(t *testing.T) {
	hub := testhub.New(t, testhub.Options{})
	hub.Commit("org/m", tiny())
	for pattern, want := range map[string]error{"*.gguf": glob.ErrNoMatch, "": glob.ErrPattern} {
		opts := options(t, hub)
		opts.Include = []string{pattern}
		if _, err := source.Open(t.Context(), "hf://org/m", opts); !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", pattern, err, want)
		}
	}
}

func TestOpenRefused(t *testing.T) {
	hub := testhub.New(t, testhub.Options{Token: token})
	for _, id := range []string{"org/open", "org/gated", "org/hidden"} {
		hub.Commit(id, tiny())
	}
	hub.Gate("org/gated")
	hub.Hide("org/hidden")
	tests := map[string]struct {
		name, token string
		want        error
		gated       bool
	}{
		"no such model":          {"hf://org/none", "", errdef.ErrNotFound, false},
		"no such model, token":   {"hf://org/none", token, errdef.ErrNotFound, false},
		"no such revision":       {"hf://org/open@v9", "", errdef.ErrNotFound, false},
		"private":                {"hf://org/hidden", "", errdef.ErrNotFound, false},
		"gated":                  {"hf://org/gated", "", remote.ErrForbidden, true},
		"a token that is no use": {"hf://org/open", "hf_bad", remote.ErrUnauthorized, false},
		"no name":                {"hf://", "", source.ErrName, false},
		"too many parts":         {"hf://a/b/c", "", source.ErrName, false},
		"dots":                   {"hf://a/..", "", source.ErrName, false},
		"no revision":            {"hf://a/b@", "", source.ErrName, false},
		"another scheme":         {"s3://a/b", "", source.ErrName, false},
		"a path that is not":     {"./nothing", "", source.ErrName, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			opts := options(t, hub)
			opts.HuggingFace.Token = tt.token
			_, err := source.Open(t.Context(), tt.name, opts)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Open = %v, want %v", err, tt.want)
			}
			if access, ok := errors.AsType[*source.AccessError](err); tt.gated && (!ok || !access.Gated || access.Page != hub.URL()+"/org/gated") {
				t.Errorf("access error %+v", access)
			}
			if tt.token != "" && strings.Contains(err.Error(), tt.token) {
				t.Errorf("the token is in %q", err)
			}
		})
	}
}

func TestTokenStaysWithItsHub(t *testing.T) {
	hub := testhub.New(t, testhub.Options{Token: token})
	hub.Commit("org/gated", tiny())
	hub.Gate("org/gated")
	opts := options(t, hub)
	opts.HuggingFace.Token = token
	check(t, mustOpen(t, "hf://org/gated", opts), tiny())
	for _, r := range hub.Store.Requests() {
		if r.Auth != "" {
			t.Errorf("the store was sent the token: %s", r.Path)
		}
	}
	if n := len(hub.Store.Requests()); n == 0 {
		t.Error("nothing came from the store")
	}
	// The next page of a list may not lead elsewhere: the token goes along.
	hub.Hub.Add(testreg.Rule{Path: "/tree/", Do: testreg.SetHeader(map[string]string{"Link": `<` + hub.Store.URL + `/x>; rel="next"`})})
	if _, err := source.Open(t.Context(), "hf://org/gated", opts); !errors.Is(err, remote.ErrProtocol) {
		t.Errorf("Open = %v", err)
	}
}

// Where a large file is, the hub is asked once, and not for each part of it; and
// again when the signature of the answer has run out.
func TestLargeFilesAskTheHubOnce(t *testing.T) {
	data := noise(40<<20 + 5)
	const parts = 11
	for name, tt := range map[string]struct{ uses, least, most int }{
		"for ever":  {0, 1, 1},
		"for a few": {4, 2, parts - 1},
	} {
		t.Run(name, func(t *testing.T) {
			hub := testhub.New(t, testhub.Options{URLUses: tt.uses, Token: token})
			hub.Commit("org/m", map[string][]byte{"model.safetensors": data})
			opts := options(t, hub)
			opts.HuggingFace.Token = token
			m := mustOpen(t, "hf://org/m", opts)
			got, err := read(t.Context(), m.Files[0], 0, -1)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("read %d bytes, %v", len(got), err)
			}
			asked := 0
			for _, r := range hub.Hub.Requests() {
				if strings.Contains(r.Path, "/resolve/") {
					asked++
				}
			}
			answers, moved := 0, int64(0)
			for _, r := range hub.Store.Requests() {
				if r.Auth != "" {
					t.Error("the store was sent the token")
				}
				if r.Status == http.StatusPartialContent {
					answers++
					moved += r.BytesOut
				}
			}
			if asked < tt.least || asked > tt.most || answers != parts || moved != int64(len(data)) {
				t.Errorf("the hub was asked %d times, the store gave %d parts with %d bytes; want %d to %d, %d, %d",
					asked, answers, moved, tt.least, tt.most, parts, len(data))
			}
		})
	}
}

// A token does not travel in the clear.
func TestTokenNeedsTLS(t *testing.T) {
	seen := make(chan string, 1)
	opts := source.Options{
		HuggingFace: source.Hub{Endpoint: "http://hub.example", Token: token},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			seen <- r.Header.Get("Authorization")
			return nil, errors.New("no network")
		}),
	}
	warned := ""
	opts.Warn = func(m string) { warned += m }
	if _, err := source.Open(t.Context(), "hf://org/m", opts); err == nil {
		t.Error("Open worked")
	}
	if got := <-seen; got != "" {
		t.Errorf("sent %q", got)
	}
	contains(t, warned, "without TLS")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// object picks the large file, of which parts are read.
func object(do testreg.Action, to int) testreg.Rule {
	return testreg.Rule{Method: "GET", Path: "/objects/", To: to, Do: do}
}

// Whatever goes wrong, bytes are right or there is an error of its class.
func TestFaults(t *testing.T) {
	large := map[string][]byte{"model.safetensors": noise(3 << 20)}
	tests := map[string]struct {
		hub, store []testreg.Rule
		uses       int
		want       error // nil: it works all the same
	}{
		"cut":                  {store: []testreg.Rule{object(testreg.Cut(testreg.Middle), 2)}},
		"cut at the end":       {store: []testreg.Rule{object(testreg.Cut(-1), 1)}},
		"connection ends":      {store: []testreg.Rule{object(testreg.Fin(testreg.Middle), 1)}},
		"reset":                {store: []testreg.Rule{object(testreg.Reset(), 1)}},
		"store is busy":        {store: []testreg.Rule{object(testreg.RetryAfter(503, "0"), 2)}},
		"ranges ignored":       {store: []testreg.Rule{object(testreg.IgnoreRange(), 0), object(testreg.Cut(testreg.Middle), 1)}},
		"signature ran out":    {uses: 1, store: []testreg.Rule{object(testreg.Cut(testreg.Middle), 1)}},
		"hub is busy":          {hub: []testreg.Rule{{Path: "/api/", To: 2, Do: testreg.RetryAfter(429, "0")}}},
		"hub fails":            {hub: []testreg.Rule{{Path: ".", To: 2, Do: testreg.Status(502, nil, "")}}},
		"list is cut":          {hub: []testreg.Rule{{Path: "/tree/", To: 1, Do: testreg.Cut(testreg.Middle)}}},
		"chunked":              {store: []testreg.Rule{object(testreg.Chunked(), 0)}},
		"too short":            {store: []testreg.Rule{object(testreg.Truncate(testreg.Middle), 0)}, want: content.ErrMismatchedDigest},
		"too long":             {store: []testreg.Rule{object(testreg.Long(1), 0)}, want: content.ErrMismatchedDigest},
		"wrong range":          {store: []testreg.Rule{object(testreg.ContentRange(1, 0), 0)}, want: remote.ErrProtocol},
		"wrong total":          {store: []testreg.Rule{object(testreg.ContentRange(0, 1), 0)}, want: content.ErrMismatchedDigest},
		"gzip":                 {store: []testreg.Rule{object(testreg.SetHeader(map[string]string{"Content-Encoding": "gzip"}), 0)}, want: remote.ErrProtocol},
		"signature never good": {store: []testreg.Rule{object(testreg.Status(403, nil, ""), 0)}, want: remote.ErrUnreachable},
		"other commit":         {hub: []testreg.Rule{{Path: "/resolve/", Do: testreg.SetHeader(map[string]string{"X-Repo-Commit": strings.Repeat("0", 40)})}}, want: remote.ErrProtocol},
		"other digest":         {hub: []testreg.Rule{{Path: "/resolve/", Do: testreg.SetHeader(map[string]string{"X-Linked-Etag": strings.Repeat("0", 64)})}}, want: content.ErrMismatchedDigest},
		"other size":           {hub: []testreg.Rule{{Path: "/resolve/", Do: testreg.SetHeader(map[string]string{"X-Linked-Size": "1"})}}, want: content.ErrMismatchedDigest},
		"redirect to a file":   {hub: []testreg.Rule{{Path: "/resolve/", Do: testreg.Redirect("file:///etc/passwd")}}, want: remote.ErrProtocol},
		"redirect loop":        {hub: []testreg.Rule{{Path: "/resolve/", Do: testreg.Redirect("{path}")}}, want: remote.ErrProtocol},
		"link-local":           {hub: []testreg.Rule{{Path: "/resolve/", Do: testreg.Redirect("http://169.254.169.254/latest")}}, want: remote.ErrProtocol},
		"list leads to itself": {hub: []testreg.Rule{{Path: "/tree/", Do: func(x testreg.Exchange) {
			testreg.SetHeader(map[string]string{"Link": "<http://" + x.R.Host + x.R.URL.RequestURI() + `>; rel="next"`})(x)
		}}}, want: remote.ErrProtocol},
		"not JSON":             {hub: []testreg.Rule{{Path: "/tree/", Do: testreg.Status(200, nil, "<html>")}}, want: remote.ErrProtocol},
		"no commit":            {hub: []testreg.Rule{{Path: "/revision/", Do: testreg.Status(200, nil, `{"id":"org/m","sha":"main"}`)}}, want: remote.ErrProtocol},
		"a digest that is not": {hub: []testreg.Rule{{Path: "/tree/", Do: testreg.Status(200, nil, `[{"type":"file","path":"a","size":1,"lfs":{"oid":"x","size":1}}]`)}}, want: remote.ErrProtocol},
		"a negative size":      {hub: []testreg.Rule{{Path: "/tree/", Do: testreg.Status(200, nil, `[{"type":"file","path":"a","size":-1}]`)}}, want: remote.ErrProtocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := testhub.New(t, testhub.Options{URLUses: tt.uses})
			hub.Commit("org/m", large)
			hub.Hub.Add(tt.hub...)
			hub.Store.Add(tt.store...)
			m, err := source.Open(t.Context(), "hf://org/m", options(t, hub))
			if err == nil {
				defer m.Close()
				f := m.Files[0]
				var got, part []byte
				if got, err = read(t.Context(), f, 0, -1); err == nil {
					part, err = read(t.Context(), f, 1<<20, 100)
				}
				if err == nil && (!slices.Equal(got, large[f.Path]) || !slices.Equal(part, got[1<<20:1<<20+100])) {
					t.Error("wrong bytes")
				}
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

// Files that are fetched at once are compared at once.
func TestSmallFilesAreCompared(t *testing.T) {
	for name, file := range map[string]string{"by git's digest": "config.json", "by SHA-256": "tokenizer.json"} {
		t.Run(name, func(t *testing.T) {
			hub := testhub.New(t, testhub.Options{})
			hub.Commit("org/m", tiny())
			hub.Corrupt(tiny()[file])
			_, err := source.Open(t.Context(), "hf://org/m", options(t, hub))
			if !errors.Is(err, content.ErrMismatchedDigest) {
				t.Errorf("Open = %v", err)
			}
		})
	}
}

// A hub that is not on this machine leads nobody to it.
func TestRedirectsToThisMachineAreRefused(t *testing.T) {
	hub := testhub.New(t, testhub.Options{})
	hub.Commit("org/m", tiny())
	var mu sync.Mutex
	var dialled []string
	c, err := remote.New(remote.Options{AuthFile: "/nonexistent", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		// hub.example stands for the hub, as DNS would say.
		mu.Lock()
		dialled = append(dialled, r.URL.Host)
		mu.Unlock()
		out := r.Clone(r.Context())
		if r.URL.Host == "hub.example" {
			out.URL.Host = hub.Hub.Host
		}
		return http.DefaultTransport.RoundTrip(out)
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	opts := options(t, hub)
	opts.Transport, opts.HuggingFace.Endpoint = c.Transport(), "http://hub.example"
	_, err = source.Open(t.Context(), "hf://org/m", opts)
	if !errors.Is(err, remote.ErrProtocol) {
		t.Errorf("Open = %v", err)
	}
	if slices.Contains(dialled, hub.Store.Host) {
		t.Error("the store on this machine was asked")
	}
}
