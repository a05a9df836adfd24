package remote

import (
	"context"
	"errors"
	"io"
	"iter"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Repository is one repository of a registry.
type Repository struct{ client *Client }

// Exists tells whether the content is there.
func (r *Repository) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	return false, errors.ErrUnsupported
}

// Fetch reads the content.
func (r *Repository) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

// FetchRange reads a part of a blob.
func (r *Repository) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

// Push writes the content.
func (r *Repository) Push(ctx context.Context, desc ocispec.Descriptor, content io.Reader) error {
	return errors.ErrUnsupported
}

// PushFrom uploads a blob, resuming where it can.
func (r *Repository) PushFrom(ctx context.Context, desc ocispec.Descriptor, open func(ctx context.Context, offset int64) (io.ReadCloser, error), sent func(n int64)) error {
	return errors.ErrUnsupported
}

// MountFrom links a blob from another repository.
func (r *Repository) MountFrom(ctx context.Context, desc ocispec.Descriptor, from string) (bool, error) {
	return false, errors.ErrUnsupported
}

// Resolve turns a tag or digest into a descriptor.
func (r *Repository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, errors.ErrUnsupported
}

// Manifest fetches a manifest by tag or digest.
func (r *Repository) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	return ocispec.Descriptor{}, nil, errors.ErrUnsupported
}

// PushManifest pushes a manifest by digest and under tags.
func (r *Repository) PushManifest(ctx context.Context, desc ocispec.Descriptor, raw []byte, tags ...string) error {
	return errors.ErrUnsupported
}

// Tag points tag at a manifest.
func (r *Repository) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	return errors.ErrUnsupported
}

// Tags lists the tags.
func (r *Repository) Tags(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("", errors.ErrUnsupported) }
}

// Referrers lists what refers to desc.
func (r *Repository) Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	return nil, errors.ErrUnsupported
}

// PushReferrer pushes a manifest whose subject is subject.
func (r *Repository) PushReferrer(ctx context.Context, raw []byte, subject ocispec.Descriptor) error {
	return errors.ErrUnsupported
}

// Delete removes a manifest or blob.
func (r *Repository) Delete(ctx context.Context, desc ocispec.Descriptor) error {
	return errors.ErrUnsupported
}

// Capabilities is what a registry can do.
type Capabilities struct{}

// Probe finds out what the registry can do.
func (r *Repository) Probe(ctx context.Context) (Capabilities, error) {
	return Capabilities{}, errors.ErrUnsupported
}
