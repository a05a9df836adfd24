//go:build e2e

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// stock is the reference registry that can be stopped, so that its own tool can
// collect garbage.
type stock struct {
	t            *testing.T
	config, host string
	cmd          *exec.Cmd
}

func startStock(t *testing.T) *stock {
	s := &stock{t: t}
	s.config, s.host = writeDistribution(t, "")
	s.start()
	return s
}

func (s *stock) start() {
	s.cmd = exec.Command(tool(s.t, "registry"), "serve", s.config)
	serveDistribution(s.t, s.cmd, s.host)
}

// collect removes everything that no tag leads to.
func (s *stock) collect() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	collector := exec.Command(tool(s.t, "registry"), "garbage-collect", "--delete-untagged", s.config)
	collector.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if out, err := collector.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.start()
}

// evalPolicy allows what one key has attested, within bounds.
func evalPolicy(t *testing.T, s *attestScene, minimum string) string {
	t.Helper()
	public, err := os.ReadFile(filepath.Join(s.dir, "theirs.pub"))
	if err != nil {
		t.Fatal(err)
	}
	indented := strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n          ")
	write(t, s.dir, "policy.yaml", `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: measured
  annotations:
    policy.modelreg.dev/model: |
      evaluations:
        - {task: gsm8k, metric: exact_match, filter: strict-match, dataset: openai/gsm8k, min: `+minimum+`}
spec:
  images: [{glob: "**"}]
  authorities:
    - name: lab
      key:
        data: |
          `+indented+`
      attestations: [{name: results, predicateType: "https://modelreg.dev/eval/v1"}]
`)
	return "policy.yaml"
}

// TestE2EEvaluations has a third party, with a key of cosign's, state what harnesses
// have written; cosign verifies the statements, a policy decides by them, and
// neither the registry's garbage collector nor the owner can remove those in the
// third party's repository.
func TestE2EEvaluations(t *testing.T) {
	reg := startStock(t)
	s := newAttestScene(t, reg.host)
	for _, name := range []string{"lm-eval-0.4.json", "inspect.eval"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "pkg", "eval", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, s.dir, "runs/"+name, string(raw))
	}
	ref := s.model("measured")
	s.modelreg("eval", "import", "runs", ref, "--key", "theirs.key")
	s.modelreg("eval", "import", "runs", ref, "--key", "theirs.key", "--to", s.host+"/lab/evals")

	for name, cli := range cosignCLIs(t) {
		verify := func(key string) (string, error) {
			args := slices.Concat([]string{"verify-attestation", "--key", key, "--insecure-ignore-tlog=true", "--type", "https://modelreg.dev/eval/v1"}, cli.verify["bundle"], []string{byDigest(ref)})
			out, _, err := s.try(cli.path, args...)
			return out, err
		}
		out, err := verify("theirs.pub")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if list, _ := predicateOf(t, out)["results"].([]any); len(list) == 0 {
			t.Errorf("%s reads %s", name, out)
		}
		if out, err := verify("ours.pub"); err == nil {
			t.Errorf("%s verifies with another key: %s", name, out)
		}
	}

	s.modelreg("policy", "test", evalPolicy(t, s, "0.4"), ref)
	_, state, err := s.try(os.Getenv("MODELREG_BIN"), "policy", "test", evalPolicy(t, s, "0.5"), ref)
	if err == nil || state.ExitCode() != exitPolicy || !strings.Contains(err.Error(), "exact_match (strict-match) of gsm8k on openai/gsm8k 0.4177407126611069") {
		t.Errorf("a policy that asks for more: %v, want exit %d", err, exitPolicy)
	}

	reg.collect()
	from := []string{"eval", "list", ref, "--key", "theirs.pub", "--from", s.host + "/lab/evals"}
	out := s.modelreg(from...)
	if n := strings.Count(out, " trusted "); n != 22 {
		t.Errorf("%d results of the lab after the registry's collection, want 11 in each repository:\n%s", n, out)
	}
	s.modelreg("policy", "test", evalPolicy(t, s, "0.4"), ref)

	// The owner empties the list of what is attached, and the collector does the rest.
	tag := "sha256-" + ref[strings.LastIndex(ref, ":")+1:]
	s.run(tool(t, "crane"), "delete", s.host+"/attest/measured:"+tag)
	reg.collect()
	out = s.modelreg(from...)
	if n := strings.Count(out, " trusted "); n != 11 || strings.Contains(s.modelreg("eval", "list", ref), "gsm8k") {
		t.Errorf("%d results of the lab after the owner has removed his, want the 11 that are the lab's:\n%s", n, out)
	}
}
