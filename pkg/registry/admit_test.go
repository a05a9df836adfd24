package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"github.com/modelreg/modelreg/pkg/registry"
)

// Who decides is told the digest, and what is given out is what was decided on.
func TestAdmit(t *testing.T) {
	data := t.TempDir()
	s := serve(t, registry.Options{Data: data})
	repo := s.repository("org/m")
	good := pack(t, repo, "application/x-good", oras.PackManifestOptions{})
	bad := pack(t, repo, "application/x-bad", oras.PackManifestOptions{})
	odd := pack(t, repo, "application/x-odd", oras.PackManifestOptions{})
	for tag, desc := range map[string]digest.Digest{"good": good.Digest, "bad": bad.Digest, "odd": odd.Digest} {
		if _, err := oras.Tag(t.Context(), repo, desc.String(), tag); err != nil {
			t.Fatal(err)
		}
	}
	sign(t, repo, bad, 1)
	s.stop()

	var mu sync.Mutex
	var asked []string
	s = serve(t, registry.Options{Data: data, ReadOnly: true, Admit: func(_ context.Context, name string, d digest.Digest) error {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, name+"@"+d.String())
		switch d {
		case bad.Digest:
			return &registry.DeniedError{Reason: "it is bad", Detail: map[string]int{"why": 1}}
		case odd.Digest:
			return errors.New("disk on fire")
		}
		return nil
	}})
	accept := map[string]string{"Accept": ocispec.MediaTypeImageManifest}
	for _, path := range []string{"good", good.Digest.String()} {
		if a := s.do("GET", "/v2/org/m/manifests/"+path, accept, nil).want(t, 200); a.Header.Get("Docker-Content-Digest") != good.Digest.String() {
			t.Errorf("%s is %s", path, a.Header.Get("Docker-Content-Digest"))
		}
	}
	for _, path := range []string{"bad", bad.Digest.String()} {
		a := s.do("GET", "/v2/org/m/manifests/"+path, nil, nil).want(t, 403)
		var got any
		if err := json.Unmarshal(a.body, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"errors": []any{map[string]any{"code": "DENIED", "message": "it is bad", "detail": map[string]any{"why": 1.0}}}}
		if diff := cmp.Diff(any(want), got); diff != "" {
			t.Error(diff)
		}
		s.do("HEAD", "/v2/org/m/manifests/"+path, nil, nil).want(t, 403)
	}
	s.do("GET", "/v2/org/m/manifests/odd", nil, nil).want(t, 500)
	s.do("GET", "/v2/org/m/manifests/none", nil, nil).want(t, 404)
	s.do("GET", "/v2/none/manifests/none", nil, nil).want(t, 404)
	s.do("GET", "/v2/org/m/referrers/"+bad.Digest.String(), nil, nil).want(t, 200)
	s.do("GET", "/v2/org/m/tags/list", nil, nil).want(t, 200)
	want := "org/m@" + good.Digest.String()
	if len(asked) != 7 || asked[0] != want || asked[1] != want {
		t.Errorf("asked about %q", asked)
	}
}
