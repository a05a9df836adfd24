package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A registry with a policy reads it again when it is told to, and goes on with the
// old one if the new one cannot be used.
func TestServePolicyAgain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such signal there")
	}
	u := newUser(t)
	t.Chdir(u.home)
	if err := os.CopyFS("model", fstest.MapFS{"notes.txt": {Data: []byte("a model")}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"team", "other"} {
		u.ok("keygen", "-o", name)
		u.ok("policy", "init", name+".yaml", "--glob", "models.example.com/acme/**", "--key", name+".pub")
	}
	rename := func(from string) {
		if raw, err := os.ReadFile(from); err != nil || os.WriteFile("policy.yaml", raw, 0o600) != nil {
			t.Fatal(err)
		}
	}
	rename("team.yaml")
	data := filepath.Join(t.TempDir(), "data")
	publish, stop := serving(t, data)
	defer stop()
	for _, name := range []string{"team", "other"} {
		u.ok("push", "model", publish+"/acme/"+name+":v1", "-m", name, "--sign", "--key", name+".key")
	}
	r, w := io.Pipe()
	lines := bufio.NewReader(r)
	use, stop := servingTo(t, w, data, "--read-only", "--policy", "policy.yaml", "--as", "models.example.com", "--policy-interval", "0")
	defer func() { r.Close(); stop() }()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		change      func()
		says        string
		team, other int
	}{
		{func() {}, "has not changed", http.StatusOK, http.StatusForbidden},
		{func() { u.file("policy.yaml", "kind: nonsense") }, "THE POLICY HAS NOT BEEN READ AGAIN", http.StatusOK, http.StatusForbidden},
		{func() { rename("other.yaml") }, "decides from now on", http.StatusForbidden, http.StatusOK},
		{func() { os.Remove("policy.yaml") }, "THE POLICY HAS NOT BEEN READ AGAIN", http.StatusForbidden, http.StatusOK},
	} {
		step.change()
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, step.says) {
			t.Fatalf("said %q, %v, want %q", line, err, step.says)
		}
		for name, want := range map[string]int{"team": step.team, "other": step.other} {
			if got, _ := manifestOf(t, http.MethodGet, "http://"+use+"/v2/acme/"+name+"/manifests/v1"); got != want {
				t.Errorf("after %q: %s is answered with %d, want %d", step.says, name, got, want)
			}
		}
	}
}

// The time alone has a policy read again too, but no file that may be half written.
func TestRulebookFollows(t *testing.T) {
	of := func(text string) hub.Rules {
		p, err := policy.Parse([]byte("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: " + text + "}\n" +
			"spec:\n  images: [{glob: \"a.example/**\"}]\n  authorities: [{name: none, static: {action: fail}}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		return hub.Rules{Policies: []*policy.Policy{p}}
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	changed := make(chan bool)
	reads := 0 // by one goroutine, until follow has ended
	b := &rulebook{
		app: &app{printer: ui.Printer{Err: io.Discard}}, file: file, rules: of("first"), changed: func() { changed <- true },
		read: func(context.Context) (hub.Rules, error) {
			if reads++; reads == 1 {
				return hub.Rules{}, errors.New("not now")
			}
			return of("second"), nil
		},
	}
	b.look(t.Context(), false)
	if reads != 0 {
		t.Error("a file that was just written to was read")
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	whole := b.read
	b.read = func(context.Context) (hub.Rules, error) {
		return of("half"), os.Chtimes(file, old, old.Add(time.Minute)) // somebody writes to it meanwhile
	}
	b.changed = func() { t.Error("half of a policy decides") }
	b.look(t.Context(), false)
	b.read, b.changed = whole, func() { changed <- true }
	ctx, cancel := context.WithCancel(t.Context())
	wait := b.follow(ctx, time.Millisecond)
	<-changed
	cancel()
	wait()
	if now, _ := b.now(t.Context()); now.Digest() != of("second").Digest() || reads < 2 {
		t.Errorf("after %d reads %v decides", reads, now)
	}
}
