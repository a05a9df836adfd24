package testreg_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/internal/testreg"
)

// say answers 200 with a word, so that a test sees which rule acted.
func say(word string) testreg.Action { return testreg.Status(200, nil, word) }

func TestRulesPickRequests(t *testing.T) {
	rules := []testreg.Rule{
		{Name: "method", Method: "PUT, PATCH", Path: "^/m", Do: say("method")},
		{Name: "query", Path: `^/q\?a=1$`, Do: say("query")},
		{Name: "range", Path: "^/r", Range: testreg.With, Do: say("range")},
		{Name: "no range", Path: "^/r", Range: testreg.Without, Do: say("no range")},
		{Name: "auth", Path: "^/a", Auth: testreg.With, Do: say("auth")},
		{Name: "no auth", Path: "^/a", Auth: testreg.Without, Do: say("no auth")},
		{Name: "first", Path: "^/n", To: 1, Do: say("first")},
		{Name: "third and fourth", Path: "^/n", From: 2, To: 3, Do: say("then")},
		{Name: "earlier", Path: "^/o", Do: say("earlier")},
		{Name: "later", Path: "^/o", Do: say("later")},
		{Name: "passes", Path: "^/p"},
	}
	backend := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "backend") })
	s := testreg.New(t, testreg.Options{Handler: backend, Rules: rules})

	withRange := map[string]string{"Range": "bytes=0-1"}
	withAuth := map[string]string{"Authorization": "Bearer x"}
	tests := []struct {
		name, method, path string
		header             map[string]string
		want               string
	}{
		{"no rule", "GET", "/x", nil, "backend"},
		{"one of the methods", "PUT", "/m", nil, "method"},
		{"the other", "PATCH", "/m", nil, "method"},
		{"neither", "GET", "/m", nil, "backend"},
		{"query", "GET", "/q?a=1", nil, "query"},
		{"other query", "GET", "/q?a=2", nil, "backend"},
		{"with range", "GET", "/r", withRange, "range"},
		{"without range", "GET", "/r", nil, "no range"},
		{"with credentials", "GET", "/a", withAuth, "auth"},
		{"without credentials", "GET", "/a", nil, "no auth"},
		{"the first time", "GET", "/n", nil, "first"},
		{"the second time", "GET", "/n", nil, "backend"}, // the other rule's first
		{"the third time", "GET", "/n", nil, "then"},
		{"the fourth time", "GET", "/n", nil, "then"},
		{"the fifth time", "GET", "/n", nil, "backend"},
		{"the first rule wins", "GET", "/o", nil, "earlier"},
		{"a rule that does nothing", "GET", "/p", nil, "backend"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := do(t, s, tc.method, tc.path, tc.header); string(got.body) != tc.want {
				t.Errorf("%s %s = %q, want %q", tc.method, tc.path, got.body, tc.want)
			}
		})
	}
	s.Reset()
	if got := do(t, s, "GET", "/o", nil); string(got.body) != "backend" {
		t.Errorf("after Reset: %q, want backend", got.body)
	}
	if got := len(s.Requests()); got != 1 {
		t.Errorf("%d requests in the log after Reset, want 1", got)
	}
}

func TestLog(t *testing.T) {
	s := testreg.New(t, testreg.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = new(bytes.Buffer).ReadFrom(r.Body)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "12345")
	})})
	s.Add(testreg.Rule{Name: "gone", Path: "^/gone", Do: testreg.Reset()})
	send(t, s, "PUT", "/x?q=1", map[string]string{"Range": "bytes=1-2", "Authorization": "Basic c2VjcmV0"}, strings.NewReader("abc"))
	do(t, s, "POST", "/gone", nil) // not GET, which the client would repeat

	want := []testreg.Request{
		{Method: "PUT", Path: "/x", Query: "q=1", Range: "bytes=1-2", Status: 202, BytesIn: 3, BytesOut: 5},
		{Method: "POST", Path: "/gone", Rule: "gone"},
	}
	got := s.Requests()
	if len(got[0].Auth) != 8 || strings.Contains(got[0].Auth, "c2Vj") {
		t.Errorf("credentials are logged as %q, want a short hash", got[0].Auth)
	}
	got[0].Auth = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// A fatalTB notes the message of Fatalf and ends the goroutine.
type fatalTB struct {
	testing.TB
	message string
}

func (f *fatalTB) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", ":0", "localhost:0", "example.com:80"} {
		tb := &fatalTB{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			testreg.New(tb, testreg.Options{Listen: addr})
		}()
		<-done
		if !strings.Contains(tb.message, "listen on") {
			t.Errorf("New listened on %q: %q", addr, tb.message)
		}
	}
	s := testreg.New(t, testreg.Options{Listen: "127.0.0.1:0"})
	for _, host := range []string{s.Host, s.Sink.Host} {
		if ip, _, err := net.SplitHostPort(host); err != nil || !net.ParseIP(ip).IsLoopback() {
			t.Errorf("listens on %s, %v", host, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Run("good", func(t *testing.T) {
		s := testreg.New(t, testreg.Options{TLS: true})
		pool := x509.NewCertPool()
		if !strings.HasPrefix(s.URL, "https://") || !pool.AppendCertsFromPEM(s.CA) {
			t.Fatalf("URL = %s, CA = %q", s.URL, s.CA)
		}
		conn, err := tls.Dial("tcp", s.Host, &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatalf("dial with the authority: %v", err)
		}
		_ = conn.Close()
		if _, err := tls.Dial("tcp", s.Host, &tls.Config{}); err == nil {
			t.Error("the system trusts the test's authority")
		}
		if a := do(t, s, "GET", "/v2/", nil); a.status != 200 {
			t.Errorf("GET /v2/ = %d, %v", a.status, a.err)
		}
		if !strings.HasPrefix(s.Sink.URL, "https://") || !strings.HasPrefix(s.Sink.HTTP, "http://") {
			t.Errorf("sink = %s and %s, want one of each", s.Sink.URL, s.Sink.HTTP)
		}
	})
	for kind, name := range map[testreg.Certificate]string{
		testreg.WrongHost: "wrong host", testreg.Expired: "expired", testreg.SelfSigned: "self-signed",
	} {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{TLS: true, Certificate: kind})
			a := do(t, s, "GET", "/v2/", nil)
			_, host := errors.AsType[x509.HostnameError](a.err)
			invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](a.err)
			_, unknown := errors.AsType[x509.UnknownAuthorityError](a.err)
			want := map[testreg.Certificate]bool{
				testreg.WrongHost:  host,
				testreg.Expired:    isInvalid && invalid.Reason == x509.Expired,
				testreg.SelfSigned: unknown,
			}[kind]
			if !want {
				t.Errorf("error = %v", a.err)
			}
		})
	}
	t.Run("cut", func(t *testing.T) {
		s := testreg.New(t, testreg.Options{TLS: true})
		path := put(t, s, bytes.Repeat([]byte("x"), 1<<20))
		s.Add(testreg.Fault("cut@mid"))
		if a := do(t, s, "GET", path, nil); a.err == nil || len(a.body) > 1<<19 {
			t.Errorf("GET = %d bytes, %v; want half at most and an error", len(a.body), a.err)
		}
	})
}

func TestCredentials(t *testing.T) {
	tests := map[string]struct {
		auth   testreg.Auth
		header string
		want   int
	}{
		"basic":                {testreg.Auth{Scheme: testreg.Basic, Username: "u", Password: "p"}, "Basic dTpw", 200},
		"basic, wrong":         {testreg.Auth{Scheme: testreg.Basic, Username: "u", Password: "p"}, "Basic dTpx", 401},
		"basic, none":          {testreg.Auth{Scheme: testreg.Basic, Username: "u", Password: "p"}, "", 401},
		"bearer, none":         {testreg.Auth{Scheme: testreg.Bearer}, "", 401},
		"bearer, but basic":    {testreg.Auth{Scheme: testreg.Bearer}, "Basic dTpw", 401},
		"bearer, empty token":  {testreg.Auth{Scheme: testreg.Bearer}, "Bearer ", 401},
		"nothing asked, basic": {testreg.Auth{}, "Basic dTpw", 200},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := testreg.New(t, testreg.Options{Auth: tc.auth})
			header := map[string]string{}
			if tc.header != "" {
				header["Authorization"] = tc.header
			}
			a := do(t, s, "GET", "/v2/", header)
			if a.status != tc.want {
				t.Errorf("GET /v2/ = %d, want %d", a.status, tc.want)
			}
			if challenge := a.header.Get("Www-Authenticate"); (challenge != "") != (tc.want == 401) {
				t.Errorf("challenge = %q", challenge)
			}
		})
	}
}

func TestTokenServer(t *testing.T) {
	s := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Bearer, Username: "u", Password: "p"}})
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	if a := do(t, s, "GET", "/token", map[string]string{"Authorization": "Basic dTpw"}); a.status != 200 {
		t.Errorf("GET with the password = %d", a.status)
	}
	if a := do(t, s, "GET", "/token", nil); a.status != 401 {
		t.Errorf("GET without = %d, want 401", a.status)
	}
	if a := send(t, s, "POST", "/token", form, strings.NewReader("grant_type=password&username=u&password=p")); a.status != 200 {
		t.Errorf("POST with the password = %d", a.status)
	}
	if a := send(t, s, "POST", "/token", form, strings.NewReader("grant_type=password&username=u&password=x")); a.status != 401 {
		t.Errorf("POST with another = %d, want 401", a.status)
	}
}

func TestSinkNotesCredentials(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	do(t, s, "GET", s.Sink.URL+"/v2/", nil)
	if got := s.Sink.Credentials(); got != nil {
		t.Errorf("noted %q where there was nothing", got)
	}
	do(t, s, "GET", s.Sink.URL+"/v2/", map[string]string{"Cookie": "a=b"})
	do(t, s, "GET", s.Sink.URL+"/token", map[string]string{"Authorization": "Basic dTpw"})
	send(t, s, "POST", s.Sink.URL+"/token", form, strings.NewReader("refresh_token=abc"))
	do(t, s, "GET", strings.Replace(s.Sink.URL, "http://", "http://user:pw@", 1)+"/v2/", nil)
	want := []string{"Cookie: a=b", "Authorization: Basic dTpw", "refresh_token: abc", "Authorization: Basic dXNlcjpwdw=="}
	if diff := cmp.Diff(want, s.Sink.Credentials()); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
	if got := len(s.Sink.Requests()); got != 5 {
		t.Errorf("%d requests, want 5", got)
	}
}

// A layout is served as it lies there, lies included.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	wrong := digest.FromString("what it should be")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"layers":[{"digest":%q,"size":99}]}`, wrong)
	dgst := digest.FromString(manifest)
	writeFiles(t, dir, map[string]string{
		"oci-layout":                      `{"imageLayoutVersion":"1.0.0"}`,
		"index.json":                      fmt.Sprintf(`{"manifests":[{"mediaType":"x/y","digest":%q,"size":1}]}`, dgst),
		"blobs/sha256/" + dgst.Encoded():  manifest,
		"blobs/sha256/" + wrong.Encoded(): "something else",
		"secret":                          "not in the layout",
	})
	s := testreg.New(t, testreg.Options{Layout: dir})
	tests := map[string]struct {
		path, body, mediaType string
		status                int
	}{
		"ping":               {"/v2/", "{}", "", 200},
		"tag":                {"/v2/any/name/manifests/latest", manifest, "x/y", 200},
		"digest":             {"/v2/m/manifests/" + dgst.String(), manifest, "x/y", 200},
		"wrong bytes":        {"/v2/m/blobs/" + wrong.String(), "something else", "application/octet-stream", 200},
		"tags":               {"/v2/m/tags/list", `{"name":"m","tags":["latest"]}` + "\n", "application/json", 200},
		"absent":             {"/v2/m/blobs/" + digest.FromString("absent").String(), "", "", 404},
		"other tag":          {"/v2/m/manifests/v9", "", "", 404},
		"outside the blobs":  {"/v2/m/blobs/sha256:..%2f..%2fsecret", "", "", 404},
		"directory":          {"/v2/m/blobs/sha256:.", "", "", 404},
		"referrers":          {"/v2/m/referrers/" + dgst.String(), "", "", 404},
		"nothing of the API": {"/x", "", "", 404},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := do(t, s, "GET", tc.path, nil)
			if a.status != tc.status || tc.status == 200 && string(a.body) != tc.body {
				t.Errorf("GET %s = %d %q, want %d %q", tc.path, a.status, a.body, tc.status, tc.body)
			}
			if tc.mediaType != "" && a.header.Get("Content-Type") != tc.mediaType {
				t.Errorf("Content-Type = %q, want %q", a.header.Get("Content-Type"), tc.mediaType)
			}
		})
	}
	if a := do(t, s, "PUT", "/v2/m/manifests/v1", nil); a.status != 405 {
		t.Errorf("PUT = %d, want 405", a.status)
	}
	if a := do(t, s, "GET", "/v2/m/blobs/"+wrong.String(), map[string]string{"Range": "bytes=0-3"}); a.status != 206 || string(a.body) != "some" {
		t.Errorf("range = %d %q", a.status, a.body)
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoReferrersFromTheStart(t *testing.T) {
	s := testreg.New(t, testreg.Options{NoReferrers: true})
	put(t, s, []byte("x"))
	if a := do(t, s, "GET", repo+"/referrers/"+digest.FromString("x").String(), nil); a.status != 404 {
		t.Errorf("referrers API = %d, want 404", a.status)
	}
}
