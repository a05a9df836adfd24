// Package signing signs artifacts and verifies their signatures, in the two
// forms that cosign reads and writes.
//
// [Bundle], the default, is a sigstore bundle attached as an OCI 1.1 referrer:
// what cosign 3 writes. [Classic] is the tag sha256-<hex>.sig with simple
// signing payloads: what cosign wrote before. [Sign] writes either, [Verify]
// reads both, and the cosign command line verifies what Sign wrote.
//
// A signature is always over a digest. No function of this package but
// [Resolve] ever reads a movable tag of the artifact, so that what was verified
// is what is then fetched: resolve once, verify the [Target], and fetch by its
// digest. Verify does not look at the artifact's own bytes; whoever fetches
// them checks the digest.
//
// Everything that a registry answers is taken as an attack. Counts and sizes
// are bounded by the constants of this package, nothing is decompressed, and
// foreign code that panics makes an error. Whatever keeps a signature from
// being read (a registry that answers with an error, a list that is too long)
// is an error and never "unsigned".
//
// Trusted are keys, and identities: whom a certificate was issued to, by an
// authority of a sigstore deployment that a trusted root describes. Verify
// needs no network but the registry. What it says of logs and times it has
// checked with the proofs beside the signature and the keys in the trusted
// root, and where these show nothing it claims nothing. The clock of the
// machine plays no part: a certificate counts at the time that is proven. Only
// one of a private authority (see [Authorities]) counts by the clock where no
// time is.
package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// Limits of what is read from a registry.
const (
	MaxReferrers     = 64               // referrers that may be bundles, for one artifact
	MaxClassic       = 64               // layers behind one signature tag
	MaxReferrerBytes = 64 << 10         // of a referrer's manifest
	MaxBundleBytes   = 1 << 20          // of a sigstore bundle that is a signature
	MaxPayloadBytes  = 64 << 10         // of a simple signing payload
	MaxDuration      = 2 * time.Minute  // of one call of Verify
	maxSubjects      = 1024             // of an in-toto statement, as in sigstore-go
	maxSubjectBytes  = 1 << 20          // of all of them
	maxSignature     = 8 << 10          // of a signature in base64
	maxConfigBytes   = MaxReferrerBytes // of a signature image's config
	maxPEMBytes      = 64 << 10         // of a key file
)

// The ways in which a [Target] can fail [Verify], or those who ask for
// [Attestations]; other errors say that it could not be found out.
var (
	// ErrNoSignature means that the registry shows no signature at all.
	ErrNoSignature = errors.New("no signature found")

	// ErrUntrusted means that there are signatures, or what looks like
	// them, and none counts.
	ErrUntrusted = errors.New("no valid signature by a trusted key")

	// ErrNoAttestation means that no trusted party attests what is asked for.
	ErrNoAttestation = errors.New("no valid attestation by a trusted signer")

	// ErrTooMany means that more is attached to the artifact than will be
	// looked at. Nothing is accepted then.
	ErrTooMany = errors.New("too many signatures")
)

// A Reader is the repository that holds an artifact, as far as reading goes.
// What is not there is an error that wraps [errdef.ErrNotFound].
type Reader interface {
	content.Fetcher

	// Manifest returns the manifest behind a tag or digest, of at most
	// [mediatypes.MaxManifestBytes], with bytes that have the digest of the
	// descriptor.
	Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error)

	// Referrers lists the manifests that name desc as their subject, by the
	// referrers API or the fallback tag, in a bounded number of requests. An
	// empty artifactType means all. The answer is not believed.
	Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error)
}

// A Writer is a repository that signatures can be written to.
type Writer interface {
	content.Pusher

	// PushManifest writes a manifest and points the tags at it.
	PushManifest(ctx context.Context, desc ocispec.Descriptor, raw []byte, tags ...string) error

	// PushReferrer writes a manifest whose subject is the one given, and
	// returns when readers with and without the referrers API find it.
	PushReferrer(ctx context.Context, raw []byte, subject ocispec.Descriptor) error
}

// A Repository is both.
type Repository interface {
	Reader
	Writer
}

// A Target is what is signed: the digest of a manifest, in a repository.
type Target struct {
	// Repository is host/name. A signature names it, and [Trust] can insist.
	Repository string

	// Descriptor is the manifest's, digest, size and media type.
	Descriptor ocispec.Descriptor
}

func (t Target) check() error {
	if t.Repository == "" {
		return errors.New("target without a repository")
	}
	if err := t.Descriptor.Digest.Validate(); err != nil {
		return fmt.Errorf("target digest %q: %w", t.Descriptor.Digest, err)
	}
	return nil
}

// A Format is a way to keep signatures in a registry.
type Format int

// The formats. Both is for [SignOptions] alone.
const (
	Bundle  Format = iota // sigstore bundle v0.3 in a referrer
	Classic               // simple signing behind the tag sha256-<hex>.sig
	Both
)

// String returns "bundle", "classic" or "both".
func (f Format) String() string {
	switch f {
	case Bundle:
		return "bundle"
	case Classic:
		return "classic"
	case Both:
		return "both"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// Resolve reads the manifest behind a tag or digest, once, and returns it as a
// target together with its bytes. The bytes have the target's digest, are a
// manifest or an index and nothing that another reader could take for the
// other, and are of the media type they were served as.
func Resolve(ctx context.Context, repo Reader, repository, reference string) (Target, []byte, error) {
	desc, raw, err := repo.Manifest(ctx, reference)
	if err != nil {
		return Target{}, nil, err
	}
	t := Target{Repository: repository, Descriptor: ocispec.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size,
	}}
	if err := t.check(); err != nil {
		return Target{}, nil, err
	}
	if want, err := digest.Parse(reference); err == nil && want != desc.Digest {
		return Target{}, nil, fmt.Errorf("manifest %s: %w: got %s", want, content.ErrMismatchedDigest, desc.Digest)
	}
	if got := desc.Digest.Algorithm().FromBytes(raw); got != desc.Digest {
		return Target{}, nil, fmt.Errorf("manifest %s: %w: got %s", desc.Digest, content.ErrMismatchedDigest, got)
	}
	mediaType, err := documentType(desc.MediaType, raw)
	if err != nil {
		return Target{}, nil, err
	}
	if mediaType != "" && mediaType != desc.MediaType {
		return Target{}, nil, fmt.Errorf("manifest %s: %w: served as %q, says that it is %q",
			desc.Digest, mediatypes.ErrMalformed, desc.MediaType, mediaType)
	}
	return t, raw, nil
}

func documentType(servedAs string, raw []byte) (string, error) {
	switch servedAs {
	case ocispec.MediaTypeImageIndex, mediatypes.IndexDocker:
		x, err := mediatypes.ParseIndex(raw)
		return x.MediaType, err
	default:
		m, err := mediatypes.ParseManifest(raw)
		return m.MediaType, err
	}
}

// fetch reads what desc describes, if that is no more than limit.
func fetch(ctx context.Context, repo Reader, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size < 0 || desc.Size > limit {
		return nil, reject("%d bytes, more than %d", desc.Size, limit)
	}
	rc, err := repo.Fetch(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", desc.Digest, err)
	}
	defer rc.Close()
	raw, err := content.ReadAll(rc, desc)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", desc.Digest, err)
	}
	return raw, nil
}

// push writes a blob, which may be there already.
func push(ctx context.Context, repo Writer, desc ocispec.Descriptor, r io.Reader) error {
	if err := repo.Push(ctx, desc, r); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return fmt.Errorf("push %s: %w", desc.Digest, err)
	}
	return nil
}

// guard runs f, which calls code that is not ours on bytes that are not ours,
// and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = reject("checking it went wrong: %v", p)
		}
	}()
	return f()
}
