package main

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
)

// A gate lets some bytes of a request's body through, and the rest when it is
// opened.
type gate struct {
	io.ReadCloser
	left    int64
	reached func()
	open    <-chan struct{}
}

func (g *gate) Read(p []byte) (int, error) {
	if g.left <= 0 {
		g.reached()
		<-g.open
		return g.ReadCloser.Read(p)
	}
	n, err := g.ReadCloser.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}

// TestPushResume kills a push in the middle of a blob, and runs the same
// command again.
func TestPushResume(t *testing.T) {
	if os.Getenv("MODELREG_BIN") != "" {
		t.Skip("one kind of binary is enough")
	}
	tests := map[string]int64{
		"digest known":   48 << 20,
		"digest unknown": 96 << 20,
	}
	for name, size := range tests {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			reg := testreg.New(t, testreg.Options{Data: t.TempDir()})
			model := filepath.Join(u.home, "model")
			writeRandom(t, filepath.Join(model, "weights.bin"), size)
			half, open := make(chan struct{}), make(chan struct{})
			reached := sync.OnceFunc(func() { close(half) })
			reg.Add(testreg.Rule{Method: "PUT,PATCH", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
				x.R.Body = &gate{x.R.Body, size / 2, reached, open}
				x.Pass(x.W)
			}})
			ref := reg.Host + "/acme/big:v1"
			cmd := exec.CommandContext(t.Context(), "modelreg", "push", model, ref)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-half
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed
			close(open)

			reg.Reset()
			var res struct{ UploadedBytes int64 }
			if err := json.Unmarshal([]byte(u.ok("push", model, ref, "--format", "json")), &res); err != nil {
				t.Fatal(err)
			}
			var sent int64
			for _, q := range reg.Requests() {
				if q.Method == "PUT" || q.Method == "PATCH" {
					sent += q.BytesIn
				}
			}
			if sent > size*52/100 {
				t.Errorf("the second push sent %d bytes of %d", sent, size)
			}
			u.ok("pull", ref, filepath.Join(u.home, "out"))
			checkSame(t, filepath.Join(model, "weights.bin"), filepath.Join(u.home, "out", "weights.bin"))
		})
	}
}

func writeRandom(t *testing.T, name string, size int64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{byte(size >> 20)}), size)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func checkSame(t *testing.T, one, other string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cmp", one, other).CombinedOutput(); err != nil {
		t.Errorf("files differ: %v: %s", err, out)
	}
}
