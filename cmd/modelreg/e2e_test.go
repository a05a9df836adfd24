//go:build e2e

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tool returns the path of a program that the suite must have; tools/e2e.sh
// sets the variables.
func tool(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("MODELREG_E2E_PEERS")
	if dir == "" {
		t.Fatal("MODELREG_E2E_PEERS is not set: run make e2e")
	}
	return filepath.Join(dir, name)
}

// client runs programs with a home of their own.
type client struct {
	t   *testing.T
	dir string
	env []string
}

func newClient(t *testing.T) *client {
	dir := t.TempDir()
	return &client{t: t, dir: dir, env: append(
		os.Environ(), "HOME="+filepath.Join(dir, "home"), "MODELREG_CACHE="+filepath.Join(dir, "cache"),
		"MODELREG_CONFIG="+filepath.Join(dir, "config.yaml"), "DOCKER_CONFIG="+filepath.Join(dir, "docker"),
		"COSIGN_PASSWORD=secret", "OTEL_TRACES_EXPORTER=none",
	)}
}

// try runs a program in the client's directory.
func (c *client) try(name string, args ...string) (stdout string, state *os.ProcessState, err error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String(), cmd.ProcessState, err
}

// run runs a program that must succeed.
func (c *client) run(name string, args ...string) string {
	c.t.Helper()
	out, _, err := c.try(name, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// modelreg runs the built binary.
func (c *client) modelreg(args ...string) string {
	c.t.Helper()
	return c.run(os.Getenv("MODELREG_BIN"), args...)
}

// fields runs the built binary and reads its JSON result.
func (c *client) fields(args ...string) map[string]any {
	c.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(c.modelreg(append(args, "--format", "json")...)), &m); err != nil {
		c.t.Fatal(err)
	}
	return m
}

// registries starts each kind of registry on loopback.
var registries = map[string]func(t *testing.T) string{
	"embedded":     startEmbedded,
	"distribution": startDistribution,
}

func startEmbedded(t *testing.T) string {
	c := newClient(t)
	cmd := exec.Command(os.Getenv("MODELREG_BIN"), "serve", "--data", filepath.Join(c.dir, "data"), "--listen", "127.0.0.1:0")
	cmd.Env = c.env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(line[:n])), "http://")
}

func startDistribution(t *testing.T) string {
	config, host := writeDistribution(t, "")
	serveDistribution(t, exec.Command(tool(t, "registry"), "serve", config), host)
	return host
}

// writeDistribution writes a configuration of the reference registry, with more
// in it, for a free port.
func writeDistribution(t *testing.T, more string) (config, host string) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	l.Close()
	config = filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q, secret: x}\n", filepath.Join(dir, "data"), host)
	if err := os.WriteFile(config, []byte(text+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, host
}

// serveDistribution starts the reference registry and waits until it answers.
func serveDistribution(t *testing.T, cmd *exec.Cmd, host string) {
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	start(t, cmd)
	for range 200 {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond) // another process opens the port
	}
	t.Fatal("the registry does not answer")
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // gone already is fine
		_ = cmd.Wait()
	})
}

// tree lists the files below dir with their digests, without what a pull or a
// pack leaves out.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".modelreg" || d.Name() == "__pycache__" {
				return filepath.SkipDir
			}
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		out[filepath.ToSlash(rel)] = hex.EncodeToString(h.Sum(nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(tree(t, want), tree(t, got)); diff != "" {
		t.Errorf("%s differs from what was pushed (-pushed +got):\n%s", got, diff)
	}
}

// TestE2ERealModel takes a sentence-transformers model of 90 MB through each
// registry and through the clients that people have.
func TestE2ERealModel(t *testing.T) {
	model := os.Getenv("MODELREG_E2E_MODEL")
	for name, startRegistry := range registries {
		t.Run(name, func(t *testing.T) {
			host := startRegistry(t)
			c := newClient(t)
			c.modelreg("keygen", "-o", "ours")
			pushed := c.fields("push", model, host+"/acme/minilm:v1", "--sign", "--key", "ours.key")
			byDigest := host + "/acme/minilm@" + pushed["digest"].(string)

			again := c.fields("push", model, host+"/acme/minilm:v1")
			if again["created"] != false || again["uploadedBytes"] != 0.0 || again["digest"] != pushed["digest"] {
				t.Errorf("an unchanged push made something: %v", again)
			}
			mounted := c.fields("push", model, host+"/acme/copy:v1")
			if mounted["uploadedBytes"].(float64) > 100e3 {
				t.Errorf("a push to another repository uploaded %v bytes, want a mount", mounted["uploadedBytes"])
			}

			pulled := c.fields("pull", byDigest, "pulled", "--verify", "--key", "ours.pub")
			sameTree(t, model, filepath.Join(c.dir, "pulled"))
			if pulled["verified"] == nil {
				t.Error("the pull does not say who signed")
			}
			loadWithSafetensors(t, c, "pulled")
			inspectMoves(t, c, byDigest)
			otherClients(t, c, host, pushed["digest"].(string), model)
			cosigns(t, c, host, byDigest)
		})
	}
}

// loadWithSafetensors loads what was pulled with the library that people use.
func loadWithSafetensors(t *testing.T, c *client, dir string) {
	t.Helper()
	out := c.run(os.Getenv("MODELREG_E2E_PYTHON"), "-c", `
import sys
from safetensors.numpy import load_file
t = load_file(sys.argv[1] + "/model.safetensors")
print(len(t), sum(x.size for x in t.values()), t["embeddings.word_embeddings.weight"].shape)`, dir)
	if want := "104 22713728 (30522, 384)\n"; out != want {
		t.Errorf("safetensors loaded %q, want %q", out, want)
	}
}

func inspectMoves(t *testing.T, c *client, ref string) {
	t.Helper()
	got := c.fields("inspect", ref)
	model := got["model"].(map[string]any)
	if model["parameters"].(float64) < 22e6 || model["library"] != "sentence-transformers" || model["architecture"] != "BertModel" {
		t.Errorf("inspect says %v", model)
	}
	if got["card"].(map[string]any)["license"] != "apache-2.0" {
		t.Errorf("inspect shows the card %v", got["card"])
	}
	if got["signatures"] != 1.0 {
		t.Errorf("inspect counts %v signatures, want 1", got["signatures"])
	}
}

// otherClients has tools that know nothing of modelreg read what it wrote.
func otherClients(t *testing.T, c *client, host, digest, model string) {
	t.Helper()
	ref := host + "/acme/minilm@" + digest
	c.run(tool(t, "oras"), "pull", "--plain-http", "--no-tty", "-o", "by-oras", ref)
	sameTree(t, filepath.Join(c.dir, "pulled"), filepath.Join(c.dir, "by-oras"))
	manifest := c.run(tool(t, "crane"), "manifest", ref)
	if sum := sha256.Sum256([]byte(manifest)); "sha256:"+hex.EncodeToString(sum[:]) != digest {
		t.Error("crane shows other bytes than were signed")
	}
	out := c.run(tool(t, "regctl"), "--host", "reg="+host+",tls=disabled", "manifest", "get", "--format", "raw-body", host+"/acme/minilm:v1")
	if out != manifest {
		t.Error("regctl shows other bytes than crane")
	}
	if err := os.Mkdir(filepath.Join(c.dir, "by-regctl"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.run(tool(t, "regctl"), "--host", "reg="+host+",tls=disabled", "artifact", "get", "-o", "by-regctl", ref)
	sameTree(t, filepath.Join(c.dir, "pulled"), filepath.Join(c.dir, "by-regctl"))

	// The other way: files that oras pushed.
	c.run("sh", "-c", "cd by-regctl && "+tool(t, "oras")+" push --plain-http --no-tty "+host+"/acme/by-oras:v1 config.json model.safetensors 1_Pooling/config.json")
	c.modelreg("pull", host+"/acme/by-oras:v1", "from-oras")
	for _, name := range []string{"config.json", "model.safetensors", "1_Pooling/config.json"} {
		if tree(t, filepath.Join(c.dir, "from-oras"))[name] != tree(t, model)[name] {
			t.Errorf("%s, pushed by oras, came back changed", name)
		}
	}
}

const emptyRoot = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}`

// cosigns has both command lines verify ours, and ours verify theirs.
func cosigns(t *testing.T, c *client, host, ref string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "root.json"), []byte(emptyRoot), 0o600); err != nil {
		t.Fatal(err)
	}
	v2, v3 := tool(t, "v2/cosign"), tool(t, "v3/cosign")
	c.run(v2, "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--trusted-root", "root.json", ref)
	c.run(v3, "verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", ref)
	if _, _, err := c.try(v3, "verify", "--key", "theirs.pub", "--insecure-ignore-tlog=true", ref); err == nil {
		t.Error("cosign verifies with a key that is not there")
	}
	c.run(v3, "generate-key-pair", "--output-key-prefix", "theirs")
	_, state, err := c.try(os.Getenv("MODELREG_BIN"), "verify", ref, "--key", "theirs.pub")
	if err == nil || state.ExitCode() != exitUnverified {
		t.Errorf("verify with a key that did not sign: %v", err)
	}
	c.run(v3, "sign", "--key", "theirs.key", "--yes", "--use-signing-config=false", "--tlog-upload=false", ref)
	c.modelreg("verify", ref, "--key", "theirs.pub")
}

// TestE2EShapes takes models through a registry whose shape is unusual.
func TestE2EShapes(t *testing.T) {
	shapes := map[string]func(t *testing.T, dir string){
		"2000 files":    twoThousand,
		"names":         oddNames,
		"empty file":    func(t *testing.T, dir string) { write(t, dir, "config.json", "{}"); write(t, dir, "empty.txt", "") },
		"deep":          func(t *testing.T, dir string) { write(t, dir, strings.Repeat("d/", 30)+"weights.bin", "deep") },
		"one big layer": func(t *testing.T, dir string) { write(t, dir, "model.bin", strings.Repeat("0123456789abcdef", 1<<20)) },
	}
	host := startDistribution(t)
	for name, fill := range shapes {
		t.Run(name, func(t *testing.T) {
			c := newClient(t)
			dir := filepath.Join(c.dir, "model")
			fill(t, dir)
			ref := host + "/shapes/" + strings.ReplaceAll(name, " ", "-") + ":v1"
			c.modelreg("push", dir, ref)
			c.modelreg("pull", ref, "pulled")
			sameTree(t, dir, filepath.Join(c.dir, "pulled"))
			if again := c.fields("pull", ref, "pulled"); again["fetchedBytes"] != 0.0 {
				t.Errorf("pulling again fetched %v bytes", again["fetchedBytes"])
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func twoThousand(t *testing.T, dir string) {
	for i := range 2000 {
		write(t, dir, fmt.Sprintf("data/%02d/%04d.json", i%20, i), fmt.Sprintf(`{"sample": %d, "text": %q}`, i, strings.Repeat("x", i)))
	}
	write(t, dir, "config.json", "{}")
}

func oddNames(t *testing.T, dir string) {
	for _, name := range []string{"a b.txt", "Größe.md", "モデル/設定.json", "x+y=z.txt", "emoji 🎉.txt", "a.b.c", "trailing-/dash-.txt"} {
		write(t, dir, name, name)
	}
}

// TestE2EBig pushes and pulls 4 GiB and looks at the memory of the process.
func TestE2EBig(t *testing.T) {
	const size, maxRSS = 4 << 30, 100 << 20
	host := startDistribution(t)
	c := newClient(t)
	dir := filepath.Join(c.dir, "model")
	write(t, dir, "config.json", `{"model_type": "zeros"}`)
	write(t, dir, "model.bin", "")
	if err := os.Truncate(filepath.Join(dir, "model.bin"), size); err != nil {
		t.Fatal(err)
	}
	ref := host + "/big/zeros:v1"
	for _, args := range [][]string{{"push", dir, ref}, {"pull", ref, "pulled"}} {
		started := time.Now()
		// What the system tells of a child's memory begins with that of who has
		// started it, so a small program does.
		peak := filepath.Join(c.dir, "peak")
		c.run(os.Getenv("MODELREG_E2E_PYTHON"), append([]string{"-c", `
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
`, peak, os.Getenv("MODELREG_BIN")}, args...)...)
		text, err := os.ReadFile(peak)
		if err != nil {
			t.Fatal(err)
		}
		kib, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s of 4 GiB: %.1f s, peak memory %d MiB", args[0], time.Since(started).Seconds(), kib>>10)
		if kib<<10 > maxRSS {
			t.Errorf("%s used %d MiB of memory, want less than %d", args[0], kib>>10, maxRSS>>20)
		}
	}
	sameTree(t, dir, filepath.Join(c.dir, "pulled"))
}

// TestE2EResume kills a pull in the middle of a file, again and again, and looks
// at what the last run still has to fetch.
func TestE2EResume(t *testing.T) {
	const size = 1 << 30
	host := startDistribution(t)
	c := newClient(t)
	dir := filepath.Join(c.dir, "model")
	write(t, dir, "config.json", "{}")
	write(t, dir, "model.bin", "")
	if err := os.Truncate(filepath.Join(dir, "model.bin"), size); err != nil {
		t.Fatal(err)
	}
	ref := host + "/big/resume:v1"
	c.modelreg("push", dir, ref)
	partial := filepath.Join(c.dir, ".modelreg-pulled.partial")
	for _, until := range []int64{size / 4, size / 2} {
		killAt(t, c, partial, until, "pull", ref, "pulled")
		if _, err := os.Stat(filepath.Join(c.dir, "pulled")); err == nil {
			t.Fatal("half a model is visible")
		}
	}
	res := c.fields("pull", ref, "pulled")
	fetched, reused := res["fetchedBytes"].(float64), res["reusedBytes"].(float64)
	if fetched > size*6/10 || fetched+reused != res["size"].(float64) {
		t.Errorf("after a kill at half the file %v bytes were fetched and %v reused, want about half of %d each", fetched, reused, size)
	}
	sameTree(t, dir, filepath.Join(c.dir, "pulled"))
}

// killAt runs the binary and kills it once a directory holds so many bytes.
func killAt(t *testing.T, c *client, dir string, bytes int64, args ...string) {
	t.Helper()
	cmd := exec.Command(os.Getenv("MODELREG_BIN"), args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			t.Fatalf("the pull ended before it was killed: %v", err)
		case <-time.After(time.Millisecond): // another process writes the file
		}
		if held(dir) >= bytes {
			_ = cmd.Process.Kill()
			<-done
			return
		}
	}
}

// held sums the sizes of the files below a directory that is being written.
func held(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
