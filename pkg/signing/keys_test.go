package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/youmark/pkcs8"

	"github.com/modelreg/modelreg/pkg/signing"
)

func TestGenerateKeyPair(t *testing.T) {
	private, public := alice().private, alice().public
	if !bytes.HasPrefix(private, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")) {
		t.Errorf("private key is not in cosign's form:\n%s", private)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := pub.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("public key is %T, want ECDSA P-256", pub)
	}
	block, _ := pem.Decode(public)
	sum := sha256.Sum256(block.Bytes)
	if got := alice().key.Fingerprint(); got != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint = %s, want the SHA-256 of the DER", got)
	}
	if got := alice().key.PEM(); !bytes.Equal(got, public) {
		t.Errorf("PEM =\n%s, want\n%s", got, public)
	}
	if got := alice().signer.Public().Fingerprint(); got != alice().key.Fingerprint() {
		t.Errorf("the signer's fingerprint is %s, want %s", got, alice().key.Fingerprint())
	}
	if mallory().key.Fingerprint() == alice().key.Fingerprint() {
		t.Error("two keys are the same")
	}
}

func TestLoadSigner(t *testing.T) {
	private := string(alice().private)
	tests := map[string]struct {
		private, password string
		wantPassword      bool // the error is ErrPassword
	}{
		"wrong password":   {private, "password", true},
		"no password":      {private, "", true},
		"public key":       {string(alice().public), "", false},
		"empty":            {"", "", false},
		"no PEM":           {"key", "", false},
		"two keys":         {private + private, string(password), false},
		"text before":      {"my key\n" + private, string(password), false},
		"damaged":          {strings.Replace(private, "eyJ", "AAA", 1), string(password), false},
		"endless":          {private + strings.Repeat("\n", 1<<20), string(password), false},
		"PKCS #8":          {encryptedPKCS8(t), "password", true},
		"before PKCS #8":   {strings.Replace(plainKey(t), "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), "", false},
		"no key inside":    {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")})), "", false},
		"greedy KDF":       {withKDF(t, `{"N":1073741824,"r":8,"p":1}`), string(password), false},
		"unknown cipher":   {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte(`{}`)})), "", false},
		"block of another": {strings.ReplaceAll(private, "SIGSTORE", "OTHER"), string(password), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := signing.LoadSigner([]byte(tt.private), []byte(tt.password))
			if err == nil || errors.Is(err, signing.ErrPassword) != tt.wantPassword {
				t.Errorf("LoadSigner error = %v, wrong password: %v", err, tt.wantPassword)
			}
		})
	}
}

// encryptedPKCS8 is a key as openssl encrypts it.
func encryptedPKCS8(t *testing.T) string {
	t.Helper()
	der, err := pkcs8.MarshalPrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)), password, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}))
}

// TestLoadPlainSigner signs with keys in the forms that openssl writes.
func TestLoadPlainSigner(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	form := func(kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	of := func(key crypto.Signer) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return form("PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	tests := map[string]struct {
		private       string
		needsPassword bool
	}{
		"PKCS 8, P-384":     {of(ec), false},
		"PKCS 8, Ed25519":   {of(ed25519.NewKeyFromSeed(make([]byte, 32))), false},
		"PKCS 8, RSA":       {of(rsa2048()), false},
		"PKCS 8, encrypted": {encryptedPKCS8(t), true},
		"SEC 1":             {form("EC PRIVATE KEY", sec1, err), false},
		"PKCS 1":            {form("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa2048()), nil), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := signing.NeedsPassword([]byte(tt.private)); got != tt.needsPassword {
				t.Errorf("NeedsPassword = %v", got)
			}
			var pw []byte
			if tt.needsPassword {
				pw = password
			}
			signer, err := signing.LoadSigner([]byte(tt.private), pw)
			if err != nil {
				t.Fatal(err)
			}
			for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
				r := newFake()
				model := r.model(t, "model")
				if _, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{Format: format}); err != nil {
					t.Fatal(err)
				}
				if _, err := signing.Verify(t.Context(), r, model, signing.Trust{Keys: []*signing.PublicKey{signer.Public()}}); err != nil {
					t.Errorf("%v: %v", format, err)
				}
			}
		})
	}
	for name, key := range map[string]crypto.Signer{"P-224": must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t)} {
		if _, err := signing.LoadSigner([]byte(of(key)), nil); err == nil {
			t.Errorf("a key on %s is loaded", name)
		}
	}
}

func TestEmptyPassword(t *testing.T) {
	private, _, err := signing.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.LoadSigner(private, []byte{}); err != nil {
		t.Errorf("with an empty password: %v", err)
	}
	if _, err := signing.LoadSigner(private, password); !errors.Is(err, signing.ErrPassword) {
		t.Errorf("with a password: %v, want ErrPassword", err)
	}
}

func plainKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withKDF rewrites the key's scrypt parameters.
func withKDF(t *testing.T, params string) string {
	t.Helper()
	block, _ := pem.Decode(alice().private)
	start, end := bytes.Index(block.Bytes, []byte(`{"N":`)), bytes.Index(block.Bytes, []byte(`},"salt"`))+1
	block.Bytes = bytes.Join([][]byte{block.Bytes[:start], []byte(params), block.Bytes[end:]}, nil)
	return string(pem.EncodeToMemory(block))
}

func TestLoadPublicKey(t *testing.T) {
	public := string(alice().public)
	tests := map[string]struct {
		public string
		ok     bool
	}{
		"as written":           {public, true},
		"without last newline": {strings.TrimSpace(public), true},
		"carriage returns":     {strings.ReplaceAll(public, "\n", "\r\n"), true},
		"P-384":                {ecdsaPEM(t, elliptic.P384()), true},
		"P-521":                {ecdsaPEM(t, elliptic.P521()), true},
		"RSA 2048":             {rsaPEM(t, 2048, "PUBLIC KEY"), true},
		"RSA 2048, PKCS #1":    {rsaPEM(t, 2048, "RSA PUBLIC KEY"), true},
		"Ed25519":              {ed25519PEM(t), true},

		"empty":                      {"", false},
		"P-224":                      {ecdsaPEM(t, elliptic.P224()), false},
		"RSA 1024":                   {rsaPEM(t, 1024, "PUBLIC KEY"), false},
		"two keys":                   {public + string(mallory().public), false},
		"text after":                 {public + "trust me", false},
		"text before":                {"trust me\n" + public, false},
		"damaged key before another": {strings.Replace(public, "M", "%", 1) + string(mallory().public), false},
		"endless":                    {public + strings.Repeat(" ", 1<<20), false},
		"private key":                {string(alice().private), false},
		"certificate":                {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", false},
		"damaged DER":                {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", false},
		"https://evil":               {"https://example.com/key.pem", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := signing.LoadPublicKey([]byte(tt.public))
			if (err == nil) != tt.ok {
				t.Fatalf("LoadPublicKey error = %v, want success: %v", err, tt.ok)
			}
			if err == nil && len(key.Fingerprint()) != 64 {
				t.Errorf("fingerprint = %q", key.Fingerprint())
			}
		})
	}
}

func ecdsaPEM(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publicPEM(t, key.Public())
}

// rsa2048 takes long to make, and one will do.
var rsa2048 = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func rsaPEM(t *testing.T, bits int, block string) string {
	t.Helper()
	key := rsa2048()
	if bits != 2048 {
		t.Setenv("GODEBUG", "rsa1024min=0")
		key = must(rsa.GenerateKey(rand.Reader, bits))(t)
	}
	if block == "PUBLIC KEY" {
		return publicPEM(t, key.Public())
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
}

func ed25519PEM(t *testing.T) string {
	t.Helper()
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publicPEM(t, key)
}

func publicPEM(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	text, err := cryptoutils.MarshalPublicKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Keys that cosign imports sign and verify too, in both layouts, and so do the
// ways in which older versions of cosign signed with them.
func TestImportedKeys(t *testing.T) {
	tests := map[string]struct {
		key crypto.Signer
		old []crypto.Hash // of signatures by older versions; 0 is plain Ed25519
	}{
		"P-384":    {must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t), []crypto.Hash{crypto.SHA256, crypto.SHA384}},
		"P-521":    {must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))(t), []crypto.Hash{crypto.SHA256, crypto.SHA512}},
		"RSA 2048": {rsa2048(), []crypto.Hash{crypto.SHA256}},
		"Ed25519":  {ed25519.NewKeyFromSeed(make([]byte, 32)), []crypto.Hash{0, crypto.SHA512}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			private, public := importKey(t, tt.key)
			signer, err := signing.LoadSigner(private, password)
			if err != nil {
				t.Fatal(err)
			}
			key, err := signing.LoadPublicKey(public)
			if err != nil {
				t.Fatal(err)
			}
			for _, format := range []signing.Format{signing.Bundle, signing.Classic} {
				r := newFake()
				model := r.model(t, "model")
				if _, err := signing.Sign(t.Context(), r, model, signer, signing.SignOptions{Format: format}); err != nil {
					t.Fatal(err)
				}
				if _, err := signing.Verify(t.Context(), r, model, signing.Trust{Keys: []*signing.PublicKey{key}}); err != nil {
					t.Errorf("%v: %v", format, err)
				}
			}
			for _, hash := range tt.old {
				old := testKey{public: public, raw: oldSigner(t, tt.key, hash)}
				r := newFake()
				bundled, tagged := r.model(t, "bundled"), r.model(t, "tagged")
				r.attach(t, bundled, old.bundle(t, inToto, statement(signType, bundled.Descriptor.Digest)), nil)
				p := payload(tagged.Descriptor.Digest)
				r.classic(t, tagged, r.layer(t, p, old.sign(t, p)))
				for _, model := range []signing.Target{bundled, tagged} {
					if _, err := signing.Verify(t.Context(), r, model, signing.Trust{Keys: []*signing.PublicKey{key}}); err != nil {
						t.Errorf("signed with %v: %v", hash, err)
					}
				}
			}
		})
	}
}

func must[K any](key K, err error) func(*testing.T) K {
	return func(t *testing.T) K {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
}

// importKey encrypts a key as "cosign import-key-pair" does.
func importKey(t *testing.T, key crypto.Signer) (private, public []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	kb, err := cosign.ImportKeyPair(file, func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		t.Fatal(err)
	}
	return kb.PrivateBytes, kb.PublicBytes
}

func oldSigner(t *testing.T, key crypto.Signer, hash crypto.Hash) signature.SignerVerifier {
	t.Helper()
	if k, ok := key.(ed25519.PrivateKey); ok && hash != 0 {
		sv, err := signature.LoadED25519phSignerVerifier(k)
		if err != nil {
			t.Fatal(err)
		}
		return sv
	}
	sv, err := signature.LoadSignerVerifier(key, hash)
	if err != nil {
		t.Fatal(err)
	}
	return sv
}
