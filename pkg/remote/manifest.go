package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"

	_ "crypto/sha256" // digests name their hash, and it must be linked in
	_ "crypto/sha512"
)

// MaxManifest is how many bytes of a manifest are read at most, as many as
// clients and registries are told to expect (OCI distribution specification,
// section "Pushing Manifests").
const MaxManifest = 4 << 20

// manifestTypes are the media types that are found below /manifests/.
var manifestTypes = [...]string{
	ocispec.MediaTypeImageManifest,
	ocispec.MediaTypeImageIndex,
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.artifact.manifest.v1+json",
}

const acceptManifests = ocispec.MediaTypeImageManifest + ", " + ocispec.MediaTypeImageIndex +
	", application/vnd.docker.distribution.manifest.v2+json" +
	", application/vnd.docker.distribution.manifest.list.v2+json" +
	", application/vnd.oci.artifact.manifest.v1+json, */*"

func isManifest(mediaType string) bool { return slices.Contains(manifestTypes[:], mediaType) }

// checkReference refuses what is neither a tag nor a digest.
func (r *Repository) checkReference(reference string) error {
	ref := r.ref
	ref.Reference = reference
	if reference == "" {
		return fmt.Errorf("%w: empty", errdef.ErrInvalidReference)
	}
	return ref.ValidateReference()
}

// Resolve returns the descriptor of the manifest that a tag or digest names.
// What a tag points to is for the registry to say; see
// [Repository.WithMirrorTags].
// It asks for headers alone where the registry gives the digest in them.
func (r *Repository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if err := r.checkReference(reference); err != nil {
		return ocispec.Descriptor{}, err
	}
	var desc ocispec.Descriptor
	err := r.from.ask(ctx, r.from.forManifest(reference), reference, func(at *endpoint) (err error) {
		desc, err = r.resolveAt(ctx, at, reference)
		return err
	})
	return desc, err
}

func (r *Repository) resolveAt(ctx context.Context, at *endpoint, reference string) (ocispec.Descriptor, error) {
	if _, err := digest.Parse(reference); err == nil && at.mirror != nil {
		// The size and the type in a header prove nothing.
		desc, _, _, err := r.manifestAt(ctx, at, reference)
		return desc, err
	}
	resp, err := r.head(ctx, at, "/manifests/"+reference, true)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	resp.Body.Close()
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	dgst, err := digest.Parse(resp.Header.Get(headerDigest))
	if err == nil && isManifest(mediaType) && resp.ContentLength > 0 {
		if want, err := digest.Parse(reference); err == nil && want.Algorithm() == dgst.Algorithm() && want != dgst {
			return ocispec.Descriptor{}, checkDigest(r.op("resolve"), resp, want)
		}
		return ocispec.Descriptor{MediaType: mediaType, Digest: dgst, Size: resp.ContentLength}, nil
	}
	desc, _, _, err := r.manifestAt(ctx, at, reference)
	return desc, err
}

// Manifest fetches the manifest that a tag or digest names. Its bytes have
// been compared with the digest, and with the one the registry says it sent.
func (r *Repository) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, raw, _, err := r.manifest(ctx, reference)
	return desc, raw, err
}

func (r *Repository) manifest(ctx context.Context, reference string) (desc ocispec.Descriptor, raw []byte, etag string, err error) {
	if err := r.checkReference(reference); err != nil {
		return desc, nil, "", err
	}
	err = r.from.ask(ctx, r.from.forManifest(reference), reference, func(at *endpoint) (err error) {
		desc, raw, etag, err = r.manifestAt(ctx, at, reference)
		return err
	})
	return desc, raw, etag, err
}

// manifestAt asks one place for a manifest.
func (r *Repository) manifestAt(ctx context.Context, at *endpoint, reference string) (desc ocispec.Descriptor, raw []byte, etag string, err error) {
	resp, err := r.do(ctx, call{
		at: at, method: http.MethodGet, path: "/manifests/" + reference,
		header: map[string]string{"Accept": acceptManifests},
	})
	if err != nil {
		return desc, nil, "", err
	}
	defer resp.Body.Close()
	op := opOf(resp.Request)
	if raw, err = readManifest(op, resp); err != nil {
		return desc, nil, "", err
	}
	desc.Size = int64(len(raw))
	if desc.Digest, err = manifestDigest(op, resp, reference, raw); err != nil {
		return desc, nil, "", err
	}
	if desc.MediaType, err = manifestType(op, resp, raw); err != nil {
		return desc, nil, "", err
	}
	return desc, raw, resp.Header.Get("ETag"), nil
}

func readManifest(op string, resp *http.Response) ([]byte, error) {
	if resp.ContentLength > MaxManifest {
		return nil, tooLarge(op)
	}
	if err := checkEncoding(op, resp); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return nil, readError(op, err)
	}
	if len(raw) > MaxManifest {
		return nil, tooLarge(op)
	}
	return raw, nil
}

func tooLarge(op string) *Error {
	return &Error{Op: op, Text: fmt.Sprintf("more than %d bytes", MaxManifest), Class: ErrProtocol, cause: errdef.ErrSizeExceedsLimit}
}

// manifestDigest returns the digest of raw by the hash that reference asks
// for, if it is the one that reference and the registry's header say.
func manifestDigest(op string, resp *http.Response, reference string, raw []byte) (digest.Digest, error) {
	alg := digest.Canonical
	want, err := digest.Parse(reference)
	if err == nil {
		alg = want.Algorithm()
	} else if said, err := digest.Parse(resp.Header.Get(headerDigest)); err == nil {
		alg = said.Algorithm()
	}
	got := alg.FromBytes(raw)
	if want != "" && err == nil && got != want {
		return "", &Error{Op: op, Text: "the bytes are those of " + got.String(), Class: content.ErrMismatchedDigest}
	}
	return got, checkDigest(op, resp, got)
}

// manifestType returns the media type of a manifest. The header and the
// document must not name two different ones: a manifest that is an index to
// one reader and an image to another is an attack (CVE-2021-41190).
func manifestType(op string, resp *http.Response, raw []byte) (string, error) {
	header, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	err := json.Unmarshal(raw, &doc)
	switch {
	case err != nil && isManifest(header):
		return header, nil // for the caller's parser to refuse
	case err != nil:
		return "", protocolError(op, "not a manifest: %s", err)
	case !isManifest(header) && doc.MediaType != "":
		return doc.MediaType, nil
	case !isManifest(header):
		return "", wrongType(op, "neither the answer nor the document says what it is")
	case doc.MediaType != "" && doc.MediaType != header:
		return "", wrongType(op, "sent as %s, but says that it is %s", header, doc.MediaType)
	}
	return header, nil
}

// wrongType returns an error that wraps errdef.ErrInvalidMediaType too.
func wrongType(op, format string, args ...any) *Error {
	e := protocolError(op, format, args...)
	e.cause = errdef.ErrInvalidMediaType
	return e
}

// PushManifest writes a manifest whose bytes are raw: under each of tags, or
// by its digest alone when there are none.
func (r *Repository) PushManifest(ctx context.Context, desc ocispec.Descriptor, raw []byte, tags ...string) error {
	if err := checkDesc(desc); err != nil {
		return err
	}
	if got := desc.Digest.Algorithm().FromBytes(raw); got != desc.Digest {
		return fmt.Errorf("push manifest %s: bytes have digest %s: %w", desc.Digest, got, content.ErrMismatchedDigest)
	}
	for _, tag := range tags {
		if strings.Contains(tag, ":") {
			return fmt.Errorf("%w: tag %q", errdef.ErrInvalidReference, tag)
		}
		if err := r.checkReference(tag); err != nil {
			return err
		}
	}
	if len(tags) == 0 {
		tags = []string{desc.Digest.String()}
	}
	for _, reference := range tags {
		resp, err := r.putManifest(ctx, putOptions{desc: desc, raw: raw, reference: reference})
		if err != nil {
			return err
		}
		if err := checkDigest(r.op("push manifest to"), resp, desc.Digest); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = manifest{ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}, bytes.Clone(raw)}
	return nil
}

// A manifest is one with its bytes.
type manifest struct {
	desc ocispec.Descriptor
	raw  []byte
}

type putOptions struct {
	desc      ocispec.Descriptor
	raw       []byte
	reference string
	match     map[string]string // headers that make it conditional
}

// putManifest returns the answer with its body closed.
func (r *Repository) putManifest(ctx context.Context, p putOptions) (*http.Response, error) {
	header := map[string]string{"Content-Type": p.desc.MediaType, "Accept": "*/*"}
	maps.Copy(header, p.match)
	resp, err := r.do(ctx, call{
		method: http.MethodPut, path: "/manifests/" + p.reference,
		header: header, body: p.raw,
		scopes: []string{auth.ActionPull, auth.ActionPush},
		want:   []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
	})
	if err != nil {
		return nil, err
	}
	drain(resp.Body)
	return resp, nil
}

// Tag points tag at a manifest that is in the repository. That is read first,
// unless it is the one that was pushed last through r.
func (r *Repository) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	r.mu.Lock()
	last := r.latest
	r.mu.Unlock()
	if last.raw != nil && last.desc.Digest == desc.Digest {
		return r.PushManifest(ctx, last.desc, last.raw, tag)
	}
	got, raw, err := r.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return err
	}
	return r.PushManifest(ctx, got, raw, tag)
}

// errIs is errors.Is for several targets.
func errIs(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}
