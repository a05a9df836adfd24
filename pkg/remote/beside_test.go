package remote_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

func TestRealm(t *testing.T) {
	tests := map[testreg.AuthScheme]string{"": "", testreg.Basic: "", testreg.Bearer: "/token"}
	for scheme, path := range tests {
		t.Run(string(scheme), func(t *testing.T) {
			opts := testreg.Options{}
			if scheme != "" {
				opts.Auth = testreg.Auth{Scheme: scheme, Username: user, Password: password}
			}
			s := testreg.New(t, opts)
			realm, err := newClient(t, remote.Options{}).Realm(t.Context(), s.Host)
			if err != nil {
				t.Fatal(err)
			}
			if got := realm != nil; got != (path != "") {
				t.Errorf("realm %v, want one: %v", realm, path != "")
			}
			if len(s.Requests()) != 1 {
				t.Errorf("%d requests", len(s.Requests()))
			}
		})
	}
}

// What goes with a registry gets its secrets on the registry's own host alone, and
// may ask for them as it likes.
func TestTransportFor(t *testing.T) {
	asks := func(req *http.Request) (*http.Response, error) {
		return status(http.StatusUnauthorized, map[string]string{"WWW-Authenticate": `Bearer realm="Protected"`}, nil)(req)
	}
	c := newClient(t, remote.Options{Transport: roundTripper(asks)})
	transport, err := c.TransportFor("registry.example")
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]error{
		"https://registry.example/api":      nil,
		"https://registry.example:444/api":  nil,
		"https://elsewhere.example/api":     remote.ErrUnauthorized,
		"https://sub.registry.example/api":  remote.ErrUnauthorized,
		"https://registry.example.evil/api": remote.ErrUnauthorized,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", target, err, want)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}
