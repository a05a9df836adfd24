package remote_test

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	user     = "alice"
	password = "correct horse battery staple"
)

// login returns a client whose docker configuration holds alice's password for
// the server.
func login(t *testing.T, s *testreg.Server, opts remote.Options) *remote.Client {
	t.Helper()
	opts.AuthFile = filepath.Join(t.TempDir(), "config.json")
	c := newClient(t, opts)
	if err := c.Login(t.Context(), s.Host, remote.Credential{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLogin(t *testing.T) {
	for _, scheme := range []testreg.AuthScheme{testreg.Basic, testreg.Bearer} {
		t.Run(string(scheme), func(t *testing.T) {
			s := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: scheme, Username: user, Password: password}})
			file := filepath.Join(t.TempDir(), "config.json")
			c := newClient(t, remote.Options{AuthFile: file})
			if err := c.Ping(t.Context(), s.Host); !errors.Is(err, remote.ErrUnauthorized) {
				t.Errorf("Ping without credential: %v, want ErrUnauthorized", err)
			}
			err := c.Login(t.Context(), s.Host, remote.Credential{Username: user, Password: "wrong"})
			if !errors.Is(err, remote.ErrUnauthorized) || strings.Contains(err.Error(), "wrong") {
				t.Errorf("Login with a wrong password: %v, want ErrUnauthorized", err)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a wrong password left a file: %v", err)
			}
			want := remote.Credential{Username: user, Password: password}
			if err := c.Login(t.Context(), s.Host, want); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Credential(t.Context(), s.Host); err != nil || got != want {
				t.Errorf("Credential = %v, %v; want alice's", got.Username, err)
			}
			if err := c.Ping(t.Context(), s.Host); err != nil {
				t.Errorf("Ping with credential: %v", err)
			}
			if fi, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
				t.Errorf("configuration file: %v, %v; want mode 0600", fi.Mode(), err)
			}
			if err := c.Logout(t.Context(), s.Host); err != nil {
				t.Fatal(err)
			}
			if err := c.Ping(t.Context(), s.Host); !errors.Is(err, remote.ErrUnauthorized) {
				t.Errorf("Ping after Logout: %v, want ErrUnauthorized", err)
			}
		})
	}
}

// A helper that docker's configuration names is asked, and given, the
// password; the file stays without it.
func TestLoginThroughHelper(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the helper is a shell script")
	}
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$1\" in\nstore) cat > " + dir + "/kept;;\nget) cat " + dir + "/kept;;\nerase) rm " + dir + "/kept;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-shelf"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(`{"credsStore":"shelf"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Basic, Username: user, Password: password}})
	c := newClient(t, remote.Options{AuthFile: file})
	if err := c.Login(t.Context(), s.Host, remote.Credential{Username: user, Password: password}); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context(), s.Host); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if raw, err := os.ReadFile(file); err != nil || bytes.Contains(raw, []byte("auth\"")) {
		t.Errorf("configuration = %s, %v; want no password in it", raw, err)
	}
	if err := c.Logout(t.Context(), s.Host); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the helper still has the password: %v", err)
	}
}

func TestBrokenConfigurationHurtsOnlyWhereItIsNeeded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, remote.Options{AuthFile: file})
	open := testreg.New(t, testreg.Options{})
	if err := c.Ping(t.Context(), open.Host); err != nil {
		t.Errorf("Ping of an open registry: %v", err)
	}
	closed := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Basic, Username: user, Password: password}})
	if err := c.Ping(t.Context(), closed.Host); !errors.Is(err, remote.ErrUnauthorized) {
		t.Errorf("Ping of a closed registry: %v, want ErrUnauthorized", err)
	}
}

// Wherever a registry sends us, alice's password and tokens stay at home. The
// sink is on the same address and another port, where net/http would send
// them.
func TestCredentialsStayHome(t *testing.T) {
	for _, name := range []string{"redirect-sink", "location-sink", "link-sink"} {
		for _, scheme := range []testreg.AuthScheme{testreg.Basic, testreg.Bearer} {
			t.Run(name+"/"+string(scheme), func(t *testing.T) {
				s := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: scheme, Username: user, Password: password}})
				r := repoOf(t, login(t, s, remote.Options{}), s.Host+"/org/model")
				_, data := content(1, 1<<20)
				desc := put(t, r, data)
				s.Add(testreg.Fault(name))
				if got, err := readAll(r.Fetch(t.Context(), desc)); name == "redirect-sink" && (err != nil || !bytes.Equal(got, data)) {
					t.Errorf("Fetch through a redirect = %d bytes, %v", len(got), err)
				}
				other, bytesOf := content(2, 1<<20)
				if err := r.PushFrom(t.Context(), other, opener(bytesOf), nil); name == "location-sink" && !errors.Is(err, remote.ErrProtocol) {
					t.Errorf("PushFrom to another host = %v, want ErrProtocol", err)
				}
				for range r.Tags(t.Context()) {
					continue
				}
				if leaked := s.Sink.Credentials(); leaked != nil {
					t.Errorf("credentials given away: %v", leaked)
				}
				if name == "redirect-sink" && len(s.Sink.Requests()) == 0 {
					t.Error("the redirect was not followed")
				}
			})
		}
	}
}

// foreign is a transport under which the hosts of the tests have names, so that
// they are not all loopback.
func foreign(names map[string]string) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		for name, host := range names {
			if req.URL.Host == name {
				req.Host = req.URL.Host
				req.URL.Host = host
			}
		}
		return (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestTokenServerElsewhere(t *testing.T) {
	const registry, stranger = "registry.example", "token.stranger.example"
	tests := map[string]struct {
		realm  string
		allow  map[string][]string
		secret bool // there is a password for the registry
		want   error
		leaks  bool
	}{
		"not allowed":             {"http://" + stranger + "/token", nil, true, remote.ErrUnauthorized, false},
		"allowed":                 {"http://" + stranger + "/token", map[string][]string{registry: {stranger}}, true, remote.ErrUnauthorized, true},
		"allowed for another":     {"http://" + stranger + "/token", map[string][]string{"other.example": {stranger}}, true, remote.ErrUnauthorized, false},
		"nothing to give away":    {"http://" + stranger + "/token", nil, false, remote.ErrUnauthorized, false},
		"with a user in it":       {"http://bob:pw@" + stranger + "/token", nil, true, remote.ErrProtocol, false},
		"not a URL":               {"token", nil, true, remote.ErrProtocol, false},
		"another scheme":          {"file:///etc/passwd", nil, true, remote.ErrProtocol, false},
		"same host, another port": {"http://" + registry + ":81/token", nil, true, remote.ErrUnauthorized, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Bearer, Username: user, Password: password, Realm: tt.realm}})
			file := filepath.Join(t.TempDir(), "config.json")
			if tt.secret {
				// base64 of alice:correct horse battery staple
				err := os.WriteFile(file, []byte(`{"auths":{"registry.example":{"auth":"YWxpY2U6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ=="}}}`), 0o600)
				if err != nil {
					t.Fatal(err)
				}
			}
			c := newClient(t, remote.Options{
				AuthFile: file, Realms: tt.allow,
				PlainHTTP: func(string) bool { return true },
				Transport: foreign(map[string]string{registry: s.Host, stranger: s.Sink.Host, registry + ":81": s.Sink.Host}),
			})
			err := c.Ping(t.Context(), registry)
			if !errors.Is(err, tt.want) {
				t.Errorf("Ping: %v, want %v", err, tt.want)
			}
			if got := s.Sink.Credentials() != nil; got != tt.leaks {
				t.Errorf("the token server got %v", s.Sink.Credentials())
			}
			if name == "not allowed" && !strings.Contains(err.Error(), stranger) {
				t.Errorf("error %q does not name the token server", err)
			}
		})
	}
}

func TestRealmDowngrade(t *testing.T) {
	s := testreg.New(t, testreg.Options{TLS: true, Rules: []testreg.Rule{testreg.Fault("realm-http")}})
	err := tlsClient(t, s, remote.Options{}).Ping(t.Context(), s.Host)
	if err == nil {
		_, _, err = repoOf(t, tlsClient(t, s, remote.Options{}), s.Host+"/a/b").Manifest(t.Context(), "v1")
	}
	if !errors.Is(err, remote.ErrProtocol) || len(s.Sink.Requests()) > 0 {
		t.Errorf("http realm of an https registry: %v after %d requests to it, want ErrProtocol after none", err, len(s.Sink.Requests()))
	}
}

// tlsClient returns a client that trusts the server.
func tlsClient(t *testing.T, s *testreg.Server, opts remote.Options) *remote.Client {
	t.Helper()
	opts.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(opts.CAFile, s.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	opts.PlainHTTP = func(string) bool { return false }
	return newClient(t, opts)
}

func TestTLS(t *testing.T) {
	t.Run("own authority", func(t *testing.T) {
		s := testreg.New(t, testreg.Options{TLS: true})
		r := repoOf(t, tlsClient(t, s, remote.Options{}), s.Host+"/org/model")
		desc, data := content(1, 1<<20)
		if err := r.PushFrom(t.Context(), desc, opener(data), nil); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(r.Fetch(t.Context(), desc)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("Fetch = %d bytes, %v", len(got), err)
		}
	})
	for name, kind := range map[string]testreg.Certificate{
		"wrong host": testreg.WrongHost, "expired": testreg.Expired, "self-signed": testreg.SelfSigned,
	} {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{TLS: true, Certificate: kind})
			err := tlsClient(t, s, remote.Options{}).Ping(t.Context(), s.Host)
			if !errors.Is(err, remote.ErrUnreachable) || len(s.Requests()) > 0 {
				t.Errorf("Ping = %v after %d requests, want ErrUnreachable", err, len(s.Requests()))
			}
			if err := tlsClient(t, s, remote.Options{InsecureTLS: true}).Ping(t.Context(), s.Host); err != nil {
				t.Errorf("Ping without checking: %v", err)
			}
		})
	}
	t.Run("plain HTTP behind it", func(t *testing.T) {
		s := testreg.New(t, testreg.Options{})
		c := newClient(t, remote.Options{PlainHTTP: func(string) bool { return false }})
		err := c.Ping(t.Context(), s.Host)
		if !errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "--plain-http") {
			t.Errorf("Ping = %v, want ErrUnreachable and what to do", err)
		}
	})
	t.Run("down to HTTP", func(t *testing.T) {
		s := testreg.New(t, testreg.Options{TLS: true})
		r := repoOf(t, tlsClient(t, s, remote.Options{}), s.Host+"/org/model")
		_, data := content(1, 1000)
		desc := put(t, r, data)
		s.Add(testreg.Fault("redirect-http"))
		if _, err := readAll(r.Fetch(t.Context(), desc)); !errors.Is(err, remote.ErrProtocol) || len(s.Sink.Requests()) > 0 {
			t.Errorf("Fetch = %v, want ErrProtocol", err)
		}
	})
}

func TestBadOptions(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]remote.Options{
		"no CA file":        {CAFile: empty + ".none"},
		"empty CA file":     {CAFile: empty},
		"certificate alone": {CertFile: empty},
		"no key in it":      {CertFile: empty, KeyFile: empty},
	} {
		if _, err := remote.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A registry on another host cannot send us to addresses of our own.
func TestFarAddresses(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	conn, err := remote.FarDial(t.Context(), s.Host)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, remote.ErrProtocol) {
		t.Errorf("dial of a loopback address on a stranger's word: %v, want ErrProtocol", err)
	}
	if _, port, _ := net.SplitHostPort(s.Host); port != "" {
		if conn, err := remote.FarDial(t.Context(), "localhost:"+port); err == nil {
			conn.Close()
			t.Error("dial of localhost on a stranger's word: no error")
		}
	}
}

// What a stranger names is not on this machine, by whatever name, unless the user
// has set a mirror up there.
func TestForStranger(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	const registry = "registry.example"
	plain := remote.Options{PlainHTTP: func(string) bool { return true }}
	mirrored := plain
	mirrored.Mirrors = map[string][]remote.Mirror{registry: {{URL: s.URL, Resolve: true}}}
	_, port, err := net.SplitHostPort(s.Host)
	if err != nil {
		t.Fatal(err)
	}
	desc := put(t, repoOf(t, newClient(t, plain), s.Host+"/org/model"), []byte("blob"))
	for _, host := range []string{s.Host, "localhost:" + port, "127.1:" + port, "0x7f.1:" + port, "LOCALHOST.:" + port} {
		s.Reset()
		r, err := newClient(t, plain).Repository(host + "/org/model")
		if err != nil {
			continue // no name of a host
		}
		if _, err := readAll(r.Fetch(remote.ForStranger(t.Context()), desc)); !errors.Is(err, remote.ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", host, err)
		}
		if n := len(s.Requests()); n > 0 {
			t.Errorf("%s: %d requests", host, n)
		}
	}
	if _, err := readAll(repoOf(t, newClient(t, mirrored), registry+"/org/model").Fetch(remote.ForStranger(t.Context()), desc)); err != nil {
		t.Errorf("from a mirror here: %v", err)
	}
}

func TestRegistryOfAnotherHostCannotLeadHere(t *testing.T) {
	const registry = "registry.example"
	tests := map[string]struct {
		rule testreg.Rule
		want error
	}{
		"redirect":     {testreg.Fault("redirect-sink"), remote.ErrProtocol},
		"link-local":   {testreg.Fault("redirect-linklocal"), remote.ErrProtocol},
		"token server": {testreg.Fault("realm-sink"), remote.ErrProtocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{})
			c := remote.WithNear(newClient(t, remote.Options{PlainHTTP: func(string) bool { return true }}), foreign(map[string]string{registry: s.Host}))
			r := repoOf(t, c, registry+"/org/model")
			_, data := content(1, 1000)
			desc := put(t, r, data)
			s.Add(tt.rule)
			if _, err := readAll(r.Fetch(t.Context(), desc)); !errors.Is(err, tt.want) {
				t.Errorf("Fetch: %v, want %v", err, tt.want)
			}
			if got := s.Sink.Requests(); len(got) > 0 {
				t.Errorf("requests led here: %v", got)
			}
		})
	}
}

// Where a proxy dials for us, addresses in numbers are refused all the same.
func TestAddressesBehindAProxy(t *testing.T) {
	const registry = "registry.example"
	tests := map[string]struct {
		location string
		refused  bool
	}{
		"link-local":             {"http://169.254.169.254/", true},
		"loopback":               {"http://127.0.0.1/", true},
		"mapped":                 {"http://[::ffff:127.0.0.1]/", true},
		"link-local, IPv6":       {"http://[fe80::1]/", true},
		"metadata":               {"http://100.100.100.200/", true},
		"one number":             {"http://2130706433/", true},
		"hexadecimal":            {"http://0x7f.1/", true},
		"octal":                  {"http://0177.0.0.1/", true},
		"with a dot behind":      {"http://127.0.0.1./", true},
		"private":                {"http://10.0.0.1/", false},
		"name that begins so":    {"http://127.0.0.1.example/", false},
		"name of digits at last": {"http://store1/", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			led := false
			proxy := roundTripper(func(req *http.Request) (*http.Response, error) {
				resp := &http.Response{
					StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {tt.location}},
					Body: http.NoBody, Request: req, ProtoMajor: 1, ProtoMinor: 1,
				}
				if req.URL.Host != registry {
					led = true
					resp.StatusCode = http.StatusNotFound
				}
				return resp, nil
			})
			c := newClient(t, remote.Options{PlainHTTP: func(string) bool { return true }, Transport: proxy})
			desc, _ := content(1, 1000)
			_, err := readAll(repoOf(t, c, registry+"/org/model").Fetch(t.Context(), desc))
			if err == nil || errors.Is(err, remote.ErrProtocol) != tt.refused || led == tt.refused {
				t.Errorf("Fetch: %v, led there: %v", err, led)
			}
		})
	}
}

func TestTransportHasTheRules(t *testing.T) {
	s := testreg.New(t, testreg.Options{Rules: []testreg.Rule{
		{Path: "^/there", Do: testreg.Redirect("{sink}/here")},
		{Path: "^/loop", Do: testreg.Redirect("/loop")},
	}})
	c := newClient(t, remote.Options{UserAgent: "modelreg/test"})
	client := &http.Client{Transport: c.Transport()}
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/there", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := s.Sink.Credentials(); got != nil || len(s.Sink.Requests()) != 1 {
		t.Errorf("the other port saw %v, want one request without credentials", s.Sink.Requests())
	}
	req.URL.Path = "/loop"
	resp, err = client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, remote.ErrProtocol) {
		t.Errorf("redirect loop: %v, want ErrProtocol", err)
	}
}

// What is said to somebody who has never logged in must be readable: it names no
// secrets, and so nothing in it is cut out.
func TestMissingCredentialsAreNamed(t *testing.T) {
	s := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Basic, Username: "alice", Password: "wonderland"}})
	repo := newRepo(t, s)
	_, err := repo.Resolve(t.Context(), "v1")
	if !errors.Is(err, remote.ErrUnauthorized) || !strings.Contains(err.Error(), "there are no credentials for this registry") {
		t.Errorf("Resolve error = %v, want one that says that credentials are missing", err)
	}
}
