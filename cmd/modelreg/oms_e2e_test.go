//go:build e2e

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testsigstore"
)

// A reference is the implementation of OpenSSF Model Signing that others use.
func reference(t *testing.T, program string) string {
	t.Helper()
	dir := os.Getenv("MODELREG_E2E_OMS")
	if dir == "" {
		t.Fatal("MODELREG_E2E_OMS is not set: run make e2e")
	}
	return filepath.Join(dir, program)
}

// keyFiles writes a key pair as openssl does.
func keyFiles(t *testing.T, c *client, name string, curve elliptic.Curve) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "PRIVATE KEY", Bytes: private},
		name + ".pub": {Type: "PUBLIC KEY", Bytes: public},
	} {
		if err := os.WriteFile(filepath.Join(c.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestE2EModelSigning signs a model with either implementation and verifies it
// with the other.
func TestE2EModelSigning(t *testing.T) {
	c := newClient(t)
	model := filepath.Join(c.dir, "model")
	if err := os.CopyFS(model, os.DirFS(os.Getenv("MODELREG_E2E_MODEL"))); err != nil {
		t.Fatal(err)
	}
	// Names that the two sort differently, and some that are left out.
	for name, text := range map[string]string{"a-b": "1", "a/c": "2", "a.d": "3", "ü/ß": "4", ".hidden": "5", ".gitignore": "6"} {
		file := filepath.Join(model, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	theirs := reference(t, "model_signing")
	c.modelreg("keygen", "-o", "ours")
	c.modelreg("sign", "./model", "--key", "ours.key")
	verify := []string{"verify", "key", "--signature", "model/model.sig", "--public_key", "ours.pub", "model"}
	c.run(theirs, verify...)

	t.Run("a changed file fails with both", func(t *testing.T) {
		file := filepath.Join(model, "a-b")
		if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.try(theirs, verify...); err == nil {
			t.Error("the reference takes a changed file")
		}
		if _, state, _ := c.try(os.Getenv("MODELREG_BIN"), "verify", "./model", "--key", "ours.pub"); state.ExitCode() != exitIntegrity {
			t.Errorf("verify exits with %d", state.ExitCode())
		}
		if err := os.WriteFile(file, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		t.Run("theirs by "+name, func(t *testing.T) {
			keyFiles(t, c, name, curve)
			c.run(theirs, "sign", "key", "--private_key", name+".pem", "--signature", "model/model.sig", "model")
			got := c.fields("verify", "./model", "--key", name+".pub")
			if got["verified"] != true || len(got["ignored"].([]any)) != 2 { // .gitattributes and .gitignore
				t.Errorf("verify = %v", got)
			}
		})
	}
	t.Run("certificates", func(t *testing.T) {
		certify(t, c.dir, "ours.pub")
		c.modelreg("sign", "./model", "--key", "ours.key", "--certificate", "leaf.pem", "--certificate-chain", "chain.pem", "--force")
		c.run(theirs, "verify", "certificate", "--signature", "model/model.sig", "--certificate_chain", "root.pem", "model")
		certify(t, c.dir, "p384.pub")
		if _, _, err := c.try(theirs, "verify", "certificate", "--signature", "model/model.sig", "--certificate_chain", "root.pem", "model"); err == nil {
			t.Error("the reference takes a certificate of another authority")
		}
		c.run(theirs, "sign", "certificate", "--private_key", "p384.pem", "--signing_certificate", "leaf.pem", "--certificate_chain", "chain.pem", "--signature", "model/model.sig", "model")
		if got := c.fields("verify", "./model", "--ca-roots", "root.pem", "--certificate-identity", "release@acme.example"); got["verified"] != true {
			t.Errorf("verify = %v", got)
		}
	})
	t.Run("shards", func(t *testing.T) {
		file, text := filepath.Join(model, "large.bin"), strings.Repeat("0123456789", 250)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c.run(reference(t, "python"), "-c", `
import model_signing
c = model_signing.signing.Config().use_elliptic_key_signer(private_key="p256.pem")
c.set_hashing_config(model_signing.hashing.Config().use_shard_serialization(shard_size=1000).set_ignored_paths(paths=["model.sig"]))
c.sign("model", "shards.sig")`)
		verify := []string{"verify", "./model", "--signature", "shards.sig", "--key", "p256.pub"}
		if got := c.fields(verify...); got["verified"] != true {
			t.Errorf("verify = %v", got)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(text, "0", "1", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, state, err := c.try(os.Getenv("MODELREG_BIN"), verify...); state.ExitCode() != exitIntegrity {
			t.Errorf("verify of a changed file: %v", err)
		}
	})
}

// TestE2EModelSigningKeyless has the reference verify what an identity of a sigstore
// deployment on this machine signed. It wants certificates that a log of certificates
// has, which the real Fulcio is started without.
func TestE2EModelSigningKeyless(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{CertificateLog: true}).Serve()
	c := newClient(t)
	model := filepath.Join(c.dir, "model")
	testmodel.Write(t, model)
	const who = "alice@example.com"
	config := map[string]jsontext.Value{
		"mediaType":   jsontext.Value(`"application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"`),
		"trustedRoot": d.TrustedRoot(), "signingConfig": d.SigningConfig(testsigstore.RekorV2),
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"root.json": d.TrustedRoot(), "signing.json": d.SigningConfig(testsigstore.RekorV2), "config.json": raw, "alice.jwt": []byte(d.Token(who)),
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	theirs := reference(t, "model_signing")
	verify := func(identity string) []string {
		return []string{"verify", "sigstore", "--signature", "model/model.sig", "--trust_config", "config.json", "--identity", identity, "--identity_provider", d.Issuer, "model"}
	}
	c.modelreg("sign", "./model", "--identity-token", "alice.jwt", "--signing-config", "signing.json", "--trusted-root", "root.json")
	c.run(theirs, verify(who)...)
	if _, _, err := c.try(theirs, verify("bob@example.com")...); err == nil {
		t.Error("the reference takes somebody else's")
	}
	got := c.fields("verify", "./model", "--trusted-root", "root.json", "--certificate-identity", who, "--certificate-oidc-issuer", d.Issuer)
	if got["verified"] != true {
		t.Errorf("verify = %v", got)
	}
	_, state, _ := c.try(os.Getenv("MODELREG_BIN"), "verify", "./model", "--trusted-root", "root.json", "--certificate-identity", "bob@example.com", "--certificate-oidc-issuer", d.Issuer)
	if state.ExitCode() != exitUnverified {
		t.Errorf("verify as somebody else exits with %d", state.ExitCode())
	}
}
