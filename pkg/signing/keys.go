package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/cryptoutils/goodkey"
	"github.com/sigstore/sigstore/pkg/signature"
)

// ErrPassword means that a private key does not open with the password given.
var ErrPassword = errors.New("wrong password for the private key")

// A Signer is ready to sign: a private key, here ([LoadSigner]) or where a
// plug-in reaches it ([OpenKMS]), or an identity ([NewKeyless]). It may be used
// from several goroutines.
type Signer struct {
	signer signature.SignerVerifier // nil for a keyless signer
	public *PublicKey               // likewise

	token    func(context.Context) (string, error) // nil for a key
	services Services

	chain []*x509.Certificate // beside signatures that are kept as files
}

// Public returns the key that verifies what s signs. It is nil for a keyless
// signer, which has another key each time.
func (s *Signer) Public() *PublicKey { return s.public }

// A PublicKey is a key that signatures are verified with.
type PublicKey struct {
	key         crypto.PublicKey
	pem         []byte
	fingerprint string
	verifiers   []signature.Verifier
}

// Fingerprint is the SHA-256 of the key in DER (its SubjectPublicKeyInfo), in
// hexadecimal. Two keys are the same when it is.
func (k *PublicKey) Fingerprint() string { return k.fingerprint }

// signatory is who signs with the key.
func (k *PublicKey) signatory() Signatory {
	if k == nil {
		return Signatory{}
	}
	return Signatory{Kind: "key", KeyFingerprint: k.fingerprint}
}

// PEM returns the key in the form that cosign reads.
func (k *PublicKey) PEM() []byte { return bytes.Clone(k.pem) }

// GenerateKeyPair makes a new ECDSA P-256 key, the private one encrypted with
// the password, both as cosign's generate-key-pair writes them. An empty
// password is allowed; the private key is then as good as plain text.
func GenerateKeyPair(password []byte) (private, public []byte, err error) {
	kb, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("generate key pair: %w", err)
	}
	return kb.PrivateBytes, kb.PublicBytes, nil
}

// keyForms are the PEM types of private keys, and whether one is opened with a
// password.
var keyForms = map[string]bool{
	cosign.SigstorePrivateKeyPemType: true,
	cosign.CosignPrivateKeyPemType:   true,
	"ENCRYPTED PRIVATE KEY":          true,
	"PRIVATE KEY":                    false,
	"EC PRIVATE KEY":                 false,
	"RSA PRIVATE KEY":                false,
}

// NeedsPassword tells whether a private key is one that [LoadSigner] opens with a
// password. What is no private key needs none.
func NeedsPassword(private []byte) bool {
	block, err := onlyBlock(private)
	return err == nil && keyForms[block.Type]
}

// LoadSigner opens a private key in PEM: in cosign's encrypted format, made by
// [GenerateKeyPair] or cosign (also one that cosign imported), or as openssl
// writes them, in PKCS #8, encrypted or not, SEC 1 or PKCS #1. It is for one of
// the algorithms of [LoadPublicKey]. A wrong password is [ErrPassword]; that for
// a key that needs none ([NeedsPassword]) is ignored.
func LoadSigner(private, password []byte) (*Signer, error) {
	block, err := onlyBlock(private)
	if err != nil {
		return nil, fmt.Errorf("load private key: %w", err)
	}
	if _, known := keyForms[block.Type]; !known {
		return nil, fmt.Errorf("load private key: PEM block is %q, not a private key", block.Type)
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errors.New("load private key: it is encrypted in the way of before PKCS #8: \"openssl pkcs8 -topk8\" converts it")
	}
	var sv signature.SignerVerifier
	err = guard(func() (err error) {
		switch block.Type {
		case cosign.SigstorePrivateKeyPemType, cosign.CosignPrivateKeyPemType:
			// Without options an Ed25519 key signs plainly, as DSSE wants it.
			sv, err = cosign.LoadPrivateKey(private, password, &[]signature.LoadOption{})
			return err
		}
		key, err := cryptoutils.UnmarshalPEMToPrivateKey(private, cryptoutils.StaticPasswordFunc(password))
		if err != nil {
			return err
		}
		sv, err = signature.LoadDefaultSignerVerifier(key)
		return err
	})
	if err != nil {
		if isDecryption(err) {
			return nil, fmt.Errorf("load private key: %w", ErrPassword)
		}
		return nil, fmt.Errorf("load private key: %w", err)
	}
	pub, err := sv.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("load private key: %w", err)
	}
	public, err := newPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("load private key: %w", err)
	}
	return &Signer{signer: sv, public: public}, nil
}

// LoadPublicKey reads one public key in PEM: ECDSA on P-256, P-384 or P-521,
// Ed25519, or RSA of 2048 bits and more. A file with anything else in it, a
// second key above all, is refused.
func LoadPublicKey(public []byte) (*PublicKey, error) {
	block, err := onlyBlock(public)
	if err != nil {
		return nil, fmt.Errorf("load public key: %w", err)
	}
	var key crypto.PublicKey
	switch block.Type {
	case string(cryptoutils.PublicKeyPEMType), string(cryptoutils.PKCS1PublicKeyPEMType):
		key, err = cryptoutils.UnmarshalPEMToPublicKey(public)
	default:
		err = fmt.Errorf("PEM block is %q, not %q", block.Type, cryptoutils.PublicKeyPEMType)
	}
	if err != nil {
		return nil, fmt.Errorf("load public key: %w", err)
	}
	k, err := newPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("load public key: %w", err)
	}
	return k, nil
}

// onlyBlock returns the one PEM block that the text must consist of.
func onlyBlock(text []byte) (*pem.Block, error) {
	if len(text) > maxPEMBytes {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), maxPEMBytes)
	}
	begin := []byte("-----BEGIN ")
	text = bytes.TrimSpace(text)
	// Decode skips what is no block, a damaged key among it.
	if n := bytes.Count(text, begin); n > 1 {
		return nil, fmt.Errorf("%d PEM blocks instead of one key", n)
	}
	block, rest := pem.Decode(text)
	if block == nil || !bytes.HasPrefix(text, begin) {
		return nil, errors.New("not a PEM file with a key and nothing else")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("text after the key")
	}
	return block, nil
}

func newPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	if err := goodkey.ValidatePubKey(key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	text, err := cryptoutils.MarshalPublicKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	verifiers, err := verifiersOf(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &PublicKey{key: key, pem: text, fingerprint: hex.EncodeToString(sum[:]), verifiers: verifiers}, nil
}

// isDecryption recognises the errors that mean a wrong password, that of
// securesystemslib and that of the reader of PKCS #8; they have no names there.
func isDecryption(err error) bool {
	return strings.Contains(err.Error(), "encrypted: decryption failed") ||
		strings.Contains(err.Error(), "pkcs8: incorrect password")
}

// verifiersOf returns a verifier for each way in which cosign has signed with
// such a key: versions differ in the hash of the larger curves and in whether
// Ed25519 is over the message or over its hash.
func verifiersOf(key crypto.PublicKey) ([]signature.Verifier, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		hashes := []crypto.Hash{crypto.SHA256}
		switch k.Curve {
		case elliptic.P384():
			hashes = append(hashes, crypto.SHA384)
		case elliptic.P521():
			hashes = append(hashes, crypto.SHA512)
		}
		var vs []signature.Verifier
		for _, h := range hashes {
			v, err := signature.LoadECDSAVerifier(k, h)
			if err != nil {
				return nil, err
			}
			vs = append(vs, v)
		}
		return vs, nil
	case *rsa.PublicKey:
		v, err := signature.LoadRSAPKCS1v15Verifier(k, crypto.SHA256)
		return []signature.Verifier{v}, err
	case ed25519.PublicKey:
		plain, err := signature.LoadED25519Verifier(k)
		if err != nil {
			return nil, err
		}
		hashed, err := signature.LoadED25519phVerifier(k)
		return []signature.Verifier{plain, hashed}, err
	}
	return nil, fmt.Errorf("keys of type %T are not supported", key)
}
