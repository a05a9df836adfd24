package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// maxManifest is the largest blob that is read for what it points to.
const maxManifest = 4 << 20

// A node is a blob that something leads to.
type node struct {
	desc ocispec.Descriptor
	need bool // it should be in the store; children of an index need not
}

// walk yields everything that the roots lead to, themselves first, each blob
// once. What cannot be read leads nowhere.
func (s *Store) walk(ctx context.Context, roots []ocispec.Descriptor) iter.Seq2[node, error] {
	return func(yield func(node, error) bool) {
		seen := make(map[digest.Digest]bool)
		todo := make([]node, 0, len(roots))
		for _, desc := range roots {
			todo = append(todo, node{desc, true})
		}
		for len(todo) > 0 {
			n := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[n.desc.Digest] {
				continue
			}
			seen[n.desc.Digest] = true
			if err := ctx.Err(); err != nil {
				yield(node{}, err)
				return
			}
			if !yield(n, nil) {
				return
			}
			next, partial := s.successors(ctx, n.desc)
			for _, desc := range next {
				todo = append(todo, node{desc, !partial})
			}
		}
	}
}

// successors returns what a manifest or an index points to, and whether a store
// may well have only a part of it.
func (s *Store) successors(ctx context.Context, desc ocispec.Descriptor) (next []ocispec.Descriptor, partial bool) {
	if desc.Size > maxManifest {
		return nil, false
	}
	name, err := blobName(desc)
	if err != nil {
		return nil, false
	}
	// Not through Fetch: to be looked at by the store itself is not to be used.
	next, err = content.Successors(ctx, content.FetcherFunc(func(context.Context, ocispec.Descriptor) (io.ReadCloser, error) {
		return s.root.Open(name)
	}), desc)
	if err != nil {
		return nil, false
	}
	return next, desc.MediaType == ocispec.MediaTypeImageIndex || desc.MediaType == mediaTypeDockerList
}

const mediaTypeDockerList = "application/vnd.docker.distribution.manifest.list.v2+json"

// sniff tells whether a blob is a manifest or an index, by what is in it.
func (s *Store) sniff(name string, size int64) (ocispec.Descriptor, bool) {
	raw, err := readFile(s.root, name, maxManifest)
	if err != nil || len(raw) == 0 || raw[0] != '{' {
		return ocispec.Descriptor{}, false
	}
	var m struct {
		MediaType string               `json:"mediaType"`
		Config    *ocispec.Descriptor  `json:"config"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return ocispec.Descriptor{}, false
	}
	dgst, _ := nameDigest(name)
	switch {
	case m.MediaType != "":
	case m.Config != nil:
		m.MediaType = ocispec.MediaTypeImageManifest
	case m.Manifests != nil:
		m.MediaType = ocispec.MediaTypeImageIndex
	default:
		return ocispec.Descriptor{}, false
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: dgst, Size: size}, true
}

// missing tells whether a blob is not in the store at all.
func (s *Store) missing(desc ocispec.Descriptor) bool {
	name, err := blobName(desc)
	if err != nil {
		return true
	}
	_, err = s.root.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}
