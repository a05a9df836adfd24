//go:build interop

package signing_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/internal/testsigstore"
	"github.com/modelreg/modelreg/pkg/signing"
)

// cosign verifies our keyless signatures, with logs of both versions, and we
// verify those of cosign 3.
func TestCosignKeyless(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	trust := signing.Trust{Identities: []signing.Identity{{Subject: who, Issuer: d.Issuer}}, Roots: rootsOf(t, d)}
	for name, tool := range cosignTools(t) {
		for file, text := range map[string][]byte{
			"keyless-root.json": d.TrustedRoot(), "token": []byte(d.Token(who)), "signing.json": d.SigningConfig(testsigstore.RekorV2),
			"signing-1.json": d.SigningConfig(testsigstore.RekorV1),
		} {
			if err := os.WriteFile(filepath.Join(tool.dir, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, version := range []int{1, 2} {
			t.Run(name+" log "+string(rune('0'+version)), func(t *testing.T) {
				repo := newRepo(t, testreg.New(t, testreg.Options{}))
				model, theirs := repo.model(t, "model"), repo.model(t, "theirs")
				s := services(t, d, version)
				signer, err := signing.NewKeyless(func(context.Context) (string, error) { return d.Token(who), nil }, s)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := signing.Sign(t.Context(), repo, model, signer, signing.SignOptions{}); err != nil {
					t.Fatal(err)
				}
				verify := func(identity string) (string, error) {
					args := []string{
						"verify", "--trusted-root", "keyless-root.json", "--insecure-ignore-sct", "--use-signed-timestamps",
						"--certificate-oidc-issuer", d.Issuer, "--certificate-identity", identity, address(model),
					}
					return tool.run(t, args...)
				}
				if out, err := verify(who); err != nil {
					t.Errorf("verify: %v\n%s", err, out)
				}
				if out, err := verify("bob@example.com"); err == nil {
					t.Errorf("verify as somebody else succeeded:\n%s", out)
				}
				if name != "cosign 3" {
					return // cosign 2 does not write to logs of the second version
				}
				config := map[int]string{1: "signing-1.json", 2: "signing.json"}[version]
				args := []string{"sign", "--identity-token", "token", "--signing-config", config, "--trusted-root", "keyless-root.json", "--yes", address(theirs)}
				if out, err := tool.run(t, args...); err != nil {
					t.Fatalf("sign: %v\n%s", err, out)
				}
				report, err := signing.Verify(t.Context(), repo, theirs, trust)
				if err != nil || len(report.Signers) != 1 || !report.Signers[0].Logged {
					t.Errorf("Verify = %+v, %v", report, err)
				}
			})
		}
	}
}

// A key's signature that we had logged is one that cosign finds in the log.
func TestCosignKeyLogged(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	for name, tool := range cosignTools(t) {
		for _, version := range []int{1, 2} {
			t.Run(name+" log "+string(rune('0'+version)), func(t *testing.T) {
				if err := os.WriteFile(filepath.Join(tool.dir, "keyless-root.json"), d.TrustedRoot(), 0o600); err != nil {
					t.Fatal(err)
				}
				repo := newRepo(t, testreg.New(t, testreg.Options{}))
				model := repo.model(t, "model")
				s := services(t, d, version)
				signer, err := alice().signer.With(s)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := signing.Sign(t.Context(), repo, model, signer, signing.SignOptions{}); err != nil {
					t.Fatal(err)
				}
				args := []string{"verify", "--key", "alice.pub", "--trusted-root", "keyless-root.json"}
				if name == "cosign 2" {
					args = append(args, "--use-signed-timestamps")
				}
				if out, err := tool.run(t, slices.Concat(args, []string{address(model)})...); err != nil {
					t.Errorf("verify: %v\n%s", err, out)
				}
			})
		}
	}
}
