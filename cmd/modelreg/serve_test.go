package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// serving runs "modelreg serve" on dir until the returned stop is called, which
// returns its exit code.
func serving(t *testing.T, dir string) (host string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, streams{in: strings.NewReader(""), out: w, err: io.Discard})
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
