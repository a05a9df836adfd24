package hub_test

import (
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// The manifest that a reference led to is not fetched again by its digest.
func TestRequestsOfReading(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	out := filepath.Join(t.TempDir(), "out")
	pull := func(dir string, opts hub.PullOptions) func() error {
		return func() error {
			_, err := w.Pull(t.Context(), w.ref("org/m:v1"), dir, opts)
			return err
		}
	}
	tests := []struct {
		name string
		do   func() error
		want map[string]int
	}{
		// The version, what became of it, its config, its file.
		{"pull", pull(out, hub.PullOptions{}), map[string]int{"GET manifest": 2, "GET blob": 2}},
		{"pull of nothing new", pull(out, hub.PullOptions{}), map[string]int{"GET manifest": 2, "GET blob": 1}},
		{"pull as it is", pull(filepath.Join(t.TempDir(), "raw"), hub.PullOptions{Raw: true}), map[string]int{"GET manifest": 2, "GET blob": 2}},
		{"cat", func() error {
			return w.Cat(t.Context(), w.ref("org/m:v1"), "notes.txt", io.Discard)
		}, map[string]int{"GET manifest": 2, "GET blob": 2}},
		// What is attached is asked for in two ways, and the text is the card.
		{"inspect", func() error {
			_, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
			return err
		}, map[string]int{"GET manifest": 4, "GET other": 1, "GET blob": 1}},
	}
	for _, tt := range tests {
		w.srv.Reset()
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, w.requests()); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", tt.name, diff)
		}
	}
}

// What became of a version and what it holds are asked at once: the answer to the
// one comes when the other has been asked.
func TestReadingAsksAtOnce(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	for name, do := range map[string]func() error{
		"pull": func() error {
			_, err := w.Pull(t.Context(), w.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
			return err
		},
		"cat": func() error {
			return w.Cat(t.Context(), w.ref("org/m:v1"), "notes.txt", io.Discard)
		},
		"inspect": func() error {
			_, err := w.Inspect(t.Context(), w.ref("org/m:v1"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.srv.Reset()
			asked := make(chan struct{})
			w.srv.Add(testreg.Rule{Method: http.MethodGet, Path: "/blobs/", To: 1, Do: func(x testreg.Exchange) {
				close(asked)
				x.Pass(x.W)
			}})
			w.srv.Add(testreg.Rule{Method: http.MethodGet, Path: "/manifests/sha256-", To: 1, Do: func(x testreg.Exchange) {
				select {
				case <-asked:
				case <-time.After(10 * time.Second):
					t.Error("the config is not asked for before it is known what became of the version")
				}
				x.Pass(x.W)
			}})
			if err := do(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Of what nobody may have, nothing but the manifest is fetched.
func TestRefusedIsNotOpened(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	w.srv.Reset()
	_, err := w.Pull(t.Context(), w.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{Trust: alice().trust})
	wantErr(t, err, signing.ErrNoSignature)
	if n := w.requests()["GET blob"]; n > 0 {
		t.Errorf("%d blobs fetched of a version that nobody has signed", n)
	}
}

// That a version was withdrawn is said of one that cannot be opened, too.
func TestWithdrawnBeforeBroken(t *testing.T) {
	w := newWorld(t)
	w.push("org/m:v1", "text")
	w.state("org/m:v1", alice(), record.Yanked, "wrong")
	_, raw := w.manifest("org/m", "v1")
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Add(testreg.Rule{Method: http.MethodGet, Path: "/blobs/" + m.Config.Digest.String(), Do: testreg.Status(http.StatusNotFound, nil, "")})
	_, err = w.Pull(t.Context(), w.ref("org/m:v1"), filepath.Join(t.TempDir(), "out"), hub.PullOptions{})
	wantErr(t, err, policy.ErrYanked)
}
