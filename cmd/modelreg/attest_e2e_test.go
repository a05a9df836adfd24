//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// attestScene is a model in a registry, keys of both sides, and predicates.
type attestScene struct {
	*client
	host string
}

func newAttestScene(t *testing.T, host string) *attestScene {
	s := &attestScene{newClient(t), host}
	for name, text := range map[string]string{
		"root.json": emptyRoot, "model/config.json": "{}", "eval.json": `{"f1":0.91,"seed":12345678901234567}`,
		"model/README.md": "---\nbase_model: acme/base\ndatasets: [acme/tickets]\n---\n# A\n",
		"vuln.json": `{"invocation":{"parameters":null,"uri":"","event_id":"","builder.id":""},` +
			`"scanner":{"uri":"https://example.com","version":"1","db":{"uri":"","version":""},"result":{"verdict":"safe"}},` +
			`"metadata":{"scanStartedOn":"2026-11-22T10:00:00Z","scanFinishedOn":"2026-11-22T10:00:01Z"}}`,
	} {
		write(t, s.dir, name, text)
	}
	s.modelreg("keygen", "-o", "ours")
	s.run(tool(t, "v3/cosign"), "generate-key-pair", "--output-key-prefix", "theirs")
	return s
}

// model pushes a model by a name of its own and returns it by digest.
func (s *attestScene) model(name string) string {
	s.t.Helper()
	write(s.t, s.dir, "model/name.txt", name)
	return s.fields("push", "model", s.host+"/attest/"+name+":v1")["reference"].(string)
}

// byDigest is a reference without its tag, as cosign wants it.
func byDigest(ref string) string {
	name, digest, _ := strings.Cut(ref, "@")
	return name[:strings.LastIndex(name, ":")] + "@" + digest
}

// A cosignCLI is one of cosign's command lines and what it needs to be told.
type cosignCLI struct {
	path           string
	attest, verify map[string][]string // flags by layout
}

func cosignCLIs(t *testing.T) map[string]cosignCLI {
	offline := []string{"--tlog-upload=false"}
	offline3 := []string{"--use-signing-config=false", "--tlog-upload=false"}
	return map[string]cosignCLI{
		"cosign2": {tool(t, "v2/cosign"), map[string][]string{
			"bundle": append(offline, "--new-bundle-format"), "classic": offline,
		}, map[string][]string{
			"bundle": {"--new-bundle-format", "--trusted-root", "root.json"}, "classic": nil,
		}},
		"cosign3": {tool(t, "v3/cosign"), map[string][]string{
			"bundle": offline3, "classic": append(offline3, "--new-bundle-format=false"),
		}, map[string][]string{
			"bundle": nil, "classic": {"--new-bundle-format=false"},
		}},
	}
}

// predicateOf is the predicate of the first statement that cosign prints.
func predicateOf(t *testing.T, out string) map[string]any {
	t.Helper()
	var envelope struct {
		Payload []byte `json:"payload"`
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&envelope); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var st struct {
		Predicate map[string]any `json:"predicate"`
	}
	if err := json.Unmarshal(envelope.Payload, &st); err != nil {
		t.Fatalf("%v: %s", err, envelope.Payload)
	}
	return st.Predicate
}

// TestE2EAttestations has both command lines of cosign verify what we attest, and
// ours what they attest, in both layouts.
func TestE2EAttestations(t *testing.T) {
	for kind, start := range registries {
		t.Run(kind, func(t *testing.T) {
			s := newAttestScene(t, start(t))
			for name, cli := range cosignCLIs(t) {
				for _, layout := range []string{"bundle", "classic"} {
					t.Run(name+" "+layout, func(t *testing.T) {
						s.t = t
						s.theyVerify(cli, layout, s.model("ours-"+name+"-"+layout))
						s.weVerify(cli, layout, s.model("theirs-"+name+"-"+layout))
					})
				}
			}
		})
	}
}

func (s *attestScene) theyVerify(cli cosignCLI, layout, ref string) {
	s.t.Helper()
	s.modelreg("attest", ref, "--type", "vuln", "--predicate", "vuln.json", "--key", "ours.key", "--attestation-layout", layout)
	s.modelreg("attest", ref, "--type", "https://acme.example/eval/v1", "--predicate", "eval.json", "--key", "ours.key", "--attestation-layout", layout)
	verify := func(key, predicateType string) (string, error) {
		args := slices.Concat([]string{"verify-attestation", "--key", key, "--insecure-ignore-tlog=true", "--type", predicateType}, cli.verify[layout], []string{byDigest(ref)})
		out, _, err := s.try(cli.path, args...)
		return out, err
	}
	out, err := verify("ours.pub", "vuln")
	if err != nil {
		s.t.Fatal(err)
	}
	if scanner, _ := predicateOf(s.t, out)["scanner"].(map[string]any); scanner["version"] != "1" {
		s.t.Errorf("cosign reads %s", out)
	}
	if _, err := verify("ours.pub", "https://acme.example/eval/v1"); err != nil {
		s.t.Error(err)
	}
	if out, err := verify("theirs.pub", "vuln"); err == nil {
		s.t.Errorf("cosign verifies with another key: %s", out)
	}
	if out, err := verify("ours.pub", "cyclonedx"); err == nil {
		s.t.Errorf("cosign verifies another type: %s", out)
	}
}

func (s *attestScene) weVerify(cli cosignCLI, layout, ref string) {
	s.t.Helper()
	attest := func(predicateType, predicate string) {
		s.t.Helper()
		s.run(cli.path, slices.Concat([]string{"attest", "--key", "theirs.key", "--yes", "--type", predicateType, "--predicate", predicate}, cli.attest[layout], []string{byDigest(ref)})...)
	}
	attest("vuln", "vuln.json")
	attest("https://acme.example/eval/v1", "eval.json")
	res := s.fields("verify", ref, "--key", "theirs.pub", "--attestation", "vuln", "--attestation", "https://acme.example/eval/v1", "--attestation-only")
	if list := res["attestations"].([]any); len(list) != 2 {
		s.t.Errorf("verify reads %v", list)
	}
	s.refuses(ref, "ours.pub", "vuln")
	s.refuses(ref, "theirs.pub", "cyclonedx")
	if _, state, err := s.try(os.Getenv("MODELREG_BIN"), "verify", ref, "--key", "theirs.pub"); err == nil || state.ExitCode() != exitUnverified {
		s.t.Errorf("attestations count as a signature: %v", err)
	}
	// What is attested besides leaves theirs as it is.
	s.modelreg("attest", ref, "--type", "vuln", "--predicate", "vuln.json", "--key", "ours.key", "--attestation-layout", layout)
	s.modelreg("verify", ref, "--key", "theirs.pub", "--attestation", "vuln", "--attestation-only")
	s.modelreg("verify", ref, "--key", "ours.pub", "--attestation", "vuln", "--attestation-only")
	tree := s.modelreg("tree", ref, "--key", "theirs.pub")
	if n := strings.Count(tree, "verified: key "); n != 2 {
		s.t.Errorf("the tree marks %d as verified, want 2:\n%s", n, tree)
	}
}

func (s *attestScene) refuses(ref, key, predicateType string) {
	s.t.Helper()
	_, state, err := s.try(os.Getenv("MODELREG_BIN"), "verify", ref, "--key", key, "--attestation", predicateType, "--attestation-only")
	if err == nil || state.ExitCode() != exitUnverified {
		s.t.Errorf("verify %s with %s: %v, want exit %d", predicateType, key, err, exitUnverified)
	}
}

// TestE2EProvenance has cosign verify the provenance of a push, and take what it
// says as a predicate of its own: what cosign does not know of SLSA's, it refuses.
func TestE2EProvenance(t *testing.T) {
	s := newAttestScene(t, startDistribution(t))
	s.model("base")
	// As on a runner of GitHub's; what the suite itself runs on is forgotten.
	s.env = append(s.env, "GITLAB_CI=", "GITHUB_ACTIONS=true", "GITHUB_SERVER_URL=https://github.com", "GITHUB_REPOSITORY=acme/train",
		"GITHUB_SHA=0123456789abcdef0123456789abcdef01234567", "GITHUB_REF=refs/heads/main", "GITHUB_RUN_ID=42", "GITHUB_RUN_ATTEMPT=1",
		"GITHUB_WORKFLOW_REF=acme/train/.github/workflows/release.yml@refs/heads/main", "RUNNER_ENVIRONMENT=github-hosted")
	ref := s.fields("push", "model", s.host+"/attest/tuned:v1", "--sign", "--key", "ours.key", "--provenance",
		"--base", s.host+"/attest/base:v1", "--dataset", "hf://datasets/acme/tickets@89abcdef0123456789abcdef0123456701234567")["reference"].(string)
	for name, cli := range cosignCLIs(t) {
		s.run(cli.path, slices.Concat([]string{"verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--trusted-root", "root.json"}, []string{byDigest(ref)})...)
		out := s.run(cli.path, slices.Concat([]string{"verify-attestation", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--type", "slsaprovenance1"}, cli.verify["bundle"], []string{byDigest(ref)})...)
		raw, err := json.Marshal(predicateOf(t, out))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name+".json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		s.run(cli.path, slices.Concat([]string{"attest", "--key", "theirs.key", "--yes", "--type", "slsaprovenance1", "--predicate", name + ".json"}, cli.attest["bundle"], []string{byDigest(ref)})...)
	}
	s.modelreg("verify", ref, "--key", "theirs.pub", "--attestation", "slsaprovenance1", "--attestation-only")
}
