package hub_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// to sends every request to one host, without TLS.
type to string

func (host to) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host, req.Host = "http", string(host), string(host)
	return http.DefaultTransport.RoundTrip(req)
}

// The port of HTTPS, written or not, is one registry: what its tags led to is
// remembered once.
func TestRollbackWithPort(t *testing.T) {
	w := newWorld(t)
	client, err := remote.New(remote.Options{Transport: to(w.srv.Host)})
	if err != nil {
		t.Fatal(err)
	}
	h := hub.New(hub.Options{Remote: client, Store: w.store, Seen: signing.NewSeen(t.TempDir())})
	verify := func(name string) error {
		r, err := ref.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Verify(t.Context(), r, *alice().trust, hub.VerifyOptions{})
		return err
	}
	old := w.push("org/m:v1", "old")
	for _, text := range []string{"old", "new"} {
		w.push("org/m:v1", text)
		if _, err := w.Sign(t.Context(), w.ref("org/m:v1"), alice().signer, signing.SignOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := verify("reg.example/org/m:v1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Tag(t.Context(), w.ref("org/m@"+old.Digest), "v1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"reg.example/org/m:v1", "reg.example:443/org/m:v1"} {
		if err := verify(name); !errors.Is(err, signing.ErrRollback) {
			t.Errorf("%s: error = %v, want ErrRollback", name, err)
		}
	}
}
