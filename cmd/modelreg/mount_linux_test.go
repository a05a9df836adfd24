package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
)

// A command that mounts says that the files are there, shows them, and ends well
// when it is told to.
func TestMount(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	model := filepath.Join(u.home, "model")
	testmodel.Write(t, model)
	weights := testmodel.SafetensorsFile(testmodel.Transformer(3, 0), nil)
	u.file("model/large.safetensors", string(weights))
	ref := reg.Host + "/acme/m:v1"
	u.ok("push", model, ref)
	u.ok("keygen", "-o", filepath.Join(u.home, "team"))
	u.ok("sign", ref, "--key", filepath.Join(u.home, "team.key"))
	dir := filepath.Join(u.home, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	there, said := io.Pipe()
	var stderr bytes.Buffer
	over := make(chan int, 1)
	go func() {
		args := []string{"mount", ref, dir, "--verify", "--key", filepath.Join(u.home, "team.pub"), "--format", "json"}
		over <- run(ctx, args, streams{in: strings.NewReader(""), out: said, err: &stderr})
		_ = said.Close()
	}()
	var doc map[string]any
	if err := json.NewDecoder(there).Decode(&doc); err != nil {
		code := <-over
		if errors.Is(err, io.EOF) && code == exitLocal && strings.Contains(stderr.String(), "no file system can be mounted here") &&
			os.Getenv("MODELREG_TEST_FUSE") == "" {
			t.Skipf("NO FILE SYSTEM IS MOUNTED in this test: %s", stderr.String())
		}
		t.Fatalf("exit code %d, %v: %s", code, err, stderr.String())
	}
	want := []string{"digest", "directory", "files", "reference", "size", "verified"}
	var keys []string
	for k := range doc {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if diff := cmp.Diff(want, keys); diff != "" || doc["directory"] != dir {
		t.Errorf("result %v: %s", doc, diff)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "large.safetensors")); err != nil || !bytes.Equal(got, weights) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "README.md")); err != nil || string(got) != testmodel.Card {
		t.Errorf("read %q, %v", got, err)
	}
	stop()
	if code := <-over; code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("after it: %d entries, %v", len(entries), err)
	}
}
