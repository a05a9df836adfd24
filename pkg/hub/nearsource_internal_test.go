package hub

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// Of bytes that two have read from one place, and that turn out to be wrong, that
// place is blamed by both, and not the one that the first was led to.
func TestBlamesTheRightPlace(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	desc := content.NewDescriptorFromBytes("application/octet-stream", []byte(text))
	origin := testreg.New(t, testreg.Options{})
	one, two := testreg.New(t, testreg.Options{Handler: origin.Backend()}), testreg.New(t, testreg.Options{Handler: origin.Backend()})
	client, err := remote.New(remote.Options{
		AuthFile: filepath.Join(t.TempDir(), "config.json"),
		Mirrors:  map[string][]remote.Mirror{origin.Host: {{URL: one.URL}, {URL: two.URL}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	repo, err := client.Repository(origin.Host + "/org/m")
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(t.Context(), desc, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Push(t.Context(), desc, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	src := &nearSource{store: s, repo: repo}
	read := func() transfer.Placed {
		t.Helper()
		rc, err := src.FetchRange(t.Context(), desc, 10, 100)
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		if _, err := io.ReadAll(rc); err != nil {
			t.Fatal(err)
		}
		return rc.(transfer.Placed)
	}
	asked := func() (n [3]int) {
		for i, at := range []*testreg.Server{one, two, origin} {
			for _, r := range at.Requests() {
				if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/sha256") {
					n[i]++
				}
			}
		}
		return n
	}
	for i, want := range [][3]int{{0, 0, 0}, {3, 0, 0}, {3, 3, 0}} { // the store, one mirror, the other
		a, b := read(), read()
		if got := asked(); got != want {
			t.Fatalf("place %d: the mirrors and the registry were asked %v times, want %v", i, got, want)
		}
		if i == len(want)-1 {
			break
		}
		if !a.Distrust() {
			t.Error("there is no other place")
		}
		read()
		if !b.Distrust() {
			t.Error("there is no other place for the second")
		}
	}
}
