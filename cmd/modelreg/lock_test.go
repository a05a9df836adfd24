package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/lock"
)

// TestJSONKeysOfLock is TestJSONKeys for the lock commands and policy generate.
func TestJSONKeysOfLock(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	name := reg.Host + "/acme/m:v1"
	u.ok("push", filepath.Dir(u.file("model/a.txt", "x")), name)
	file := filepath.Join(u.home, "some.lock")
	policy := filepath.Join("..", "..", "pkg", "signing", "policy", "admission", "testdata", "policy.yaml")
	locked := append(under("models[]", []string{"name", "reference", "digest", "tag", "previous", "changed", "signer", "issuer", "policy"}), "file", "models")
	states := append(under("models[]", []string{"name", "reference", "digest", "tag", "status", "found", "newer", "signer", "issuer", "reason"}), "file", "models")
	steps := []struct {
		args []string
		want []string
	}{
		{[]string{"add", "m", name}, locked},
		{[]string{"update"}, locked},
		{[]string{"check"}, states},
		{[]string{"verify", "m"}, states},
		{[]string{"export", "--as", "env"}, []string{"as", "document"}},
		{[]string{"generate", "vap", "--policy", policy}, []string{"engine", "policy", "document"}},
	}
	for _, s := range steps {
		command := []string{"lock", "--file", file}
		if s.args[0] == "generate" {
			command = []string{"policy"}
		}
		got := keys(t, u.ok(slices.Concat(command, s.args, []string{"--format", "json"})...))
		slices.Sort(s.want)
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("lock %s: %s", s.args[0], diff)
		}
		for _, key := range s.want {
			if last := key[strings.LastIndex(key, ".")+1:]; !documented(t, last) {
				t.Errorf("lock %s: docs/json.md says nothing of %s", s.args[0], key)
			}
		}
	}
}

// The expression that the manual gives to other tools finds every digest with
// its reference, and the example in the manual is a lock file.
func TestLockManual(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "lock.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(text), "```yaml\nversion: 1\n")
	example, _, closed := strings.Cut(example, "```")
	if !ok || !closed {
		t.Fatal("the manual has no example")
	}
	example = "version: 1\n" + example
	f, err := lock.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := f.Marshal(); err != nil || string(raw) != example {
		t.Errorf("the example is written as: %s, %v", cmp.Diff(example, string(raw)), err)
	}
	line := regexp.MustCompile(`(?m)^    (reference: .*)$`).FindSubmatch(text)
	for _, l := range regexp.MustCompile(`(?m)^    (reference: "\?.*)$`).FindAllSubmatch(text, -1) {
		line = l
	}
	find, err := regexp.Compile(string(line[1]))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ghcr.io/acme/support": "^1.4", "127.0.0.1:5000/a/b": "v1"} {
		doc := strings.Replace(example, "ghcr.io/acme/support:^1.4", name+":"+want, 1)
		m := find.FindStringSubmatch(doc)
		if diff := cmp.Diff([]string{name, want, f.Models["support"].Digest.String()}, m[min(1, len(m)):]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The pipelines of others are not run here; they are at least YAML.
func TestPipelineExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "pipeline", "*.y*ml"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		l, err := yaml.NewLoader(f)
		if err != nil {
			t.Fatal(err)
		}
		for {
			var doc map[string]any
			err := l.Load(&doc)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || len(doc) == 0 {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
}
