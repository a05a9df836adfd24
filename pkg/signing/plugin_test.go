package signing_test

import (
	"context"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"

	"github.com/modelreg/modelreg/pkg/signing"
)

// pluginKey, in the environment, makes this test program the plug-in of a key
// service: the file of a key, or a way to misbehave.
const pluginKey = "MODELREG_TEST_PLUGIN"

// runPlugin is the plug-in. Sigstore's own handler reads what it is asked.
func runPlugin(mode string) int {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return 2
	}
	switch mode {
	case "rubbish":
		os.Stdout.WriteString("{")
		return 0
	case "empty":
		os.Stdout.WriteString("{}")
		return 0
	case "crash":
		return 3
	}
	if args.InitOptions.KeyResourceID != os.Getenv(pluginKey+"_WANT") {
		_ = handler.WriteErrorResponse(os.Stdout, errors.New("no key "+args.InitOptions.KeyResourceID))
		return 1
	}
	if _, err := handler.Dispatch(os.Stdout, os.Stdin, args, kms{fixedKey(7).raw}); err != nil {
		return 1
	}
	return 0
}

// kms is a key as a plug-in's handler wants it.
type kms struct{ signature.SignerVerifier }

func (kms) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.ErrUnsupported
}

func (kms) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.ErrUnsupported
}
func (kms) SupportedAlgorithms() []string { return nil }
func (kms) DefaultAlgorithm() string      { return "" }

// installPlugin puts this test program into the path as a plug-in.
func installPlugin(t *testing.T, name, mode, key string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "sigstore-kms-"+name)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv(pluginKey, mode)
	t.Setenv(pluginKey+"_WANT", key)
}

// A key behind a plug-in signs like one in a file, and what it signs verifies
// with its public half.
func TestOpenKMS(t *testing.T) {
	for reference, plugin := range map[string][2]string{
		"awskms:///alias/release":               {"awskms", "/alias/release"},
		"hashivault://release":                  {"hashivault", "release"},
		"pkcs11:token=release;object=signing":   {"pkcs11", "token=release;object=signing"},
		"pkcs11://token=release;object=signing": {"pkcs11", "token=release;object=signing"},
	} {
		t.Run(reference, func(t *testing.T) {
			if !signing.IsKMS(reference) {
				t.Fatal("IsKMS = false")
			}
			installPlugin(t, plugin[0], "key", plugin[1])
			signer, err := signing.OpenKMS(t.Context(), reference)
			if err != nil {
				t.Fatal(err)
			}
			if got := signer.Public().Fingerprint(); got != fixedKey(7).key.Fingerprint() {
				t.Errorf("key %s", got)
			}
			r := newFake()
			model := r.model(t, "model")
			if _, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{Format: signing.Both}); err != nil {
				t.Fatal(err)
			}
			if report, err := signing.Verify(t.Context(), r, model, fixedKey(7).trust()); err != nil || len(report.Rejected) > 0 {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
}

// A plug-in that misbehaves makes an error that says so.
func TestOpenKMSFails(t *testing.T) {
	for _, mode := range []string{"rubbish", "empty", "crash"} {
		installPlugin(t, "awskms", mode, "")
		if _, err := signing.OpenKMS(t.Context(), "awskms:///key"); !errors.Is(err, signing.ErrPlugin) {
			t.Errorf("%s: OpenKMS error = %v", mode, err)
		}
	}
	installPlugin(t, "awskms", "key", "/key")
	if _, err := signing.OpenKMS(t.Context(), "awskms:///other"); !errors.Is(err, signing.ErrPlugin) || !strings.Contains(err.Error(), "no key") {
		t.Errorf("another key: OpenKMS error = %v", err)
	}
	if _, err := signing.OpenKMS(t.Context(), "gcpkms://key"); !errors.Is(err, signing.ErrPlugin) || !strings.Contains(err.Error(), "sigstore-kms-gcpkms") {
		t.Errorf("no such plug-in: OpenKMS error = %v", err)
	}
}

// What a reference may not say is refused before any program runs.
func TestOpenKMSRefuses(t *testing.T) {
	for reference, want := range map[string]string{
		"https://evil.example.com/key":     "not taken from https",
		"k8s://ns/secret":                  "not taken from k8s",
		"gitlab://1":                       "not taken from gitlab",
		"../evil://key":                    "NAME://KEY",
		"AWS://key":                        "NAME://KEY",
		"awskms://":                        "NAME://KEY",
		"cosign.key":                       "NAME://KEY",
		"pkcs11:token=a;pin-value=1234":    "PIN",
		"pkcs11:token=a?pin-value=1234":    "PIN",
		"pkcs11:token=a;PIN-Value=1234":    "PIN",
		"pkcs11://token=a?pin%2dvalue=123": "",
	} {
		_, err := signing.OpenKMS(t.Context(), reference)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: OpenKMS error = %v, want %q", reference, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "123") {
			t.Errorf("%s: the error shows the PIN: %v", reference, err)
		}
	}
}
