package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/modelreg/modelreg/internal/testhub"
	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/registry"
)

var update = flag.Bool("update-scripts", false, "rewrite expected files in the scripts")

// TestMain lets the scripts run this test binary as "modelreg". With
// MODELREG_BIN set they run that binary instead: a test binary links more than
// the real one, and has hidden a crash of the real one before.
func TestMain(m *testing.M) {
	commands := map[string]func(){"modelreg": main, "broken-worker": brokenWorker, "measured-worker": measuredWorker, "sigstore-kms-testkms": keyPlugin}
	if os.Getenv("MODELREG_BIN") != "" {
		delete(commands, "modelreg")
	}
	testscript.Main(m, commands)
}

func TestScript(t *testing.T) {
	digits, err := filepath.Abs("../../examples/digits/model")
	if err != nil {
		t.Fatal(err)
	}
	pipeline, err := filepath.Abs("../../examples/pipeline")
	if err != nil {
		t.Fatal(err)
	}
	private := testreg.New(t, testreg.Options{Auth: testreg.Auth{Scheme: testreg.Basic, Username: "alice", Password: "wonderland"}})
	models := testhub.New(t, testhub.Options{Token: hubToken})
	for _, id := range []string{"acme/digits", "acme/gated"} {
		models.Commit(id, contentOf(t, digits))
	}
	models.Gate("acme/gated")
	sigstore := testsigstore.New(t, testsigstore.Options{}).Serve()
	published := publish(t, sigstore)
	lister := httptest.NewServer(http.HandlerFunc(listProjects))
	t.Cleanup(lister.Close)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DIGITS", digits)
			env.Setenv("PIPELINE", pipeline)
			env.Setenv("PRIVATE", private.Host) // wants a login
			env.Setenv("LISTER", lister.URL)    // speaks Harbor's API, and GitHub's
			env.Setenv("HF_ENDPOINT", models.URL())
			env.Setenv("MODELSCOPE_DOMAIN", models.URL())
			if err := setupSigstore(env, sigstore, published); err != nil {
				return err
			}
			return setupScript(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"flip":  flipBit,
			"blob":  blob,
			"exits": exits,
			"large": large,
			"gguf":  writeGGUF,

			"certify": certifyKey,

			"attestation": attestationDigest,
		},
	})
}

// listProjects lists two repositories of acme, of which a script has to have the first:
// as Harbor's API does to anybody, and as GitHub's to who has a token.
func listProjects(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/api/v2.0/projects/acme/repositories":
		_, _ = io.WriteString(w, `[{"name":"acme/digits"},{"name":"acme/absent"}]`)
	case r.URL.Path == "/orgs/acme/packages" && r.Header.Get("Authorization") == "Bearer ghp_token":
		_, _ = io.WriteString(w, `[{"name":"digits"}]`)
	case r.URL.Path == "/orgs/acme/packages":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"message":"Requires authentication"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// hubToken opens the gated model of the hub that scripts import from.
const hubToken = "hf_abcdefghijklmnopqrstuvwxyz0123456789"

// contentOf are the files of a directory without others in it.
func contentOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// setupScript gives each script a registry of its own, on loopback, and a home
// of its own.
func setupScript(env *testscript.Env) error {
	data := filepath.Join(env.WorkDir, ".registry")
	reg, err := registry.New(context.Background(), registry.Options{Data: data})
	if err != nil {
		return err
	}
	srv := httptest.NewServer(reg)
	env.Defer(func() {
		srv.Close()
		if err := reg.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close registry:", err)
		}
	})
	env.Setenv("REGISTRY", strings.TrimPrefix(srv.URL, "http://"))
	env.Setenv("REGISTRY_BLOBS", filepath.Join(data, "docker", "registry", "v2", "blobs", "sha256"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
	env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, ".docker"))
	env.Setenv("MODELREG_CONFIG", filepath.Join(env.WorkDir, ".config.yaml"))
	env.Setenv("MODELREG_CACHE", filepath.Join(env.WorkDir, ".cache"))
	env.Setenv("MODELREG_KEY_PASSWORD", "secret")
	if bin := os.Getenv("MODELREG_BIN"); bin != "" {
		dir := filepath.Join(env.WorkDir, ".bin")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(bin, filepath.Join(dir, "modelreg")); err != nil {
			return err
		}
		env.Setenv("PATH", dir+string(os.PathListSeparator)+env.Getenv("PATH"))
	}
	return nil
}

// flipBit changes one bit of a file, at an offset or at the first place of a
// text: flip FILE OFFSET|TEXT.
func flipBit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET|TEXT")
	}
	name := ts.MkAbs(args[0])
	data, err := os.ReadFile(name)
	ts.Check(err)
	offset, err := strconv.Atoi(args[1])
	if err != nil {
		offset = bytes.Index(data, []byte(args[1]))
	}
	if offset < 0 || offset >= len(data) {
		ts.Fatalf("%s has no %s", args[0], args[1])
	}
	data[offset] ^= 1
	ts.Check(os.Chmod(name, 0o600))
	ts.Check(os.WriteFile(name, data, 0o600))
}

// blob sets a variable to where the registry keeps a file's bytes: blob VARIABLE FILE.
func blob(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: blob VARIABLE FILE")
	}
	data, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	hex := fmt.Sprintf("%x", sha256.Sum256(data))
	ts.Setenv(args[0], filepath.Join(ts.Getenv("REGISTRY_BLOBS"), hex[:2], hex, "data"))
}

// exits runs a command and checks its exit code: exits CODE modelreg ARGS…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s exits with %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// large writes a model of one file of 17 MB: large FILE SEED SEED, each seed
// being that of half of it.
func large(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: large FILE SEED SEED")
	}
	var tensors []testmodel.Tensor
	for i, seed := range args[1:] {
		n, err := strconv.ParseUint(seed, 10, 8)
		ts.Check(err)
		half := testmodel.Transformer(byte(n), 0)[0]
		half.Name = fmt.Sprintf("half.%d.weight", i)
		tensors = append(tensors, half)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), testmodel.SafetensorsFile(tensors, nil), 0o644))
}

// attestationDigest sets ATTESTATION to the digest in the result of an attest.
func attestationDigest(ts *testscript.TestScript, neg bool, args []string) {
	var res struct {
		Attestation string `json:"attestation"`
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: attestation FILE")
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &res))
	ts.Setenv("ATTESTATION", res.Attestation)
}
