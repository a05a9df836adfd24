//go:build interop

package signing_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/signing"
)

// emptyRoot is a trusted root without anybody in it: cosign 2 wants one before
// it looks at a bundle, with a key too.
const emptyRoot = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}`

// A cosignTool is one of cosign's command lines.
type cosignTool struct {
	binary string
	dir    string // where alice's keys are, and nothing else
	sign   map[signing.Format][]string
	verify map[signing.Format][]string
}

// cosignTools returns the cosigns that the environment names; the test is
// skipped when there is none.
func cosignTools(t *testing.T) map[string]*cosignTool {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range map[string][]byte{
		"alice.key": alice().private, "alice.pub": alice().public, "mallory.pub": mallory().public, "root.json": []byte(emptyRoot),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tools := map[string]*cosignTool{
		"cosign 2": {
			binary: os.Getenv("MODELREG_COSIGN_V2"),
			sign: map[signing.Format][]string{
				signing.Bundle:  {"--tlog-upload=false", "--new-bundle-format"},
				signing.Classic: {"--tlog-upload=false"},
			},
			verify: map[signing.Format][]string{signing.Bundle: {"--trusted-root", "root.json"}},
		},
		"cosign 3": {
			binary: os.Getenv("MODELREG_COSIGN_V3"),
			sign: map[signing.Format][]string{
				signing.Bundle:  {"--use-signing-config=false", "--tlog-upload=false"},
				signing.Classic: {"--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"},
			},
		},
	}
	for name, tool := range tools {
		tool.dir = dir
		if tool.binary == "" {
			t.Logf("SKIPPED %s: its variable MODELREG_COSIGN_V%s names no binary", name, name[len(name)-1:])
			delete(tools, name)
		}
	}
	if len(tools) == 0 {
		t.Skip("SKIPPED: neither MODELREG_COSIGN_V2 nor MODELREG_COSIGN_V3 names a cosign")
	}
	return tools
}

// run runs cosign without a network but loopback, and without the user's
// configuration.
func (c *cosignTool) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.binary, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{
		"HOME=" + c.dir, "COSIGN_PASSWORD=" + string(password), "SIGSTORE_NO_CACHE=true",
		"HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9", "NO_PROXY=127.0.0.1",
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (c *cosignTool) verifies(t *testing.T, m signing.Target, format signing.Format, key string) (string, error) {
	t.Helper()
	args := slices.Concat([]string{"verify", "--key", key, "--insecure-ignore-tlog=true"}, c.verify[format], []string{address(m)})
	return c.run(t, args...)
}

func address(m signing.Target) string { return m.Repository + "@" + m.Descriptor.Digest.String() }

func overCosigns(t *testing.T, f func(t *testing.T, tool *cosignTool, repo registryRepo, format signing.Format)) {
	tools := cosignTools(t)
	overBoth(t, func(t *testing.T, _ *testreg.Server, repo registryRepo) {
		for name, tool := range tools {
			for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
				t.Run(name+" "+format.String(), func(t *testing.T) { f(t, tool, repo, format) })
			}
		}
	})
}

// cosign verifies what we sign, and only with the right key.
func TestCosignVerifies(t *testing.T) {
	overCosigns(t, func(t *testing.T, tool *cosignTool, repo registryRepo, format signing.Format) {
		model := repo.model(t, strings.ReplaceAll(filepath.Base(t.Name()), " ", "-"))
		opts := signing.SignOptions{Format: format, Annotations: map[string]string{"stage": "prod"}}
		if _, err := signing.Sign(t.Context(), repo, model, alice().signer, opts); err != nil {
			t.Fatal(err)
		}
		if out, err := tool.verifies(t, model, format, "alice.pub"); err != nil {
			t.Errorf("verify: %v\n%s", err, out)
		}
		if out, err := tool.verifies(t, model, format, "mallory.pub"); err == nil {
			t.Errorf("verify with another key succeeded:\n%s", out)
		}
	})
}

// We verify what cosign signs, and cosign still does after we signed too.
func TestCosignSigns(t *testing.T) {
	overCosigns(t, func(t *testing.T, tool *cosignTool, repo registryRepo, format signing.Format) {
		model := repo.model(t, strings.ReplaceAll(filepath.Base(t.Name()), " ", "-"))
		args := slices.Concat([]string{"sign", "--key", "alice.key", "--yes"}, tool.sign[format], []string{address(model)})
		if out, err := tool.run(t, args...); err != nil {
			t.Fatalf("sign: %v\n%s", err, out)
		}
		report, err := signing.Verify(t.Context(), repo, model, trustAlice())
		if err != nil || len(report.Signers) != 1 || report.Signers[0].Format != format {
			t.Fatalf("Verify = %+v, %v; want alice in a %v", report, err, format)
		}
		if _, err := signing.Verify(t.Context(), repo, model, signing.Trust{Keys: []*signing.PublicKey{mallory().key}}); err == nil {
			t.Error("Verify with another key succeeded")
		}
		if _, err := signing.Sign(t.Context(), repo, model, mallory().signer, signing.SignOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"alice.pub", "mallory.pub"} {
			if out, err := tool.verifies(t, model, format, key); err != nil {
				t.Errorf("verify with %s after both signed: %v\n%s", key, err, out)
			}
		}
	})
}

// An attestation is not taken for a signature, which cosign's verify does.
func TestCosignAttests(t *testing.T) {
	overCosigns(t, func(t *testing.T, tool *cosignTool, repo registryRepo, format signing.Format) {
		model := repo.model(t, strings.ReplaceAll(filepath.Base(t.Name()), " ", "-"))
		predicate := filepath.Join(tool.dir, "scan.json")
		if err := os.WriteFile(predicate, []byte(`{"scan":"FAILED"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		args := slices.Concat([]string{"attest", "--key", "alice.key", "--yes", "--type", "https://example.com/scan", "--predicate", predicate},
			tool.sign[format], []string{address(model)})
		if out, err := tool.run(t, args...); err != nil {
			t.Fatalf("attest: %v\n%s", err, out)
		}
		report, err := signing.Verify(t.Context(), repo, model, trustAlice())
		if format == signing.Classic { // behind another tag, that is not even read
			if !errors.Is(err, signing.ErrNoSignature) {
				t.Errorf("Verify = %+v, %v; want ErrNoSignature", report, err)
			}
			return
		}
		if err == nil || len(report.Rejected) != 1 || !strings.Contains(report.Rejected[0].Reason, "https://example.com/scan") {
			t.Errorf("Verify = %+v, %v; want the attestation rejected", report, err)
		}
	})
}

// Keys made by cosign open here, and the other way round was tested by signing.
func TestCosignKeys(t *testing.T) {
	for name, tool := range cosignTools(t) {
		t.Run(name, func(t *testing.T) {
			if out, err := tool.run(t, "generate-key-pair", "--output-key-prefix", "made"); err != nil {
				t.Fatalf("generate-key-pair: %v\n%s", err, out)
			}
			defer os.Remove(filepath.Join(tool.dir, "made.key"))
			private, err := os.ReadFile(filepath.Join(tool.dir, "made.key"))
			if err != nil {
				t.Fatal(err)
			}
			public, err := os.ReadFile(filepath.Join(tool.dir, "made.pub"))
			if err != nil {
				t.Fatal(err)
			}
			signer, err := signing.LoadSigner(private, password)
			if err != nil {
				t.Fatal(err)
			}
			key, err := signing.LoadPublicKey(public)
			if err != nil || key.Fingerprint() != signer.Public().Fingerprint() {
				t.Errorf("public key: %v", err)
			}
		})
	}
}
