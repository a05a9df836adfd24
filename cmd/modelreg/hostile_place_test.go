package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
)

// goodModel serves a model of two files.
func goodModel(t *testing.T) string {
	t.Helper()
	return testreg.New(t, testreg.Options{Layout: "testdata/hostile/m90_ok"}).Host + "/acme/model:latest"
}

// pull replaces nothing that is not a model, and some places never.
func TestPullRefusesDestinations(t *testing.T) {
	ref := goodModel(t)
	tests := map[string]struct {
		make  func(v *victim) string
		force bool // refused with --force too
	}{
		"directory that is not empty": {func(v *victim) string {
			v.write(map[string]string{"work/out/thesis.tex": "years"})
			return v.out
		}, false},
		"file": {func(v *victim) string {
			v.write(map[string]string{"work/out": "years"})
			return v.out
		}, true},
		"link to a file": {func(v *victim) string {
			v.write(map[string]string{"work/thesis": "years"})
			return linkTo(v, "thesis")
		}, true},
		"home": {func(v *victim) string {
			v.write(map[string]string{"work/out/.bashrc": "alias"})
			return v.out
		}, true},
		"home of all": {func(*victim) string { return "/home/nobody-in-particular" }, true},
		"root":        {func(*victim) string { return "/" }, true},
		"above the current directory": {func(v *victim) string {
			v.write(map[string]string{"work/out/in/x": "x"})
			v.t.Chdir(filepath.Join(v.out, "in"))
			return v.out
		}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			dir := tt.make(v)
			before := filesIn(t, v.root)
			v.ends(exitUsage, "", "pull", ref, dir)
			if tt.force {
				v.ends(exitUsage, "", "pull", ref, dir, "--force")
			}
			if diff := cmp.Diff(before, filesIn(t, v.root)); diff != "" {
				t.Errorf("on the disk (-before +after):\n%s", diff)
			}
			if left, _ := filepath.Glob(filepath.Join(v.root, "work", ".modelreg*")); left != nil {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// filesIn reads through no links, so that the test of one must not leave it.
func linkTo(v *victim, to string) string {
	v.t.Helper()
	dir := v.t.TempDir()
	if err := os.Symlink(filepath.Join(v.root, "work", to), filepath.Join(dir, "out")); err != nil {
		v.t.Fatal(err)
	}
	return filepath.Join(dir, "out")
}

// HOME is known as one without marks.
func TestPullRefusesHome(t *testing.T) {
	ref := goodModel(t)
	v := newVictim(t)
	t.Setenv("HOME", v.out)
	t.Setenv("MODELREG_CACHE", filepath.Join(t.TempDir(), "cache"))
	v.write(map[string]string{"work/out/thesis.tex": "years"})
	v.ends(exitUsage, "home directory", "pull", ref, v.out, "--force")
	if got := filesIn(t, v.out); got["thesis.tex"] != "years" {
		t.Errorf("files: %v", got)
	}
}

// --force replaces the whole directory: nothing of the old one shows in the new.
func TestPullForce(t *testing.T) {
	ref := goodModel(t)
	v := newVictim(t)
	v.write(map[string]string{"work/out/thesis.tex": "years", "work/out/README.md": "mine"})
	v.ends(exitOK, "pulled 2 files", "pull", ref, v.out, "--force")
	got := filesIn(t, v.out)
	if _, there := got["thesis.tex"]; there || got["README.md"] == "mine" || len(got) != 4 {
		t.Errorf("files: %v", got)
	}
}

// push refuses what is no plain file of the directory, and secrets, and names
// them; nothing is sent.
func TestPushRefuses(t *testing.T) {
	tests := map[string]struct {
		make func(v *victim, dir string)
		code int
		text string
	}{
		"link out": {func(v *victim, dir string) { symlink(v.t, "../../sentinel", filepath.Join(dir, "x")) }, exitUnsafe, `"x"`},
		"link to an absolute path": {func(v *victim, dir string) {
			symlink(v.t, filepath.Join(v.root, "sentinel"), filepath.Join(dir, "x"))
		}, exitUnsafe, `"x"`},
		"link to nothing": {func(v *victim, dir string) { symlink(v.t, "nothing", filepath.Join(dir, "x")) }, exitUnsafe, `"x"`},
		"pipe": {func(v *victim, dir string) {
			err := exec.Command("mkfifo", filepath.Join(dir, "x")).Run()
			if errors.Is(err, exec.ErrNotFound) {
				v.t.Skip(err)
			}
			if err != nil {
				v.t.Fatal(err)
			}
		}, exitUnsafe, `"x"`},
		"socket": {func(v *victim, dir string) {
			v.t.Chdir(dir) // the names of sockets are short
			l, err := net.Listen("unix", "x")
			if err != nil {
				v.t.Fatal(err)
			}
			v.t.Cleanup(func() { l.Close() })
		}, exitUnsafe, `"x"`},
		"unreadable": {func(v *victim, dir string) {
			if os.Geteuid() == 0 {
				v.t.Skip("root reads everything")
			}
			v.write(map[string]string{"work/model/x": "x"})
			if err := os.Chmod(filepath.Join(dir, "x"), 0); err != nil {
				v.t.Fatal(err)
			}
		}, exitLocal, "x"},
		"name with escapes": {func(v *victim, _ string) { v.write(map[string]string{"work/model/a\x1b[2J": "x"}) }, exitUnsafe, "control character"},
		"twins":             {func(v *victim, _ string) { v.write(map[string]string{"work/model/A": "x", "work/model/a": "x"}) }, exitUnsafe, "collision"},
		"private key": {func(v *victim, _ string) {
			v.write(map[string]string{"work/model/server.pem": "-----BEGIN PRIVATE " + "KEY-----\nMIIEvQ\n"})
		}, exitUnsafe, "server.pem"},
		"token in a config": {func(v *victim, _ string) {
			v.write(map[string]string{"work/model/config.json": `{"token":"hf_` + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789" + `"}`})
		}, exitUnsafe, "config.json"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			dir := filepath.Join(v.root, "work", "model")
			v.write(map[string]string{"work/model/model.bin": "0123456789"})
			reg := testreg.New(t, testreg.Options{})
			tt.make(v, dir)
			v.ends(tt.code, tt.text, "push", dir, reg.Host+"/acme/model:v1")
			for _, r := range reg.Requests() {
				if r.Method != "GET" && r.Method != "HEAD" {
					t.Errorf("sent: %s %s", r.Method, r.Path)
				}
			}
			v.ends(exitNotFound, "", "resolve", reg.Host+"/acme/model:v1")
		})
	}
}

// A file that changes while it is sent is noticed, and no version is made.
func TestPushOfChangingFile(t *testing.T) {
	for name, change := range map[string]func(name string) error{
		"grows":   func(name string) error { return os.WriteFile(name, make([]byte, 3<<20), 0o644) },
		"shrinks": func(name string) error { return os.Truncate(name, 1000) },
		"replaced": func(name string) error {
			return errors.Join(os.WriteFile(name+".new", make([]byte, 2<<20), 0o644), os.Rename(name+".new", name))
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.write(map[string]string{"work/model/model.bin": strings.Repeat("x", 2<<20)})
			reg := testreg.New(t, testreg.Options{})
			var once sync.Once
			reg.Add(testreg.Rule{Method: "POST", Do: func(x testreg.Exchange) {
				once.Do(func() {
					if err := change(filepath.Join(v.root, "work", "model", "model.bin")); err != nil {
						t.Error(err)
					}
				})
				x.Pass(x.W)
			}})
			v.ends(exitLocal, "model.bin", "push", filepath.Join(v.root, "work", "model"), reg.Host+"/acme/model:v1")
			v.ends(exitNotFound, "", "resolve", reg.Host+"/acme/model:v1")
		})
	}
}

// Secrets that are known by their name alone are left out, and the user is
// told.
func TestPushLeavesSecretsOut(t *testing.T) {
	v := newVictim(t)
	v.write(map[string]string{"work/model/model.bin": "0123456789", "work/model/.env": "A=b", "work/model/id_rsa": "x"})
	reg := testreg.New(t, testreg.Options{})
	v.ends(exitOK, ".env", "push", filepath.Join(v.root, "work", "model"), reg.Host+"/acme/model:v1")
	if got := v.run("ls", reg.Host+"/acme/model:v1"); !strings.Contains(got.out, "model.bin") || strings.Contains(got.out, ".env") || strings.Contains(got.out, "id_rsa") {
		t.Errorf("files:\n%s", got.out)
	}
}

func symlink(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}
