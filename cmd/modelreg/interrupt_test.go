package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/internal/testreg"
)

// TestInterrupt stops a pull in the middle of a blob, as Ctrl-C does, and runs
// the same command again.
func TestInterrupt(t *testing.T) {
	u := newUser(t)
	stalled := make(chan struct{})
	reg := testreg.New(t, testreg.Options{})
	ref := reg.Host + "/acme/big:v1"
	const size = 8 << 20
	model := filepath.Dir(u.file("model/weights.bin", strings.Repeat("weights.", size/8)))
	u.ok("push", model, ref)
	if err := os.RemoveAll(model); err != nil { // a pull would take all from it
		t.Fatal(err)
	}
	big := testreg.Rule{Method: "GET", Path: "/blobs/sha256:", From: 2, To: 2, Do: func(x testreg.Exchange) { // 1 is the config
		close(stalled)
		testreg.Stall(testreg.Middle)(x)
	}}
	reg.Add(big)

	work := filepath.Join(u.home, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(work, "out")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	type end struct {
		code           int
		stdout, stderr string
	}
	ended := make(chan end, 1)
	go func() {
		var e end
		e.code, e.stdout, e.stderr = u.run(ctx, "pull", ref, out)
		ended <- e
	}()
	<-stalled
	waitFor(t, func() bool { return bytesBelow(work)+bytesBelow(filepath.Join(u.home, "cache")) >= 1<<20 })
	interrupt()
	e := <-ended
	if e.code != exitInterrupted || e.stdout != "" || !strings.Contains(e.stderr, "same command again") {
		t.Errorf("exits with %d, stdout %q, stderr %q", e.code, e.stdout, e.stderr)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("the target directory is there: %v", err)
	}

	reg.Reset()
	var res struct{ FetchedBytes, Size int64 }
	if err := json.Unmarshal([]byte(u.ok("pull", ref, out, "--format", "json")), &res); err != nil {
		t.Fatal(err)
	}
	if res.FetchedBytes >= res.Size {
		t.Errorf("%d of %d bytes fetched: nothing was kept", res.FetchedBytes, res.Size)
	}
	info, err := os.Stat(filepath.Join(out, "weights.bin"))
	if err != nil || info.Size() != size {
		t.Errorf("pulled file: %v, %v", info, err)
	}
}

func TestInterruptBeforeStart(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"resolve", reg.Host + "/a/b"},
		{"push", filepath.Dir(u.file("model/a.txt", "x")), reg.Host + "/a/b"},
	} {
		code, out, stderr := u.run(ctx, args...)
		if code != exitInterrupted || out != "" || strings.Contains(stderr, "context canceled: ") {
			t.Errorf("%s exits with %d, stdout %q, stderr %q", args[0], code, out, stderr)
		}
	}
}

// waitFor returns when what happens in another process or goroutine has come
// true.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("did not happen in 30 s")
		}
	}
}

// bytesBelow sums the sizes of the files below dir.
func bytesBelow(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // removed meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}
