//go:build e2e && linux

package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelreg/modelreg/internal/testmodel"
)

// Where the servers of a sigstore deployment listen, in a network of their own.
const (
	oidcAddr   = "127.0.0.1:5620"
	fulcioURL  = "http://127.0.0.1:5621"
	rekorURL   = "http://127.0.0.1:5624"
	tsaURL     = "http://127.0.0.1:5627"
	tsaStamp   = tsaURL + "/api/v1/timestamp"
	oidcURL    = "http://" + oidcAddr
	e2eNetwork = "MODELREG_E2E_NETWORK"
)

// TestE2ESigstore signs and verifies with the servers that sigstore runs: Fulcio,
// Rekor 2 and the timestamp authority, and with both cosigns. Two of the servers
// have listeners on all addresses that cannot be moved, so that the test runs
// itself again in a network namespace without any but loopback.
func TestE2ESigstore(t *testing.T) {
	if os.Getenv(e2eNetwork) == "" {
		inOwnNetwork(t)
		return
	}
	if err := raiseLoopback(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	issuer := startOIDC(t)
	startSigstore(t, c)
	describeSigstore(t, c)
	host := startDistribution(t)
	model := filepath.Join(c.dir, "model")
	testmodel.Write(t, model)
	for name, text := range map[string]string{"alice.jwt": issuer.token(t, "alice@example.com"), "bob.jwt": issuer.token(t, "bob@example.com")} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("ours", func(t *testing.T) { signOurs(t, c, host) })
	t.Run("cosign's", func(t *testing.T) { signCosigns(t, c, host) })
	t.Run("cosign's older layout", func(t *testing.T) { signClassic(t, c, host) })
}

// inOwnNetwork runs this very test again, where there is no other network.
func inOwnNetwork(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestE2ESigstore$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), e2eNetwork+"=own")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("SKIPPED: a network namespace cannot be made here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// raiseLoopback brings up the one interface of a new network namespace.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// An oidc is a provider of identities: what anybody asks for, they are.
type oidc struct{ key *rsa.PrivateKey }

func startOIDC(t *testing.T) oidc {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := oidc{key}
	mux := http.NewServeMux()
	serve := func(path string, doc any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(doc)
		})
	}
	serve("/.well-known/openid-configuration", map[string]any{
		"issuer": oidcURL, "jwks_uri": oidcURL + "/keys", "authorization_endpoint": oidcURL + "/auth", "token_endpoint": oidcURL + "/token",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	})
	serve("/keys", map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}}})
	l, err := net.Listen("tcp", oidcAddr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return p
}

// token is one for a mail address.
func (p oidc) token(t *testing.T, email string) string {
	now := time.Now()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": oidcURL, "sub": email, "aud": "sigstore", "email": email, "email_verified": true,
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// startSigstore starts the servers and waits until each answers.
func startSigstore(t *testing.T, c *client) {
	config := filepath.Join(c.dir, "fulcio.yaml")
	text := fmt.Sprintf("oidc-issuers:\n  %s: {issuer-url: %s, client-id: sigstore, type: email}\n", oidcURL, oidcURL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "rekor.key")
	c.run("openssl", "pkey", "-in", "rekor.key", "-pubout", "-out", "rekor.pub")
	for health, args := range map[string][]string{
		fulcioURL + "/healthz": {
			"fulcio", "serve", "--host=127.0.0.1", "--port=5621", "--grpc-host=127.0.0.1", "--grpc-port=5622", "--metrics-port=5623",
			"--ca=ephemeralca", "--ct-log-url=", "--config-path=" + config, "--legacy-unix-domain-socket=@modelreg-fulcio",
		},
		rekorURL + "/healthz": {
			"rekor/posix", "serve", "--http-address=127.0.0.1", "--http-port=5624", "--grpc-address=127.0.0.1", "--grpc-port=5625", "--http-metrics-port=5626",
			"--hostname=rekor.localhost", "--storage-dir=" + filepath.Join(c.dir, "rekor"), "--signer-filepath=rekor.key",
			"--checkpoint-interval=1s", "--batch-max-age=100ms",
		},
		tsaURL + "/ping": {
			"timestamp-server", "serve", "--host", "127.0.0.1", "--port", "5627", "--timestamp-signer", "memory", "--disable-ntp-monitoring",
		},
	} {
		cmd := exec.Command(tool(t, args[0]), args[1:]...)
		cmd.Dir, cmd.Env = c.dir, c.env
		log, err := os.Create(filepath.Join(c.dir, filepath.Base(args[0])+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		start(t, cmd)
		log.Close()
		if _, err := page(health); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s does not answer: %v\n%s", args[0], err, text)
		}
	}
}

// page reads a page that may take some seconds to be there.
func page(url string) (body []byte, err error) {
	for range 100 {
		var resp *http.Response
		if resp, err = http.Get(url); err == nil {
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return body, nil
			}
			err = fmt.Errorf("%s", resp.Status)
		}
		time.Sleep(100 * time.Millisecond) // another process starts
	}
	return nil, err
}

// describeSigstore has cosign write the trusted root and the signing
// configuration of the deployment.
func describeSigstore(t *testing.T, c *client) {
	body, err := page(fulcioURL + "/api/v2/trustBundle")
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	if err := json.Unmarshal(body, &bundle); err != nil || len(bundle.Chains) == 0 {
		t.Fatalf("trust bundle: %v: %s", err, body)
	}
	stamps, err := page(tsaURL + "/api/v1/timestamp/certchain")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"fulcio.pem": strings.Join(bundle.Chains[0].Certificates, "\n"), "tsa.pem": string(stamps)} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	from := "start-time=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	c.run(tool(t, "v3/cosign"), "trusted-root", "create", "--no-default-ctfe", "--out", "root.json",
		"--fulcio=url="+fulcioURL+",certificate-chain=fulcio.pem,"+from,
		"--rekor=url=http://rekor.localhost:5624,public-key=rekor.pub,origin=rekor.localhost,"+from,
		"--tsa=url="+tsaStamp+",certificate-chain=tsa.pem,"+from)
	with := ",operator=local," + from
	c.run(tool(t, "v3/cosign"), "signing-config", "create", "--out", "signing.json",
		"--fulcio=url="+fulcioURL+",api-version=1"+with, "--oidc-provider=url="+oidcURL+",api-version=1"+with,
		"--rekor=url="+rekorURL+",api-version=2"+with, "--rekor-config=ANY",
		"--tsa=url="+tsaStamp+",api-version=1"+with, "--tsa-config=ANY")
}

// as are the flags that trust a mail address, for modelreg and for cosign.
func as(email string) []string {
	return []string{"--trusted-root", "root.json", "--certificate-identity", email, "--certificate-oidc-issuer", oidcURL}
}

// signOurs signs with modelreg, and verifies with it and with both cosigns.
func signOurs(t *testing.T, c *client, host string) {
	pushed := c.fields("push", "model", host+"/acme/ours:v1", "--sign", "--identity-token", "alice.jwt", "--signing-config", "signing.json", "--trusted-root", "root.json")
	ref := host + "/acme/ours@" + pushed["digest"].(string)
	verified := c.fields(append([]string{"verify", ref}, as("alice@example.com")...)...)
	signer := verified["signers"].([]any)[0].(map[string]any)
	if signer["identity"] != "alice@example.com" || signer["issuer"] != oidcURL || signer["logged"] != true || signer["signedAt"] == nil {
		t.Errorf("signer = %v", signer)
	}
	refused(t, c, ref, "bob@example.com")
	verifyQuickly(t, c, ref)
	c.run(tool(t, "v3/cosign"), append([]string{"verify", "--insecure-ignore-sct", ref}, as("alice@example.com")...)...)
	c.run(tool(t, "v2/cosign"), append([]string{"verify", "--insecure-ignore-sct", "--use-signed-timestamps", ref}, as("alice@example.com")...)...)
	if _, _, err := c.try(tool(t, "v3/cosign"), append([]string{"verify", "--insecure-ignore-sct", ref}, as("bob@example.com")...)...); err == nil {
		t.Error("cosign verifies it as somebody else's")
	}
	// The services by their addresses, and a key's signature in the log.
	c.modelreg("push", "model", host+"/acme/urls:v1", "--sign", "--identity-token", "bob.jwt", "--fulcio-url", fulcioURL, "--rekor-url", rekorURL, "--timestamp-url", tsaStamp)
	c.modelreg(append([]string{"verify", host + "/acme/urls:v1"}, as("bob@example.com")...)...)
	c.modelreg("keygen", "-o", "team")
	c.modelreg("push", "model", host+"/acme/key:v1", "--sign", "--key", "team.key", "--rekor-url", rekorURL, "--timestamp-url", tsaStamp)
	c.modelreg("verify", host+"/acme/key:v1", "--key", "team.pub", "--trusted-root", "root.json", "--require-log", "--require-timestamp")
	c.run(tool(t, "v3/cosign"), "verify", "--key", "team.pub", "--trusted-root", "root.json", host+"/acme/key:v1")
}

// verifyQuickly measures what a process takes to verify a keyless signature at a
// registry on this machine, start-up and all. The best of some runs is what it
// takes when nobody else wants the processor.
func verifyQuickly(t *testing.T, c *client, ref string) {
	best := time.Hour
	for range 10 {
		started := time.Now()
		c.modelreg(append([]string{"verify", ref}, as("alice@example.com")...)...)
		best = min(best, time.Since(started))
	}
	t.Logf("verified in %v", best.Round(time.Millisecond))
	if limit := 150 * time.Millisecond; best > limit {
		t.Errorf("verifying took %v at best, want under %v", best, limit)
	}
}

// refused tells that a version does not count as signed by somebody.
func refused(t *testing.T, c *client, ref, email string) {
	t.Helper()
	_, state, err := c.try(os.Getenv("MODELREG_BIN"), append([]string{"verify", ref}, as(email)...)...)
	if err == nil || state.ExitCode() != exitUnverified {
		t.Errorf("verify as %s: %v", email, err)
	}
}

// signCosigns signs and attests with cosign 3, and verifies with modelreg.
func signCosigns(t *testing.T, c *client, host string) {
	pushed := c.fields("push", "model", host+"/acme/theirs:v1")
	ref := host + "/acme/theirs@" + pushed["digest"].(string)
	if err := os.WriteFile(filepath.Join(c.dir, "eval.json"), []byte(`{"f1":0.9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	keyless := []string{"--identity-token", "alice.jwt", "--signing-config", "signing.json", "--trusted-root", "root.json", "--yes", ref}
	c.run(tool(t, "v3/cosign"), append([]string{"attest", "--type", "https://example.com/eval/v1", "--predicate", "eval.json"}, keyless...)...)
	refused(t, c, ref, "alice@example.com") // an attestation is no signature
	c.run(tool(t, "v3/cosign"), append([]string{"sign"}, keyless...)...)
	out := c.modelreg(append([]string{"verify", ref, "--attestation", "https://example.com/eval/v1"}, as("alice@example.com")...)...)
	if !strings.Contains(out, "signed by alice@example.com") || !strings.Contains(out, "attested by alice@example.com") {
		t.Errorf("verify says:\n%s", out)
	}
	refused(t, c, ref, "bob@example.com")
}

// signClassic signs with cosign 2 as it did before there were bundles: the
// certificate and a timestamp are annotations then.
func signClassic(t *testing.T, c *client, host string) {
	pushed := c.fields("push", "model", host+"/acme/classic:v1")
	ref := host + "/acme/classic@" + pushed["digest"].(string)
	c.run(tool(t, "v2/cosign"), "sign", "--identity-token", strings.TrimSpace(read(t, c, "alice.jwt")), "--fulcio-url", fulcioURL, "--insecure-skip-verify",
		"--timestamp-server-url", tsaStamp, "--tlog-upload=false", "--yes", ref)
	out := c.modelreg(append([]string{"verify", ref, "--insecure-ignore-tlog"}, as("alice@example.com")...)...)
	if !strings.Contains(out, "signed by alice@example.com") {
		t.Errorf("verify says:\n%s", out)
	}
	refused(t, c, ref, "alice@example.com") // it is in no log
}

func read(t *testing.T, c *client, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
