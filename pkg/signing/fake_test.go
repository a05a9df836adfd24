package signing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	host       = "registry.example.com/org/model"
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	emptyType  = "application/vnd.oci.empty.v1+json"
	inToto     = "application/vnd.in-toto+json"
	signType   = "https://sigstore.dev/cosign/sign/v1"
	sigKey     = "dev.cosignproject.cosign/signature"
)

// fakeRepo is a repository in memory that lies on request.
type fakeRepo struct {
	blobs     map[digest.Digest][]byte
	tags      map[string]ocispec.Descriptor
	referrers map[digest.Digest][]ocispec.Descriptor

	// list, if not nil, answers Referrers.
	list func() ([]ocispec.Descriptor, error)
	// manifest, if not nil, answers Manifest when it returns true.
	manifest func(reference string) (ocispec.Descriptor, []byte, error, bool)
	// fetch, if not nil, may fail a Fetch.
	fetch func(desc ocispec.Descriptor) error
	// tagged, if not nil, is called after a tag has moved.
	tagged func(tag string)

	fetched []digest.Digest
	written int
}

func newFake() *fakeRepo {
	return &fakeRepo{
		blobs:     map[digest.Digest][]byte{},
		tags:      map[string]ocispec.Descriptor{},
		referrers: map[digest.Digest][]ocispec.Descriptor{},
	}
}

func (r *fakeRepo) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	r.fetched = append(r.fetched, desc.Digest)
	if r.fetch != nil {
		if err := r.fetch(desc); err != nil {
			return nil, err
		}
	}
	raw, ok := r.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", desc.Digest, errdef.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

func (r *fakeRepo) Manifest(_ context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if r.manifest != nil {
		if desc, raw, err, ok := r.manifest(reference); ok {
			return desc, raw, err
		}
	}
	desc, ok := r.tags[reference]
	if !ok {
		return ocispec.Descriptor{}, nil, fmt.Errorf("%s: %w", reference, errdef.ErrNotFound)
	}
	return desc, r.blobs[desc.Digest], nil
}

func (r *fakeRepo) Referrers(_ context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	if r.list != nil {
		return r.list()
	}
	var out []ocispec.Descriptor
	for _, d := range r.referrers[desc.Digest] {
		if artifactType == "" || d.ArtifactType == artifactType {
			out = append(out, d)
		}
	}
	return out, nil
}

func (r *fakeRepo) Push(_ context.Context, desc ocispec.Descriptor, rd io.Reader) error {
	if _, ok := r.blobs[desc.Digest]; ok {
		return errdef.ErrAlreadyExists
	}
	raw, err := content.ReadAll(rd, desc)
	if err != nil {
		return err
	}
	r.blobs[desc.Digest] = raw
	r.written++
	return nil
}

func (r *fakeRepo) PushManifest(_ context.Context, desc ocispec.Descriptor, raw []byte, tags ...string) error {
	r.blobs[desc.Digest] = raw
	r.tags[desc.Digest.String()] = desc
	r.written++
	for _, tag := range tags {
		r.tags[tag] = desc
		if r.tagged != nil {
			r.tagged(tag)
		}
	}
	return nil
}

func (r *fakeRepo) PushReferrer(ctx context.Context, raw []byte, subject ocispec.Descriptor) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	desc.ArtifactType, desc.Annotations = m.ArtifactType, m.Annotations
	r.referrers[subject.Digest] = append(r.referrers[subject.Digest], desc)
	return r.PushManifest(ctx, desc, raw)
}

// model puts the manifest of an artifact into the repository.
func (r *fakeRepo) model(t testing.TB, name string) signing.Target {
	t.Helper()
	raw := modelManifest(t, name)
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	if err := r.PushManifest(t.Context(), desc, raw, name); err != nil {
		t.Fatal(err)
	}
	return signing.Target{Repository: host, Descriptor: desc}
}

// attach attaches a bundle as a referrer of target, after edit has changed the
// manifest, and returns how it is listed.
func (r *fakeRepo) attach(t testing.TB, target signing.Target, bundle []byte, edit func(*ocispec.Manifest)) ocispec.Descriptor {
	t.Helper()
	m := referrerManifest(target, r.blob(t, bundleType, bundle))
	if edit != nil {
		edit(&m)
	}
	raw := encode(t, m)
	if err := r.PushReferrer(t.Context(), raw, target.Descriptor); err != nil {
		t.Fatal(err)
	}
	return r.referrers[target.Descriptor.Digest][len(r.referrers[target.Descriptor.Digest])-1]
}

// classic puts an image with the layers behind the target's signature tag.
func (r *fakeRepo) classic(t testing.TB, target signing.Target, layers ...ocispec.Descriptor) {
	t.Helper()
	config := r.blob(t, ocispec.MediaTypeImageConfig, []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}`))
	raw := encode(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config, Layers: layers,
	})
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw)
	if err := r.PushManifest(t.Context(), desc, raw, classicTag(target)); err != nil {
		t.Fatal(err)
	}
}

// layer is one classic signature.
func (r *fakeRepo) layer(t testing.TB, payload []byte, sig string) ocispec.Descriptor {
	t.Helper()
	desc := r.blob(t, "application/vnd.dev.cosign.simplesigning.v1+json", payload)
	desc.Annotations = map[string]string{sigKey: sig}
	return desc
}

func (r *fakeRepo) blob(t testing.TB, mediaType string, raw []byte) ocispec.Descriptor {
	t.Helper()
	desc := content.NewDescriptorFromBytes(mediaType, raw)
	r.blobs[desc.Digest] = slices.Clone(raw)
	return desc
}

func modelManifest(t testing.TB, name string) []byte {
	t.Helper()
	return encode(t, ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.cncf.model.manifest.v1+json",
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       []ocispec.Descriptor{},
		Annotations:  map[string]string{"name": name},
	})
}

func referrerManifest(target signing.Target, layer ocispec.Descriptor) ocispec.Manifest {
	subject := target.Descriptor
	config := ocispec.DescriptorEmptyJSON
	config.Data = nil
	return ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: bundleType,
		Config:       config,
		Layers:       []ocispec.Descriptor{layer},
		Subject:      &subject,
		Annotations:  map[string]string{"dev.sigstore.bundle.predicateType": signType},
	}
}

func classicTag(target signing.Target) string {
	return "sha256-" + target.Descriptor.Digest.Encoded() + ".sig"
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
