package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A farm is a registry and its token server on another host, both reached
// through a proxy, since names of the test's own have no addresses.
type farm struct {
	URL string

	mu        sync.Mutex
	passwords []string // that the token server has seen
}

const farmRegistry, farmTokens = "registry.test", "auth.test"

func newFarm(t *testing.T) *farm {
	t.Helper()
	f := &farm{}
	srv := httptest.NewServer(f)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	f.URL = srv.URL
	return f
}

func (f *farm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, password, _ := r.BasicAuth()
	switch {
	case r.Host == farmTokens && password == "wonderland":
		f.mu.Lock()
		f.passwords = append(f.passwords, password)
		f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]string{"token": "good"})
	case r.Host == farmTokens:
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get("Authorization") == "Bearer good":
		fmt.Fprint(w, "{}")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+farmTokens+`/token",service="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (f *farm) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.passwords)
}

// TestLoginRealm follows the advice that the refusal gives. The commands are
// processes of their own, for proxies are read from the environment once.
func TestLoginRealm(t *testing.T) {
	u := newUser(t)
	f := newFarm(t)
	t.Setenv("HTTP_PROXY", f.URL)
	t.Setenv("MODELREG_REGISTRY", "not.for.the/file")
	login := func(more ...string) (int, string) {
		args := []string{"login", farmRegistry, "--plain-http", "-u", "alice", "-p", "wonderland"}
		return u.start(append(args, more...)...)
	}

	code, stderr := login()
	advice := "modelreg login --realm " + farmTokens + " " + farmRegistry
	if code != exitAuth || !strings.Contains(stderr, advice) {
		t.Fatalf("exits with %d, want %d and the advice %q: %s", code, exitAuth, advice, stderr)
	}
	if n := f.seen(); n > 0 {
		t.Fatalf("the password went to a stranger %d times", n)
	}
	if code, stderr := login("--realm", farmTokens, "-p", "looking-glass"); code != exitAuth {
		t.Errorf("with a wrong password: exits with %d: %s", code, stderr)
	}
	if got := u.ok("config", "list"); got != "" {
		t.Errorf("a login that failed configured %s", got)
	}
	if code, stderr := login("--realm", farmTokens, "--realm", "https://other.test:8443/token"); code != exitOK {
		t.Fatalf("exits with %d: %s", code, stderr)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(u.ok("config", "list", "--format", "json")), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"realms." + farmRegistry: farmTokens + ",other.test"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration: %s", diff)
	}

	// It holds for other commands, and a second login keeps it.
	before := f.seen()
	if code, stderr := u.start("ls", farmRegistry, "--plain-http"); strings.Contains(stderr, "--realm") || f.seen() == before {
		t.Errorf("ls exits with %d, and the token server was not asked: %s", code, stderr)
	}
	if code, stderr := login("--realm", farmTokens); code != exitOK {
		t.Errorf("exits with %d: %s", code, stderr)
	}
	if got := u.ok("config", "get", "realms."+farmRegistry); got != farmTokens+",other.test\n" {
		t.Errorf("after another login: %s", got)
	}
}

func TestLoginRealmRefuses(t *testing.T) {
	u := newUser(t)
	for _, realm := range []string{"", "a,b", "http://", "a b", "[::1", "https:///token"} {
		code, _, stderr := u.run(t.Context(), "login", "127.0.0.1:1", "-u", "a", "-p", "b", "--realm", realm)
		if code != exitUsage || !strings.Contains(stderr, "--realm") {
			t.Errorf("--realm %q exits with %d: %s", realm, code, stderr)
		}
	}
	if _, err := os.Stat(u.home + "/config.yaml"); err == nil {
		t.Error("a refused realm was written down")
	}
}
