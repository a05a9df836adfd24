//go:build e2e

package main

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
)

// TestE2EMirror pulls through the reference registry as a pull-through cache:
// many clients cost the registry one read of each blob, and a cache that is
// gone costs none of them anything.
func TestE2EMirror(t *testing.T) {
	origin := testreg.New(t, testreg.Options{})
	pusher := newClient(t)
	model := filepath.Join(pusher.dir, "model")
	testmodel.Write(t, model)
	name := origin.Host + "/acme/tiny:v1"
	pusher.modelreg("push", model, name)
	config, host := writeDistribution(t, "proxy: {remoteurl: "+origin.URL+"}\n")
	cache := exec.Command(tool(t, "registry"), "serve", config)
	serveDistribution(t, cache, host)

	reads := func() int {
		seen := map[string]bool{}
		n := 0
		for _, r := range origin.Requests() {
			if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/sha256:") {
				n++
				if seen[r.Path] {
					t.Errorf("%s was read again", r.Path)
				}
				seen[r.Path] = true
			}
		}
		return n
	}
	pull := func() {
		c := newClient(t)
		c.modelreg("config", "set", "mirrors."+origin.Host, "http://"+host)
		c.modelreg("pull", name, "out")
		if diff := cmp.Diff(tree(t, model), tree(t, filepath.Join(c.dir, "out"))); diff != "" {
			t.Errorf("pulled (-want +got):\n%s", diff)
		}
	}
	pull()
	first := reads()
	for range 3 {
		pull()
	}
	if n := reads(); first == 0 || n != first {
		t.Errorf("the registry was read %d times by the first client and %d times by three more, want none", first, n-first)
	}
	_ = cache.Process.Kill()
	_, _ = cache.Process.Wait()
	origin.Reset()
	pull()
	if reads() == 0 {
		t.Error("nothing was read from the registry without the cache")
	}
}
