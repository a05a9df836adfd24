package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/modelreg/modelreg/internal/testreg"
)

// A failer is a test, or a script.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// scriptFailer is a script as a failer.
type scriptFailer struct{ *testscript.TestScript }

// Helper does nothing: a script tells its own lines.
func (scriptFailer) Helper() {}

// Fatal ends the script.
func (s scriptFailer) Fatal(args ...any) { s.Fatalf("%s", fmt.Sprint(args...)) }

// certifyKey is the command "certify PUBLIC" of scripts.
func certifyKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: certify PUBLIC")
	}
	certify(scriptFailer{ts}, ts.MkAbs("."), args[0])
}

// certify writes certificates for the public key in a file: leaf.pem, chain.pem,
// which leads from it to the authority, and root.pem, which is the authority's.
func certify(t failer, dir, public string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, public))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		}
	}
	rootKey, betweenKey := newECKey(t), newECKey(t)
	root := issueTo(t, authority("Acme Root"), rootKey.Public(), nil, rootKey)
	between := issueTo(t, authority("Acme Models"), betweenKey.Public(), root, rootKey)
	leaf := issueTo(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "release"}, EmailAddresses: []string{"release@acme.example"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}, key, between, betweenKey)
	for name, cert := range map[string]*x509.Certificate{"leaf.pem": leaf, "chain.pem": between, "root.pem": root} {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newECKey(t failer) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issueTo(t failer, template *x509.Certificate, key crypto.PublicKey, parent *x509.Certificate, by crypto.Signer) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// The files of a directory are signed with a key that an authority has certified,
// and count for those who trust the authority.
func TestSignDirWithCertificate(t *testing.T) {
	u := newUser(t)
	model := filepath.Dir(u.file("model/weights.bin", "weights"))
	pair := filepath.Join(u.home, "team")
	u.ok("keygen", "-o", pair)
	u.ok("keygen", "-o", filepath.Join(u.home, "other"))
	certify(t, u.home, "team.pub")
	in := func(name string) string { return filepath.Join(u.home, name) }
	sign := []string{"sign", model, "--key", pair + ".key"}
	certified := append(sign, "--certificate", in("leaf.pem"), "--certificate-chain", in("chain.pem"))
	u.ok(sign...)
	u.ok(certified...) // in the place of what the same key signed
	u.ok(certified...)
	tests := []struct {
		name string
		args []string
		code int
		want string // on standard output, or standard error
	}{
		{"authority", []string{"verify", model, "--ca-roots", in("root.pem")}, exitOK, "signed by release@acme.example (issuer CN=Acme Root)"},
		{"name", []string{"verify", model, "--ca-roots", in("root.pem"), "--certificate-identity", "release@acme.example"}, exitOK, "release@acme.example"},
		{"key", []string{"verify", model, "--key", pair + ".pub"}, exitOK, "signed by key "},
		{"another name", []string{"verify", model, "--ca-roots", in("root.pem"), "--certificate-identity", "ci@acme.example"}, exitUnverified, "who is not trusted"},
		{"an open expression", []string{"verify", model, "--ca-roots", in("root.pem"), "--certificate-identity-regexp", "acme"}, exitUsage, "not anchored"},
		{"another key", []string{"verify", model, "--key", in("other.pub")}, exitUnverified, "private authority"},
		{"no root", []string{"verify", model, "--ca-roots", in("chain.pem")}, exitUsage, "none that signed itself"},
		{"a log", []string{"verify", model, "--ca-roots", in("root.pem"), "--require-log"}, exitUsage, "a log is required"},
		{"a version", []string{"verify", "127.0.0.1:1/acme/m:v1", "--ca-roots", in("root.pem")}, exitUsage, "--ca-roots goes with --certificate-identity"},
		{"another's certificate", append([]string{"sign", model, "--key", in("other.key")}, append(certified[4:], "--force")...), exitUsage, "not that of the key"},
		{"a chain alone", append(sign, "--certificate-chain", in("chain.pem")), exitUsage, "goes with --certificate"},
		{"a certificate and a log", append(certified, "--rekor-url", "https://rekor.example.com"), exitUsage, "no log or timestamp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := u.run(t.Context(), tt.args...)
			if code != tt.code || !strings.Contains(out+stderr, tt.want) {
				t.Errorf("exits with %d, want %d and %q:\n%s%s", code, tt.code, tt.want, out, stderr)
			}
		})
	}
}

// A key as openssl writes it signs without a password being asked for, and who
// lets others read it is warned.
func TestSignWithPlainKey(t *testing.T) {
	u := newUser(t)
	t.Setenv("COSIGN_PASSWORD", "")
	for _, v := range passwordVars {
		os.Unsetenv(v)
	}
	model := filepath.Dir(u.file("model/weights.bin", "weights"))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return u.file(name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	key := write("plain.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(private.Public())
	public := write("plain.pub", "PUBLIC KEY", der, err)
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o640: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := u.run(t.Context(), "sign", model, "--key", key)
		if code != exitOK || strings.Contains(stderr, "chmod 600") != warned {
			t.Errorf("%o: exits with %d, warned should be %v:\n%s", mode, code, warned, stderr)
		}
	}
	if out := u.ok("verify", model, "--key", public); !strings.Contains(out, "signed by key ") {
		t.Errorf("verify says %s", out)
	}
}

// So are the files of a version, and a pull believes the authority before it
// fetches any.
func TestSignFilesWithCertificate(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	model := filepath.Dir(u.file("model/weights.bin", "weights"))
	in := func(name string) string { return filepath.Join(u.home, name) }
	u.ok("keygen", "-o", in("team"))
	certify(t, u.home, "team.pub")
	name := reg.Host + "/acme/tiny:v1"
	u.ok("push", model, name)
	sign := []string{"sign", name, "--oms", "--key", in("team.key")}
	certified := append(slices.Clip(sign), "--certificate", in("leaf.pem"), "--certificate-chain", in("chain.pem"))
	u.ok(sign...)
	for i, want := range []string{"signed the files of", "signed before with this key"} {
		code, _, stderr := u.run(t.Context(), certified...)
		if code != exitOK || !strings.Contains(stderr, want) {
			t.Errorf("sign %d exits with %d, want %q: %s", i, code, want, stderr)
		}
	}
	pull := func(dir string, args ...string) []string {
		return append([]string{"pull", name, in(dir), "--format", "json"}, args...)
	}
	root := in("root.pem")
	tests := []struct {
		name string
		args []string
		code int
		want string // on standard output, or standard error
	}{
		{"authority", pull("a", "--oms", "--verify", "--ca-roots", root), exitOK, `"identity": "release@acme.example"`},
		{"what was pulled", []string{"verify", in("a"), "--ca-roots", root}, exitOK, "signed by release@acme.example"},
		{"name", pull("b", "--oms", "--verify", "--ca-roots", root, "--certificate-identity", "release@acme.example"), exitOK, `"issuer": "CN=Acme Root"`},
		{"another name", pull("c", "--oms", "--verify", "--ca-roots", root, "--certificate-identity", "ci@acme.example"), exitUnverified, "who is not trusted"},
		{"an unsigned version", pull("c", "--oms", "--verify", "--ca-roots", root, "--key", in("team.pub")), exitUnverified, "no "},
		{"no signature of the version", pull("c", "--verify", "--ca-roots", root, "--certificate-identity", "release@acme.example"), exitUnverified, "an attestation"},
		{"nobody in person", pull("c", "--verify", "--ca-roots", root), exitUsage, "--ca-roots goes with --certificate-identity"},
		{"not verified", pull("c", "--oms", "--ca-roots", root), exitUsage, "are used with --verify"},
		{"a log", pull("c", "--oms", "--verify", "--ca-roots", root, "--require-log"), exitUsage, "a log is required"},
		{"nobody looks", pull("c", "--oms", "--verify", "--ca-roots", root, "--insecure-skip-verify"), exitUsage, "that none is looked at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := u.run(t.Context(), tt.args...)
			if code != tt.code || !strings.Contains(out+stderr, tt.want) {
				t.Errorf("exits with %d, want %d and %q:\n%s%s", code, tt.code, tt.want, out, stderr)
			}
		})
	}
	if _, err := os.Stat(in("c")); !os.IsNotExist(err) {
		t.Errorf("a pull that was refused left something: %v", err)
	}
	// Other files, which nobody signed.
	u.file("model/weights.bin", "other weights")
	u.ok("push", model, reg.Host+"/acme/tiny:v2")
	if code, _, stderr := u.run(t.Context(), "pull", reg.Host+"/acme/tiny:v2", in("d"), "--oms", "--verify", "--ca-roots", root); code != exitUnverified {
		t.Errorf("files that nobody signed: exits with %d: %s", code, stderr)
	}
}
