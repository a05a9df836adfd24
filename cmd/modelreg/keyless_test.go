package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"

	"github.com/modelreg/modelreg/internal/testsigstore"
)

// publish makes a repository that says whom to believe of a deployment, and whom
// to sign with.
func publish(t *testing.T, d *testsigstore.Deployment) *testsigstore.TrustRepository {
	t.Helper()
	r := testsigstore.NewTrustRepository(t)
	r.Publish(map[string][]byte{
		"trusted_root.json": d.TrustedRoot(), "signing_config.v0.2.json": d.SigningConfig(testsigstore.RekorV2),
	}, time.Now().Add(time.Hour))
	return r
}

// setupSigstore tells a script where a sigstore deployment is, and where it is
// published, with the files that go with it in $SIGSTORE.
func setupSigstore(env *testscript.Env, d *testsigstore.Deployment, tuf *testsigstore.TrustRepository) error {
	dir := filepath.Join(env.WorkDir, ".sigstore")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"root.json":      d.TrustedRoot(),
		"signing.json":   d.SigningConfig(testsigstore.RekorV2),
		"signing-1.json": d.SigningConfig(testsigstore.RekorV1),
		"alice":          []byte(d.Token("alice@example.com") + "\n"),
		"tuf-root.json":  tuf.Root(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{
		"SIGSTORE": dir, "FULCIO": d.Fulcio, "REKOR": d.Rekor, "TSA": d.TSA, "ISSUER": d.Issuer, "TUF": tuf.URL,
		"TOKEN_OF_BOB": d.Token("bob@example.com"),
	} {
		env.Setenv(name, value)
	}
	return nil
}

// keyPlugin is a plug-in for keys that are kept elsewhere, with one of its own.
func keyPlugin() {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if args.InitOptions.KeyResourceID != "release" {
		_ = handler.WriteErrorResponse(os.Stdout, errors.New("no such key"))
		os.Exit(1)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	sv, err := signature.LoadECDSASignerVerifier(key, crypto.SHA256)
	if err != nil {
		panic(err)
	}
	if _, err := handler.Dispatch(os.Stdout, os.Stdin, args, keptKey{sv}); err != nil {
		os.Exit(1)
	}
}

// keptKey has what the handler of plug-ins wants besides.
type keptKey struct{ signature.SignerVerifier }

func (keptKey) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.ErrUnsupported
}

func (keptKey) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.ErrUnsupported
}
func (keptKey) SupportedAlgorithms() []string { return nil }
func (keptKey) DefaultAlgorithm() string      { return "" }

// A job in GitHub Actions signs as what it is, with a token that it asks for
// when there is something to sign, and with no other audience.
func TestIdentityTokenOfJob(t *testing.T) {
	d := testsigstore.New(t, testsigstore.Options{}).Serve()
	t.Setenv("SIGSTORE_ID_TOKEN", "")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", d.Issuer+"/token?api-version=2.0&audience=other")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
	identityToken := func() (string, error) {
		get, err := tokenSource("")
		if err != nil {
			return "", err
		}
		return get(t.Context())
	}
	token, err := identityToken()
	if err != nil || token != d.Token("ci@example.com") && strings.Count(token, ".") != 2 {
		t.Errorf("identityToken = %q, %v", token, err)
	}
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "another")
	if token, err := identityToken(); err == nil || strings.Contains(err.Error(), "another") {
		t.Errorf("identityToken with a wrong request = %q, %v", token, err)
	}
	for name, body := range map[string]string{"no JSON": "x", "no token": `{"value":"x"}`, "nothing": `{}`} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", srv.URL)
		if token, err := identityToken(); !errors.Is(err, errNoToken) {
			t.Errorf("%s: identityToken = %q, %v", name, token, err)
		}
		srv.Close()
	}
}

// A token that is not quite one is not printed, and no other secret is taken for
// the name of a file.
func TestIdentityTokenIsNotShown(t *testing.T) {
	good := "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "")
	for name, tt := range map[string]struct {
		flag, env string
		ok        bool
	}{
		"flag":                     {good, "", true},
		"flag with a newline":      {good + "\n", "", true},
		"variable":                 {"", good, true},
		"variable with a newline":  {"", " " + good + "\r\n", true},
		"flag, encrypted":          {good + ".x.y", "", false},
		"flag, cut off":            {good[:30], "", false},
		"flag, long":               {good[:30] + strings.Repeat("x", 5000), "", false},
		"flag, of two lines":       {good[:20] + "\n" + good[20:], "", false},
		"variable, encrypted":      {"", good + ".x.y", false},
		"variable, no token":       {"", "hunter2", false},
		"variable, name of a file": {"", "token.go", false},
	} {
		t.Setenv("SIGSTORE_ID_TOKEN", tt.env)
		get, err := tokenSource(tt.flag)
		token := ""
		if err == nil {
			token, err = get(t.Context())
		}
		if tt.ok && (err != nil || token != good) {
			t.Errorf("%s: token %q, %v", name, token, err)
		}
		if !tt.ok && err == nil {
			t.Errorf("%s: taken", name)
		}
		if err != nil && (strings.Contains(err.Error(), good[:10]) || tt.env != "" && strings.Contains(err.Error(), tt.env)) {
			t.Errorf("%s: the error shows it: %v", name, err)
		}
	}
}
