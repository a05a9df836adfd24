package catalog_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An internet has services by their hosts, and remembers what they were asked.
type internet struct {
	hosts map[string]http.HandlerFunc

	mu    sync.Mutex
	asked []string // "HOST /path?query", with what was sent to authenticate, if anything
}

// ServeHTTP answers for the host that is asked.
func (n *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := r.Host + " " + r.URL.RequestURI()
	if a := r.Header.Get("Authorization"); a != "" {
		line += " [" + a + "]"
	}
	n.mu.Lock()
	n.asked = append(n.asked, line)
	n.mu.Unlock()
	if h, ok := n.hosts[r.Host]; ok {
		h(w, r)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// requests returns what was asked since it was last called.
func (n *internet) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return asked
}

// client returns one whose docker configuration has "user:password" for hosts, and
// for which there is nothing but n.
func (n *internet) client(t testing.TB, logins map[string]string) *remote.Client {
	t.Helper()
	var auths []string
	for host, login := range logins {
		auths = append(auths, fmt.Sprintf("%q: {\"auth\": %q}", host, base64.StdEncoding.EncodeToString([]byte(login))))
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths": {`+strings.Join(auths, ",")+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := remote.New(remote.Options{AuthFile: file, Transport: remote.InProcess(n)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// list gathers a list; errors of single entries are in bad.
func list(t testing.TB, c *remote.Client, place string, opts catalog.Options) (names, bad []string, err error) {
	t.Helper()
	host, prefix, _ := strings.Cut(place, "/")
	for name, e := range catalog.Repositories(t.Context(), c, host, prefix, opts) {
		if e == nil {
			names = append(names, name)
			continue
		}
		if nameErr, ok := e.(*catalog.NameError); ok {
			bad = append(bad, nameErr.Name)
			continue
		}
		err = e
	}
	return names, bad, err
}

// answer writes a JSON document.
func answer(w http.ResponseWriter, status int, doc string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(doc))
}

// closed is a registry that lists nothing, whose token server is at realm.
func closed(realm string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="registry"`)
			answer(w, http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		default:
			answer(w, http.StatusUnauthorized, `{"details":"incorrect username or password"}`)
		}
	}
}
