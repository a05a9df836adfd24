package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// serving runs "modelreg serve" on dir until the returned stop is called, which
// returns its exit code.
func serving(t *testing.T, dir string, flags ...string) (host string, stop func() int) {
	t.Helper()
	return servingTo(t, io.Discard, dir, flags...)
}

// servingTo is serving with what that says besides.
func servingTo(t *testing.T, says io.Writer, dir string, flags ...string) (host string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, flags...), streams{in: strings.NewReader(""), out: w, err: says})
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "http://"), func() int { cancel(); return <-code }
}

func TestServeKeepsContentOverRestart(t *testing.T) {
	t.Setenv("MODELREG_CACHE", t.TempDir())
	t.Setenv("MODELREG_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	dir := t.TempDir()
	modelreg := func(args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errOut}); code != exitOK {
			t.Fatalf("modelreg %s: exit code %d: %s", strings.Join(args, " "), code, errOut.String())
		}
		return out.String()
	}
	host, stop := serving(t, dir)
	_, pushed, _ := strings.Cut(modelreg("push", "../../examples/digits/model", host+"/acme/digits:v1"), "@")
	if code := stop(); code != exitOK {
		t.Errorf("serve ends with %d when it is told to stop, want 0", code)
	}
	host, stop = serving(t, dir)
	if got := modelreg("resolve", host+"/acme/digits:v1"); got != pushed {
		t.Errorf("after a restart the tag is %q, want %q", got, pushed)
	}
	stop()
}

// A registry with a policy gives out what that allows, and says why not; who
// publishes has one of their own on the same directory.
func TestServePolicy(t *testing.T) {
	work := t.TempDir()
	t.Chdir(work)
	t.Setenv("MODELREG_CACHE", t.TempDir())
	t.Setenv("MODELREG_STATE", t.TempDir())
	t.Setenv("MODELREG_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	t.Setenv("MODELREG_KEY_PASSWORD", "")
	modelreg := func(want int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errOut}); code != want {
			t.Fatalf("modelreg %s: exit code %d: %s", strings.Join(args, " "), code, errOut.String())
		}
		return out.String() + errOut.String()
	}
	if err := os.CopyFS("model", fstest.MapFS{"notes.txt": {Data: []byte("a model")}}); err != nil {
		t.Fatal(err)
	}
	modelreg(exitOK, "keygen", "-o", "team")
	modelreg(exitOK, "policy", "init", "--glob", "models.example.com/acme/**", "--key", "team.pub")
	data := filepath.Join(t.TempDir(), "data")
	publish, stop := serving(t, data)
	defer stop()
	modelreg(exitOK, "push", "model", publish+"/acme/signed:v1", "--sign", "--key", "team.key")
	modelreg(exitOK, "push", "model", publish+"/acme/unsigned:v1", "-m", "another version")
	modelreg(exitUsage, "serve", "--data", data, "--listen", "127.0.0.1:0", "--policy", "policy.yaml")
	modelreg(exitUsage, "serve", "--data", data, "--listen", "127.0.0.1:0", "--read-only", "--policy", "policy.yaml", "--as", "a/b")
	use, stop := serving(t, data, "--read-only", "--policy", "policy.yaml", "--as", "models.example.com")
	defer stop()

	digest := strings.TrimSpace(modelreg(exitOK, "resolve", publish+"/acme/unsigned:v1"))
	for _, reference := range []string{"v1", digest} {
		wantDenied(t, "http://"+use+"/v2/acme/unsigned/manifests/"+reference)
	}
	if status, _ := manifestOf(t, http.MethodHead, "http://"+use+"/v2/acme/unsigned/manifests/v1"); status != http.StatusForbidden {
		t.Errorf("HEAD is answered with %d", status)
	}
	if status, _ := manifestOf(t, http.MethodGet, "http://"+use+"/v2/acme/none/manifests/v1"); status != http.StatusNotFound {
		t.Errorf("what is not there is answered with %d", status)
	}
	if got := modelreg(exitForbidden, "pull", use+"/acme/unsigned:v1", "no"); !strings.Contains(got, "signature of models") {
		t.Errorf("pull does not tell why: %s", got)
	}
	// All that a client needs to see for itself is there.
	modelreg(exitOK, "pull", use+"/acme/signed:v1", "out", "--verify", "--key", "team.pub")
}

// wantDenied asks for a manifest, and wants to hear that nobody signed it.
func wantDenied(t *testing.T, url string) {
	t.Helper()
	var answer struct {
		Errors []struct {
			Code, Message string
			Detail        struct {
				Rules []struct {
					Rule string
					OK   bool
				}
			}
		}
	}
	status, body := manifestOf(t, http.MethodGet, url)
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Errors) != 1 {
		t.Fatalf("%s: %d %s, %v", url, status, body, err)
	}
	e := answer.Errors[0]
	if status != http.StatusForbidden || e.Code != "DENIED" || !strings.Contains(e.Message, "signature of models: found team: no signature found") ||
		len(e.Detail.Rules) == 0 || e.Detail.Rules[0].Rule != "signature" || e.Detail.Rules[0].OK {
		t.Errorf("%s: %d %+v", url, status, e)
	}
}

func manifestOf(t *testing.T, method, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}
