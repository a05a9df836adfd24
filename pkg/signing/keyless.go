package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"
	sigoptions "github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxToken bounds an OIDC token, in bytes.
const maxToken = 64 << 10

// NewKeyless returns a signer without a key to keep. For each signature it makes
// a key, gets a certificate for it from the authority in the services, and
// forgets the key. The certificate is for whom the OIDC token names, and token
// is called when there is something to sign, since tokens last for minutes.
//
// A log that the services name keeps the identity, for all who may read it.
// Such signatures are bundles: they have no [Classic] form. With Roots in the
// services, what the same identity has signed before is not signed again;
// without, signing the same again attaches one more.
func NewKeyless(token func(context.Context) (string, error), services Services) (*Signer, error) {
	if token == nil {
		return nil, errors.New("keyless signing needs an OIDC token")
	}
	if err := services.check(true); err != nil {
		return nil, err
	}
	return &Signer{token: token, services: services}, nil
}

// With returns a signer that has the same key, and has its signatures logged and
// stamped by the services. Signatures in the [Classic] form are not.
func (s *Signer) With(services Services) (*Signer, error) {
	if s.signer == nil {
		return nil, errors.New("a keyless signer has its services already")
	}
	if err := services.check(false); err != nil {
		return nil, err
	}
	return &Signer{signer: s.signer, public: s.public, services: services, chain: s.chain}, nil
}

// Trust is whom s signs as: its key, or the identities that an authority may
// write into a certificate for its token, on the word of the Roots of its
// services, or else of those given, which may be nil. It is nobody, and fails
// [Trust.Check], where there is neither: a keyless signer without Roots cannot
// tell what is to be believed.
func (s *Signer) Trust(ctx context.Context, roots *Roots) (Trust, error) {
	if s.public != nil {
		return Trust{Keys: []*PublicKey{s.public}}, nil
	}
	if s.services.Roots.authorities() > 0 {
		roots = s.services.Roots
	}
	if roots.authorities() == 0 {
		return Trust{}, nil
	}
	token, err := s.idToken(ctx)
	if err != nil {
		return Trust{}, err
	}
	return Trust{Identities: tokenIdentities(token), Roots: roots}, nil
}

// own is the verification that finds what s has signed already.
func (s *Signer) own(ctx context.Context, repo Reader, t Target) (*verification, error) {
	if err := s.current(); err != nil {
		return nil, err
	}
	trust, err := s.Trust(ctx, nil)
	if err != nil {
		return nil, err
	}
	v := &verification{repo: repo, target: t, trust: trust}
	if s.public != nil {
		v.certified = s.has
	}
	return v, v.prepare()
}

// idToken gets an OIDC token for a certificate.
func (s *Signer) idToken(ctx context.Context) (string, error) {
	token, err := s.token(ctx)
	if err != nil {
		return "", fmt.Errorf("get OIDC token: %w", err)
	}
	if len(token) > maxToken {
		return "", fmt.Errorf("OIDC token of %d bytes, more than %d", len(token), maxToken)
	}
	return token, nil
}

// tokenIdentities are those that an authority may write into a certificate for a
// token: Fulcio takes a mail address, a workflow of GitHub or GitLab, or else
// the subject. They are the token's, and whoever has it may be any of them. It
// was not verified: that of others is of no use to anybody here.
func tokenIdentities(token string) []Identity {
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Email    string `json:"email"`
		Workflow string `json:"job_workflow_ref"`
		Config   string `json:"ci_config_ref_uri"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.Issuer == "" {
		return nil
	}
	var ids []Identity
	add := func(prefix, subject string) {
		if subject != "" {
			ids = append(ids, Identity{Issuer: claims.Issuer, Subject: prefix + subject})
		}
	}
	add("", claims.Email)
	add("https://github.com/", claims.Workflow)
	add("https://", claims.Config)
	add("", claims.Subject)
	return ids
}

// errChainAlone says what certificates of a private authority do not go with.
var errChainAlone = errors.New("certificates of a private authority go with no log or timestamp where a signature is kept as a file")

// errKeylessClassic says what a signer without a key cannot do.
var errKeylessClassic = errors.New("a keyless signature is a bundle: the classic layout is for keys")

// witnessed makes a bundle with what the services have to say.
func (s *Signer) witnessed(ctx context.Context, payload []byte) ([]byte, error) {
	opts := s.services.options(ctx)
	pair, err := s.credentials(ctx, &opts)
	if err != nil {
		return nil, err
	}
	var b *protobundle.Bundle
	err = guard(func() (err error) {
		b, err = sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: payloadInToto}, pair, opts)
		return err
	})
	if err != nil {
		return nil, plainCause(err)
	}
	if s.chain == nil {
		return protojson.Marshal(b)
	}
	return s.certify(b)
}

// certify puts the signer's certificates into a bundle that has the first of them,
// and checks what the services have said, as sigstore-go does of other bundles.
func (s *Signer) certify(b *protobundle.Bundle) ([]byte, error) {
	b.VerificationMaterial.Content = s.material().Content
	raw, err := protojson.Marshal(b)
	if err != nil || s.services.Roots == nil {
		return raw, err
	}
	v := verification{trust: Trust{Keys: []*PublicKey{s.public}}}
	v.want(s.services)
	err = guard(func() error {
		read, err := readBundle(raw)
		if err == nil {
			_, err = v.withCertificate(read, s.chain, artifact{})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the trusted root does not believe the signature: %w", err)
	}
	return raw, nil
}

// options are what sigstore-go is to ask for the services' word.
func (s Services) options(ctx context.Context) sign.BundleOptions {
	opts := sign.BundleOptions{Context: ctx}
	transport := newServiceTransport(ctx, s.Transport)
	for _, u := range s.Timestamps {
		opts.TimestampAuthorities = append(opts.TimestampAuthorities,
			sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: u, Timeout: noTimeout, Transport: transport}))
	}
	for _, log := range s.Logs {
		c := &logClient{client: &http.Client{Transport: transport}, base: log.URL}
		opts.TransparencyLogs = append(opts.TransparencyLogs,
			sign.NewRekor(&sign.RekorOptions{BaseURL: log.URL, Timeout: noTimeout, Version: uint32(log.Version), Client: c, ClientV2: c}))
	}
	if s.Fulcio != "" {
		opts.CertificateProvider = sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.Fulcio, Timeout: noTimeout, Transport: transport})
	}
	if s.Roots != nil {
		opts.TrustedRoot = s.Roots.trusted
	}
	return opts
}

// noTimeout leaves the bounds of requests to [serviceTransport].
const noTimeout = -1

// credentials returns the key to sign with, and adds to the options what goes
// with it.
func (s *Signer) credentials(ctx context.Context, opts *sign.BundleOptions) (sign.Keypair, error) {
	if s.token == nil {
		opts.CertificateProvider = nil
		if _, ok := s.public.key.(ed25519.PublicKey); ok && len(opts.TransparencyLogs) > 0 {
			return nil, errors.New("an Ed25519 key's signature has no form that logs take: sign with an ECDSA key")
		}
		if s.chain != nil {
			opts.CertificateProvider, opts.TrustedRoot = ownCertificate{s.chain[0]}, nil // see certify
			return keypair{s}, nil
		}
		if s.services.Roots != nil {
			opts.TrustedRoot = s.services.Roots.with(s.public.verifiers[0])
		}
		return keypair{s}, nil
	}
	token, err := s.idToken(ctx)
	if err != nil {
		return nil, err
	}
	opts.CertificateProviderOptions = &sign.CertificateProviderOptions{IDToken: token}
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return pair, nil
}

// plainCause takes the URL of a request out of an error's text, if that is all
// that is around the cause.
func plainCause(err error) error {
	if cause, ok := errors.AsType[*ServiceError](err); ok {
		return cause
	}
	return err
}

// A keypair is a signer as sigstore-go wants it.
type keypair struct{ s *Signer }

func (k keypair) details() (signature.AlgorithmDetails, error) {
	return signature.GetDefaultAlgorithmDetails(k.s.public.key)
}

// GetHashAlgorithm returns what the key's signatures hash with.
func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	if d, err := k.details(); err == nil {
		return d.GetProtoHashType()
	}
	return protocommon.HashAlgorithm_SHA2_256
}

// GetSigningAlgorithm returns what kind of key it is.
func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	if d, err := k.details(); err == nil {
		return d.GetSignatureAlgorithm()
	}
	return protocommon.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED
}

// GetHint returns what cosign calls the key.
func (k keypair) GetHint() []byte {
	sum, err := hex.DecodeString(k.s.public.fingerprint)
	if err != nil {
		return nil
	}
	return []byte(base64.StdEncoding.EncodeToString(sum))
}

// GetKeyAlgorithm returns the name of the key's family.
func (k keypair) GetKeyAlgorithm() string {
	switch k.s.public.key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA"
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "ED25519"
	}
	return ""
}

// GetPublicKey returns the key.
func (k keypair) GetPublicKey() crypto.PublicKey { return k.s.public.key }

// GetPublicKeyPem returns the key in PEM.
func (k keypair) GetPublicKeyPem() (string, error) { return string(k.s.public.pem), nil }

// SignData signs data. What it hashes to is of use only to signatures that are
// no envelopes.
func (k keypair) SignData(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	sig, err = k.s.signer.SignMessage(bytes.NewReader(data), sigoptions.WithContext(ctx))
	return sig, nil, err
}
