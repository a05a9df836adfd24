package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// contents reads and writes the manifests of one repository. It lives for one
// request, whose context it holds.
type contents struct {
	ctx       context.Context
	repo      distribution.Repository
	manifests distribution.ManifestService
}

func (r *Registry) open(ctx context.Context, name string) (contents, error) {
	repo, err := r.repository(ctx, name)
	if err != nil {
		return contents{}, err
	}
	// A list may outlive what it lists, which Distribution would refuse.
	manifests, err := repo.Manifests(ctx, storage.SkipLayerVerification())
	if err != nil {
		return contents{}, fmt.Errorf("open manifests: %w", err)
	}
	return contents{ctx, repo, manifests}, nil
}

// A stored is a manifest of the repository.
type stored struct {
	mediaType string
	raw       []byte
	doc       document
}

func (s stored) descriptor() ocispec.Descriptor { return s.doc.descriptor(s.mediaType, s.raw) }

// errNoManifest is returned for what is not there, or is there and can neither
// refer nor list.
var errNoManifest = errors.New("no such manifest")

// get reads a manifest or an index.
func (c contents) get(dgst digest.Digest) (stored, error) {
	m, err := c.manifests.Get(c.ctx, dgst)
	if isNoManifest(err) {
		return stored{}, errNoManifest
	}
	if err != nil {
		return stored{}, fmt.Errorf("read manifest %s: %w", dgst, err)
	}
	mediaType, raw, err := m.Payload()
	if err != nil {
		return stored{}, fmt.Errorf("read manifest %s: %w", dgst, err)
	}
	doc, err := parseDocument(raw)
	if err != nil || !canRefer(mediaType) || dgst.Algorithm().FromBytes(raw) != dgst {
		return stored{}, errNoManifest
	}
	return stored{mediaType, raw, doc}, nil
}

// isNoManifest tells content that is missing or damaged from a disk that cannot
// be read: the first must not take the rest of a list with it.
func isNoManifest(err error) bool {
	if _, ok := errors.AsType[distribution.ErrManifestUnknownRevision](err); ok {
		return true
	}
	if _, ok := errors.AsType[distribution.ErrManifestVerification](err); ok {
		return true
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return true
	}
	_, ok := errors.AsType[*json.UnmarshalTypeError](err)
	return ok
}
