package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	cosignbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"

	"github.com/modelreg/modelreg/pkg/signing"
)

var password = []byte("pässword")

// A testKey signs anything, also what Sign would not.
type testKey struct {
	private, public []byte
	raw             signature.SignerVerifier
	key             *signing.PublicKey
	signer          *signing.Signer
}

// Opening a key costs a scrypt, so that the tests share two.
var (
	alice   = sync.OnceValue(newTestKey)
	mallory = sync.OnceValue(newTestKey)
)

func newTestKey() *testKey {
	private, public, err := signing.GenerateKeyPair(password)
	if err != nil {
		panic(err)
	}
	key, err := signing.LoadPublicKey(public)
	if err != nil {
		panic(err)
	}
	signer, err := signing.LoadSigner(private, password)
	if err != nil {
		panic(err)
	}
	return &testKey{private: private, public: public, raw: signing.RawSigner(signer), key: key, signer: signer}
}

// fixedKey is the same key in every process, as fuzzing wants it: seeds come
// from one and are tried in others. It has no signer.
func fixedKey(n byte) *testKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{n}, 32))
	if err != nil {
		panic(err)
	}
	raw, err := signature.LoadECDSASignerVerifier(key, crypto.SHA256)
	if err != nil {
		panic(err)
	}
	public, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		panic(err)
	}
	loaded, err := signing.LoadPublicKey(public)
	if err != nil {
		panic(err)
	}
	return &testKey{public: public, raw: raw, key: loaded}
}

func (k *testKey) trust() signing.Trust {
	return signing.Trust{Keys: []*signing.PublicKey{k.key}}
}

func (k *testKey) publicKey(t testing.TB) crypto.PublicKey {
	t.Helper()
	pub, err := k.raw.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// bundle signs any payload as a bundle.
func (k *testKey) bundle(t testing.TB, payloadType, payload string) []byte {
	t.Helper()
	env, err := dsse.WrapSigner(k.raw, payloadType).SignMessage(bytes.NewReader([]byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := cosignbundle.MakeNewBundle(k.publicKey(t), nil, []byte(payload), env, k.public, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sign signs any bytes as they are.
func (k *testKey) sign(t testing.TB, payload []byte) string {
	t.Helper()
	raw, err := k.raw.SignMessage(bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// statement is what cosign signs for a digest.
func statement(predicateType string, dgst digest.Digest) string {
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{%q:%q}}],"predicateType":%q,"predicate":{}}`,
		dgst.Algorithm(), dgst.Encoded(), predicateType)
}

// payload is what cosign signs for a digest in the classic layout.
func payload(dgst digest.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		host, dgst)
}

// hint is how a bundle names the key.
func (k *testKey) hint() string {
	sum, err := hex.DecodeString(k.key.Fingerprint())
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(sum)
}
