// Package oms reads and writes signatures in the form of OpenSSF Model Signing
// 1.0: a file, usually model.sig beside the files of a model, that says which
// files the model has and the SHA-256 of each, signed.
//
// The file is a sigstore bundle over an in-toto statement with the predicate
// https://model_signing/signature/v1.0. [New] makes the statement from names and
// digests, which need not be those of files on this machine: the digest of a raw
// layer is that of its file. [Sign] signs it, and [Verify] takes a file that any
// implementation of the specification wrote and returns the statement in it.
// [Statement.Compare] then tells how the files that are there differ.
//
// The package opens no files. What a statement calls a file is compared with
// names that were found, and is never a path to go to. Who signs is a key, a keyless
// identity, or a key with a certificate of a private authority, which
// signing.Authorities are trusted for. The package reads and writes the
// method "files" with SHA-256, which every implementation must know, and reads that
// with BLAKE2b and "shards"; statements with other hashes and those of before 1.0
// are refused.
package oms

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	// FileName is what a signature beside the files of a model is called.
	FileName = "model.sig"

	// PredicateType is that of the statements.
	PredicateType = "https://model_signing/signature/v1.0"

	// MaxResources bounds the files of a model.
	MaxResources = 100_000

	// MaxBytes bounds a signature, in bytes.
	MaxBytes = signing.MaxDetachedBytes
)

// ErrKey means that a key is of a kind that the specification does not know: it
// allows ECDSA on P-256, P-384 and P-521.
var ErrKey = errors.New("OpenSSF Model Signing takes ECDSA keys only")

// Sign signs a statement and returns what goes into the file.
func Sign(ctx context.Context, st *Statement, s *signing.Signer) ([]byte, error) {
	payload, err := st.Encode()
	if err != nil {
		return nil, err
	}
	hint := ""
	if key := s.Public(); key != nil {
		if hint, err = hintOf(key); err != nil {
			return nil, err
		}
	}
	raw, err := signing.SignDetached(ctx, s, payload, hint)
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("sign model: signature of %d bytes, more than %d", len(raw), MaxBytes)
	}
	return raw, nil
}

// A Verified is a statement that a trusted party signed.
type Verified struct {
	Statement *Statement
	Signer    signing.Signatory
}

// Verify checks that trust signed what is in a signature's file and that it is a
// statement about one model, and returns that. Whether the files are what it
// says is the next question, for [Statement.Compare]. Whatever is wrong with raw
// wraps [signing.ErrUntrusted].
func Verify(ctx context.Context, raw []byte, trust signing.Trust) (*Verified, error) {
	d, err := signing.VerifyDetached(ctx, raw, trust)
	if err != nil {
		return nil, err
	}
	if err := checkHint(d, trust); err != nil {
		return nil, fmt.Errorf("%w: %w", signing.ErrUntrusted, err)
	}
	st, err := Parse(d.Statement)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", signing.ErrUntrusted, err)
	}
	return &Verified{Statement: st, Signer: d.Signer}, nil
}

// Unverified returns the statement in a signature that nobody has checked.
func Unverified(raw []byte) (*Statement, error) {
	statement, err := signing.UnverifiedStatement(raw)
	if err != nil {
		return nil, err
	}
	return Parse(statement)
}

// checkHint refuses a key that the specification does not allow, and a signature
// that calls its key by another name than the specification gives it: no other
// implementation would take it. Signatures of before 1.0.1 name none.
func checkHint(d *signing.Detached, trust signing.Trust) error {
	if d.Signer.Kind != "key" {
		return nil
	}
	for _, key := range trust.Keys {
		if key.Fingerprint() != d.Signer.KeyFingerprint {
			continue
		}
		hint, err := hintOf(key)
		if err != nil {
			return err
		}
		if d.Hint != "" && d.Hint != hint {
			return fmt.Errorf("key is called %.80q and not %s, the SHA-256 of its PEM, as OpenSSF Model Signing has it", d.Hint, hint)
		}
		return nil
	}
	return fmt.Errorf("signed with a key that is not among the trusted ones")
}

// hintOf is what a signature calls its key: the SHA-256 of the key in PEM, where
// cosign has that of the DER.
func hintOf(key *signing.PublicKey) (string, error) {
	text := key.PEM()
	block, _ := pem.Decode(text)
	if block == nil {
		return "", errors.New("public key is no PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("parse public key: %w", err)
	}
	if _, ok := parsed.(*ecdsa.PublicKey); !ok {
		return "", fmt.Errorf("%w, not %T", ErrKey, parsed)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
