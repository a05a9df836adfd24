//go:build e2e

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// crashesAtOnce is how many pushes a registry sees before it is thrown away:
// each leaves a model of some 80 MB.
const crashesAtOnce = 10

// crashes is how many pushes are killed, at least.
func crashes(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("MODELREG_E2E_CRASHES"))
	if err != nil {
		return 200
	}
	return n
}

// TestE2ECrashPush kills pushes at random points. No tag ever points to a
// version with holes, and the same command completes each.
func TestE2ECrashPush(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := mathrand.New(mathrand.NewPCG(seed, seed))
	kinds := []string{"embedded", "distribution"}
	for i := range (crashes(t) + crashesAtOnce - 1) / crashesAtOnce {
		kind := kinds[i%len(kinds)]
		t.Run(fmt.Sprintf("%s/%d", kind, i), func(t *testing.T) { crashPushes(t, rng, registries[kind](t)) })
	}
}

// crashPushes goes on until crashesAtOnce pushes were killed before their end.
func crashPushes(t *testing.T, rng *mathrand.Rand, host string) {
	c := newClient(t)
	model := filepath.Join(c.dir, "model")
	makeModel(t, model)
	repo := host + "/acme/crash"
	started := time.Now()
	c.modelreg("push", model, repo+":first")
	took := time.Since(started)
	killed, last := 0, repo+":first"
	for i := 0; killed < crashesAtOnce; i++ {
		if i == 2*crashesAtOnce {
			t.Fatalf("only %d of %d pushes were killed before they ended", killed, i)
		}
		changeModel(t, model)
		last = fmt.Sprintf("%s:v%d", repo, i)
		if c.kill(time.Duration(rng.Int64N(int64(took))), "push", model, last) {
			killed++
		}
		checkTags(t, host, "acme/crash")
		started := time.Now()
		c.modelreg("push", model, last)
		took = min(took, time.Since(started))
		checkTags(t, host, "acme/crash")
	}
	out := filepath.Join(c.dir, "out")
	c.modelreg("pull", last, out)
	sameTree(t, model, out)
}

// kill runs the built binary and kills it after a while. It reports whether it
// was still running.
func (c *client) kill(after time.Duration, args ...string) bool {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), os.Getenv("MODELREG_BIN"), args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.Exited() {
		c.t.Errorf("%s failed before it was killed: %v\n%s", args[0], err, &said)
	}
	return !cmd.ProcessState.Exited()
}

// makeModel writes a file that is sent while it is hashed, one that is hashed
// first, and some that go at once.
func makeModel(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{"model.bin": 64<<20 + 1, "adapter.bin": 12 << 20, "tokenizer.model": 1 << 20, "notes.txt": 100}
	for name, size := range sizes {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.CopyN(f, rand.Reader, size)
		if cerr := f.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
	}
}

// changeModel makes other files of a model's.
func changeModel(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte(rand.Text()), 0)
		if cerr := f.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
	}
}

// checkTags wants all that a tag leads to, of all tags.
func checkTags(t *testing.T, host, name string) {
	t.Helper()
	base := "http://" + host + "/v2/" + name
	var list struct{ Tags []string }
	if err := json.Unmarshal(httpBody(t, base+"/tags/list"), &list); err != nil {
		t.Fatal(err)
	}
	for _, tag := range list.Tags {
		var doc struct {
			Config            ocispec.Descriptor
			Layers, Manifests []ocispec.Descriptor
		}
		raw := httpBody(t, base+"/manifests/"+tag)
		if raw == nil {
			continue // distribution lists a tag before it is there
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		for _, m := range doc.Manifests { // of a list of referrers
			if httpBody(t, base+"/manifests/"+m.Digest.String()) == nil {
				t.Errorf("tag %s leads to %s, which the registry does not have", tag, m.Digest)
			}
		}
		if doc.Config.Digest == "" {
			continue
		}
		for _, blob := range append(doc.Layers, doc.Config) {
			resp, err := http.Head(base + "/blobs/" + blob.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.ContentLength != blob.Size {
				t.Errorf("tag %s leads to %s, of which the registry has %d bytes (%s)", tag, blob.Digest, resp.ContentLength, resp.Status)
			}
		}
	}
}

// httpBody gets what is at url, nil if nothing is.
func httpBody(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, mediaType := range []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex} {
		req.Header.Add("Accept", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusNotFound {
		return nil
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return raw
}
