package remote_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// everyField is a hosts.toml with all that containerd's documentation has.
const everyField = `
server = "https://registry-1.docker.io"
capabilities = ["pull", "resolve", "push"]
unknown_field = { of = ["a", "later"], version = 3 }

[header]
  x-top = "top"

[host."https://first.example.com"]
  capabilities = ["pull"]
  ca = "/etc/certs/mirror.pem"
  skip_verify = false
  [host."https://first.example.com".header]
    x-one = ["value1", "value2"]

[host."https://second.example.com/us"]
  capabilities = ["PULL", "resolve"]
  ca = ["a.pem", "/b.pem"]
  client = [["/c.cert", "c.key"], ["c.pem", ""]]
  dial_timeout = "1500ms"
  skip_verify = true

[host."http://third.example.com:5000"]
  client = "client.pem"

[host."push.example.com"]
  capabilities = ["push"]

[host."fourth.example.com/v2/upstream"]
  override_path = true
  client = ["one.pem", "two.pem"]
  proxy = "socks5://proxy:1080"
`

func TestParseHosts(t *testing.T) {
	mirrors, server, err := remote.ParseHosts("/dir", []byte(everyField))
	if err != nil {
		t.Fatal(err)
	}
	want := []remote.Mirror{{
		URL: "https://first.example.com", CAFiles: []string{"/etc/certs/mirror.pem"},
		Header: http.Header{"X-One": {"value1", "value2"}},
	}, {
		URL: "https://second.example.com/us", Resolve: true, CAFiles: []string{"/dir/a.pem", "/b.pem"},
		ClientCerts: [][2]string{{"/c.cert", "/dir/c.key"}, {"/dir/c.pem"}}, DialTimeout: 1500 * time.Millisecond,
		SkipVerify: true, Header: http.Header{},
	}, {
		URL: "http://third.example.com:5000", Resolve: true, ClientCerts: [][2]string{{"/dir/client.pem"}}, Header: http.Header{},
	}, {
		URL: "https://fourth.example.com/v2/upstream", OverridePath: true, Resolve: true,
		ClientCerts: [][2]string{{"/dir/one.pem"}, {"/dir/two.pem"}}, Proxy: "socks5://proxy:1080", Header: http.Header{},
	}}
	if diff := cmp.Diff(want, mirrors); diff != "" {
		t.Errorf("mirrors (-want +got):\n%s", diff)
	}
	wantServer := remote.Mirror{URL: "https://registry-1.docker.io", Resolve: true, Header: http.Header{"X-Top": {"top"}}}
	if diff := cmp.Diff(wantServer, server); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
}

func TestParseHostsRejects(t *testing.T) {
	many := new(strings.Builder)
	for i := range remote.MaxHosts + 1 {
		fmt.Fprintf(many, "[host.\"https://%d.example.com\"]\n", i)
	}
	tests := map[string]string{
		"not TOML":            `server = `,
		"unknown capability":  `capabilities = ["fly"]`,
		"capabilities number": `capabilities = 3`,
		"server is no URL":    `server = "https://%zz"`,
		"host without a URL":  `[host.""]`,
		"host with password":  `[host."https://me:secret@h"]`,
		"ca of numbers":       `ca = [1]`,
		"ca is a table":       `ca = { a = 1 }`,
		"client of three":     `client = [["a", "b", "c"]]`,
		"client of numbers":   `client = [[1, 2]]`,
		"header of numbers":   "[header]\nx = 1",
		"header injection":    "[header]\nx = \"a\\r\\nb: c\"",
		"header name":         "[header]\n\"a b\" = \"c\"",
		"timeout":             `dial_timeout = "soon"`,
		"negative timeout":    `dial_timeout = "-1s"`,
		"proxy":               `proxy = "proxy"`,
		"too many":            many.String(),
		"nested deep":         "a = " + strings.Repeat("[", 30_000),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := remote.ParseHosts("/dir", []byte(raw))
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte(everyField))
	f.Add([]byte("server=\"h\"\n[host.a]\n[host.\"http://b\".header]\nx=[\"\"]"))
	f.Add([]byte("host = { \"https://x\" = { ca = [[]] } }"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		mirrors, server, err := remote.ParseHosts("/dir", raw)
		if err != nil {
			return
		}
		if len(mirrors) > remote.MaxHosts {
			t.Fatalf("%d hosts", len(mirrors))
		}
		if server.URL != "" {
			mirrors = append(mirrors, server)
		}
		for _, m := range mirrors {
			u, err := url.Parse(m.URL)
			if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
				t.Errorf("URL %q, %v", m.URL, err)
			}
			for _, file := range m.CAFiles {
				if !filepath.IsAbs(file) {
					t.Errorf("ca %q", file)
				}
			}
		}
	})
}

// writeHosts makes a directory of hosts.toml files and the like.
func writeHosts(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestHostsDir(t *testing.T) {
	origin, mirror := testreg.New(t, testreg.Options{}), testreg.New(t, testreg.Options{})
	table := "[host.\"" + mirror.URL + "\"]\n"
	under := strings.Replace(origin.Host, ":", "_", 1) + "_"
	tests := map[string]struct {
		files map[string]string
		used  bool
		warns string
	}{
		"nothing":          {nil, false, ""},
		"host and port":    {map[string]string{under + "/hosts.toml": table}, true, ""},
		"host:port":        {map[string]string{origin.Host + "/hosts.toml": table}, true, ""},
		"default":          {map[string]string{"_default/hosts.toml": table}, true, ""},
		"another host":     {map[string]string{"registry.example.com/hosts.toml": table}, false, ""},
		"first that there": {map[string]string{"_default/hosts.toml": table, origin.Host + "/hosts.toml": ""}, false, ""},
		"no pull":          {map[string]string{"_default/hosts.toml": table + "capabilities = [\"push\"]"}, false, ""},
		"damaged":          {map[string]string{"_default/hosts.toml": table + "capabilities = "}, false, "hosts.toml"},
		"too large":        {map[string]string{"_default/hosts.toml": table + strings.Repeat("#", 70_000)}, false, "over 65536 bytes"},
		"file is missing":  {map[string]string{"_default/hosts.toml": table + "ca = \"none.crt\""}, false, "none.crt"},
	}
	blob := put(t, newRepo(t, origin), large)
	put(t, newRepo(t, mirror), large)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			warned := ""
			c := newClient(t, remote.Options{HostsDir: writeHosts(t, tt.files), Warn: func(s string) { warned += s }})
			repo := repoOf(t, c, origin.Host+"/org/model")
			if got, err := readAll(repo.Fetch(t.Context(), blob)); err != nil || !bytes.Equal(got, large) {
				t.Fatal(err)
			}
			if used := repo.Served()[mirror.Host] > 0; used != tt.used {
				t.Errorf("mirror used: %v, want %v", used, tt.used)
			}
			if !strings.Contains(warned, tt.warns) || tt.warns == "" && warned != "" {
				t.Errorf("warning %q, want %q", warned, tt.warns)
			}
		})
	}
}

// A name that is no host must not lead out of the directory.
func TestHostsDirStaysInside(t *testing.T) {
	dir := writeHosts(t, map[string]string{"hosts.toml": "damaged", "certs.d/a": ""})
	for _, name := range []string{"..", "."} {
		c := newClient(t, remote.Options{
			HostsDir: filepath.Join(dir, "certs.d"),
			Warn:     func(s string) { t.Errorf("%s: %s", name, s) },
		})
		_, _ = c.Repository(name + "/org/model")
	}
}

// A server in hosts.toml is read in the registry's place, and not written.
func TestHostsServer(t *testing.T) {
	origin, server := testreg.New(t, testreg.Options{}), testreg.New(t, testreg.Options{})
	dir := writeHosts(t, map[string]string{"_default/hosts.toml": "server = \"" + server.URL + "\""})
	c := newClient(t, remote.Options{HostsDir: dir})
	put(t, newRepo(t, server), large)
	theirs, raw := manifestOf(t, newRepo(t, server), nil, "theirs")
	if err := newRepo(t, server).PushManifest(t.Context(), theirs, raw, "v1"); err != nil {
		t.Fatal(err)
	}
	server.Reset()
	repo := repoOf(t, c, origin.Host+"/org/model")
	if got, err := readAll(repo.Fetch(t.Context(), describe("", large))); err != nil || !bytes.Equal(got, large) {
		t.Errorf("Fetch: %v", err)
	}
	if _, err := readAll(repo.Origin().FetchRange(t.Context(), describe("", large), 1, 1)); err != nil {
		t.Errorf("FetchRange: %v", err)
	}
	if got, err := repo.WithMirrorTags().Resolve(t.Context(), "v1"); err != nil || got.Digest != theirs.Digest {
		t.Errorf("Resolve = %v, %v", got, err)
	}
	if n := len(origin.Requests()); n != 0 {
		t.Errorf("reading made %d requests to the registry, want 0", n)
	}
	read := len(server.Requests())
	put(t, repo, []byte("new"))
	if n := len(server.Requests()); n != read {
		t.Errorf("a push made %d requests to the server, want 0", n-read)
	}
}

// Settings of the registry itself count for all that is done with it.
func TestHostsRegistry(t *testing.T) {
	origin := testreg.New(t, testreg.Options{TLS: true})
	https := func(string) bool { return false }
	tests := map[string]struct {
		files map[string]string
		fails bool
	}{
		"nothing":            {nil, true},
		"authority beside":   {map[string]string{origin.Host + "/ca.crt": string(origin.CA)}, false},
		"authority in file":  {map[string]string{origin.Host + "/hosts.toml": "ca = \"x.pem\"", origin.Host + "/x.pem": string(origin.CA)}, false},
		"not verified":       {map[string]string{origin.Host + "/hosts.toml": "server = \"" + origin.URL + "\"\nskip_verify = true"}, false},
		"damaged, authority": {map[string]string{origin.Host + "/hosts.toml": "]", origin.Host + "/ca.crt": string(origin.CA)}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, remote.Options{HostsDir: writeHosts(t, tt.files), PlainHTTP: https})
			desc, data := content(1, 100)
			err := repoOf(t, c, origin.Host+"/org/model").Push(t.Context(), desc, bytes.NewReader(data))
			if (err != nil) != tt.fails {
				t.Errorf("Push: %v", err)
			}
			if err := c.Ping(t.Context(), origin.Host); (err != nil) != tt.fails {
				t.Errorf("Ping: %v", err)
			}
		})
	}
}

// A file of containerd's cannot send the registry's password without TLS.
func TestHostsServerWithoutTLS(t *testing.T) {
	yes := func(string) bool { return true }
	no := func(string) bool { return false }
	tests := map[string]struct {
		host, server string
		plain        func(string) bool
		want         string
		warns        bool
	}{
		"refused":          {"registry.example", "http", nil, "https", true},
		"refused too":      {"registry.example", "http", no, "https", true},
		"allowed":          {"registry.example", "http", yes, "http", false},
		"loopback":         {"127.0.0.1:5000", "http", no, "http", false},
		"loopback, to TLS": {"127.0.0.1:5000", "https", nil, "https", false},
		"TLS":              {"registry.example", "https", no, "https", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var scheme, warned string
			c := newClient(t, remote.Options{
				HostsDir:  writeHosts(t, map[string]string{"_default/hosts.toml": "server = \"" + tt.server + "://" + tt.host + "\""}),
				PlainHTTP: tt.plain,
				Warn:      func(s string) { warned += s },
				Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					scheme = req.URL.Scheme
					return status(200, nil, nil)(req)
				}),
			})
			if err := c.Ping(t.Context(), tt.host); err != nil {
				t.Fatal(err)
			}
			if scheme != tt.want || (warned != "") != tt.warns {
				t.Errorf("spoken to by %s, warned %q; want %s, a warning: %v", scheme, warned, tt.want, tt.warns)
			}
		})
	}
}

func TestMirrors(t *testing.T) {
	works, broken := testreg.New(t, testreg.Options{}), testreg.New(t, testreg.Options{Rules: []testreg.Rule{{Do: testreg.Status(502, nil, "")}}})
	dir := writeHosts(t, map[string]string{"_default/hosts.toml": "server = \"" + works.URL + "/below\"\n[host.\"" + broken.URL + "\"]"})
	c := newClient(t, remote.Options{HostsDir: dir, Mirrors: map[string][]remote.Mirror{
		"registry.example.com": {{URL: works.URL}},
	}})
	got, err := c.Mirrors(t.Context(), "registry.example.com")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "_default", "hosts.toml")
	want := []remote.MirrorStatus{
		{URL: works.URL + "/v2", From: "configuration"},
		{URL: broken.URL + "/v2", From: file, Tags: true, Problem: "get " + broken.Host + "/v2/: 502 Bad Gateway"},
		{URL: works.URL + "/below/v2", From: file, Tags: true, Problem: got[2].Problem},
	}
	if diff := cmp.Diff(want, got); diff != "" || got[2].Problem == "" {
		t.Errorf("Mirrors (-want +got):\n%s", diff)
	}
}
