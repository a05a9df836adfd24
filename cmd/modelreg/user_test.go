package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A user has a home of their own, and runs commands in this process.
type user struct {
	t    *testing.T
	home string
}

func newUser(t *testing.T) *user {
	t.Helper()
	u := &user{t: t, home: t.TempDir()}
	t.Setenv("HOME", u.home)
	t.Setenv("DOCKER_CONFIG", u.home)
	t.Setenv("MODELREG_CONFIG", filepath.Join(u.home, "config.yaml"))
	t.Setenv("MODELREG_CACHE", filepath.Join(u.home, "cache"))
	t.Setenv("MODELREG_KEY_PASSWORD", "")
	return u
}

// run runs one command line.
func (u *user) run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(ctx, args, streams{in: strings.NewReader(""), out: &out, err: &err})
	return code, out.String(), err.String()
}

// start runs one command line as a process.
func (u *user) start(args ...string) (code int, stderr string) {
	u.t.Helper()
	name := "modelreg" // this test binary, which TestMain put into the path
	if bin := os.Getenv("MODELREG_BIN"); bin != "" {
		name = bin
	}
	var errOut bytes.Buffer
	cmd := exec.CommandContext(u.t.Context(), name, args...)
	cmd.Stderr = &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		u.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errOut.String()
}

// ok runs a command line that must not fail, and returns its standard output.
func (u *user) ok(args ...string) string {
	u.t.Helper()
	code, out, err := u.run(u.t.Context(), args...)
	if code != exitOK {
		u.t.Fatalf("%s exits with %d: %s", strings.Join(args, " "), code, err)
	}
	return out
}

// file writes a file below the user's home.
func (u *user) file(name, text string) string {
	u.t.Helper()
	name = filepath.Join(u.home, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
	return name
}
