//go:build interop

package signing_test

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/signing"
)

// cosign verifies what we sign with a certificate of a private authority, and we what
// it signs, as far as it can without a log: cosign 2 takes no chain in a bundle.
func TestCosignCertified(t *testing.T) {
	ca := newPrivateCA(t, "acme root")
	leaf := ca.leaf(alice().publicKey(t), nil)
	for name, tool := range cosignTools(t) {
		writeCertificates(t, tool.dir, ca, leaf)
		for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
			for _, chain := range [][]*x509.Certificate{{leaf}, {leaf, ca.issuer, ca.root}} {
				t.Run(fmt.Sprintf("%s %v %d", name, format, len(chain)), func(t *testing.T) {
					repo := newRepo(t, testreg.New(t, testreg.Options{}))
					ours, theirs := repo.model(t, "ours"), repo.model(t, "theirs")
					if _, err := signing.Sign(t.Context(), repo, ours, certified(t, chain...), signing.SignOptions{Format: format}); err != nil {
						t.Fatal(err)
					}
					out, err := tool.verifiesCertified(t, ours, format, release)
					if refuses := name == "cosign 2" && format == signing.Bundle && len(chain) > 1; refuses != (err != nil) {
						t.Errorf("verify: %v\n%s", err, out)
					}
					if out, err := tool.verifiesCertified(t, ours, format, "ci@acme.example"); err == nil {
						t.Errorf("verify as somebody else succeeded:\n%s", out)
					}
					args := []string{"sign", "--key", "alice.key", "--yes", "--certificate", "leaf.pem"}
					if len(chain) > 1 {
						args = append(args, "--certificate-chain", "chain.pem")
					}
					if out, err := tool.run(t, slices.Concat(args, tool.sign[format], []string{address(theirs)})...); err != nil {
						t.Fatalf("sign: %v\n%s", err, out)
					}
					trust := ca.trust(release)
					if err := trust.Authorities.AddIntermediates(pemOf(ca.issuer)); err != nil {
						t.Fatal(err)
					}
					report, err := signing.Verify(t.Context(), repo, theirs, trust)
					if err != nil || len(report.Signers) != 1 || report.Signers[0].Identity != release || report.Signers[0].Format != format {
						t.Errorf("Verify = %+v, %v", report, err)
					}
					if _, err := signing.Verify(t.Context(), repo, theirs, newPrivateCA(t, "acme root").trust(release)); err == nil {
						t.Error("Verify with another authority succeeded")
					}
				})
			}
		}
	}
}

// The attestations of either count too.
func TestCosignAttestsCertified(t *testing.T) {
	ca := newPrivateCA(t, "acme root")
	leaf := ca.leaf(alice().publicKey(t), nil)
	for name, tool := range cosignTools(t) {
		writeCertificates(t, tool.dir, ca, leaf)
		if err := os.WriteFile(filepath.Join(tool.dir, "scan.json"), []byte(`{"scan":"fine"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
			t.Run(name+" "+format.String(), func(t *testing.T) {
				repo := newRepo(t, testreg.New(t, testreg.Options{}))
				ours, theirs := repo.model(t, "ours"), repo.model(t, "theirs")
				p := signing.Predicate{Type: "https://example.com/scan", Raw: []byte(`{}`)}
				if _, err := signing.Attest(t.Context(), repo, ours, certified(t, leaf), p, signing.AttestOptions{Format: format}); err != nil {
					t.Fatal(err)
				}
				args := slices.Concat([]string{"verify-attestation", "--type", p.Type}, tool.certified(format, release))
				if name == "cosign 2" && format == signing.Bundle {
					args = append(args, "--new-bundle-format")
				}
				if out, err := tool.run(t, append(args, address(ours))...); err != nil {
					t.Errorf("verify-attestation: %v\n%s", err, out)
				}
				args = slices.Concat([]string{"attest", "--key", "alice.key", "--yes", "--type", p.Type, "--predicate", "scan.json", "--certificate", "leaf.pem", "--certificate-chain", "chain.pem"},
					tool.sign[format], []string{address(theirs)})
				if out, err := tool.run(t, args...); err != nil {
					t.Fatalf("attest: %v\n%s", err, out)
				}
				trust := ca.trust(release)
				if err := trust.Authorities.AddIntermediates(pemOf(ca.issuer)); err != nil {
					t.Fatal(err)
				}
				said, err := signing.Attestations(t.Context(), repo, theirs, trust)
				if err != nil || len(said.Attestations) != 1 || said.Attestations[0].Signer.Identity != release || !strings.Contains(string(said.Attestations[0].Raw), "fine") {
					t.Errorf("Attestations = %+v, %v", said, err)
				}
			})
		}
	}
}

// writeCertificates writes the files that cosign is given.
func writeCertificates(t *testing.T, dir string, ca *privateCA, leaf *x509.Certificate) {
	t.Helper()
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{&root.FulcioCertificateAuthority{
		Root: ca.root, Intermediates: []*x509.Certificate{ca.issuer}, ValidityPeriodStart: time.Now().Add(-time.Hour), URI: "https://ca.acme.example",
	}}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := trusted.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"leaf.pem": pemOf(leaf), "chain.pem": pemOf(ca.issuer, ca.root), "ca.pem": pemOf(ca.root), "between.pem": pemOf(ca.issuer), "ca.json": text,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// certified are the flags with which cosign trusts the authority.
func (c *cosignTool) certified(format signing.Format, who string) []string {
	args := []string{"--insecure-ignore-tlog=true", "--insecure-ignore-sct", "--certificate-oidc-issuer-regexp", "^$", "--certificate-identity", who}
	if format == signing.Classic {
		return append(args, "--ca-roots", "ca.pem", "--ca-intermediates", "between.pem")
	}
	args = append(args, "--trusted-root", "ca.json")
	if c.binary == os.Getenv("MODELREG_COSIGN_V3") {
		args = append(args, "--allow-certificate-chain")
	}
	return args
}

func (c *cosignTool) verifiesCertified(t *testing.T, m signing.Target, format signing.Format, who string) (string, error) {
	t.Helper()
	return c.run(t, slices.Concat([]string{"verify"}, c.certified(format, who), []string{address(m)})...)
}
