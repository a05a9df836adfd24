package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	proofVersion = 1

	// maxProofBlob and maxProof bound what a pull keeps beside the files,
	// in bytes: the largest index of archives, and all of it.
	maxProofBlob = 32 << 20
	maxProof     = 64 << 20
)

// A proof is the part of a repository that tells, without it, who vouched
// for a version and which files it has. Nobody need trust it: it is verified as
// the repository would be.
type proof struct {
	Version    int    `json:"version"`
	Repository string `json:"repository"`

	// Signed is the manifest or index that signatures are about.
	Signed ocispec.Descriptor `json:"signed"`

	// Raw says that the version was taken for what it is made of.
	Raw bool `json:"raw,omitzero"`

	Attached []ocispec.Descriptor          `json:"referrers"`
	Tags     map[string]ocispec.Descriptor `json:"tags"`
	Blobs    map[digest.Digest][]byte      `json:"blobs"`
}

// parseProof reads what a pull has kept.
func parseProof(raw []byte) (*proof, error) {
	if len(raw) > artifact.MaxEvidenceBytes {
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), artifact.MaxEvidenceBytes)
	}
	var e proof
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	if e.Version != proofVersion {
		return nil, fmt.Errorf("version %d is not known", e.Version)
	}
	return &e, nil
}

// Fetch implements content.Fetcher. Who reads compares what is read with desc.
func (e *proof) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	raw, ok := e.Blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("%.80q is not kept: %w", desc.Digest, errdef.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// Manifest implements [signing.Reader].
func (e *proof) Manifest(_ context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, ok := e.Tags[reference]
	if !ok && reference == e.Signed.Digest.String() {
		desc, ok = e.Signed, true
	}
	raw, kept := e.Blobs[desc.Digest]
	switch {
	case !ok || !kept:
		return ocispec.Descriptor{}, nil, fmt.Errorf("%.80q is not kept: %w", reference, errdef.ErrNotFound)
	case desc.Digest.Validate() != nil || desc.Digest.Algorithm().FromBytes(raw) != desc.Digest || len(raw) > mediatypes.MaxManifestBytes:
		return ocispec.Descriptor{}, nil, fmt.Errorf("%.80q: %w: its bytes are another's", reference, mediatypes.ErrMalformed)
	}
	desc.Size = int64(len(raw))
	return desc, raw, nil
}

// Referrers implements [signing.Reader].
func (e *proof) Referrers(_ context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	var list []ocispec.Descriptor
	for _, r := range e.Attached {
		m, err := mediatypes.ParseManifest(e.Blobs[r.Digest])
		if err != nil || m.Subject == nil || m.Subject.Digest != desc.Digest || artifactType != "" && r.ArtifactType != artifactType {
			continue
		}
		r.Annotations = m.Annotations // as a registry lists them
		list = append(list, r)
	}
	return list, nil
}

// A witness is a repository that is read, and remembers what it answered.
type witness struct {
	signing.Reader

	mu   sync.Mutex
	size int
	seen proof
}

func newWitness(repo signing.Reader) *witness {
	return &witness{Reader: repo, seen: proof{
		Version: proofVersion, Tags: map[string]ocispec.Descriptor{}, Blobs: map[digest.Digest][]byte{},
	}}
}

// Manifest implements [signing.Reader].
func (w *witness) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, raw, err := w.Reader.Manifest(ctx, reference)
	if err == nil {
		w.mu.Lock()
		w.seen.Tags[reference] = plain(desc)
		w.mu.Unlock()
		w.keep(desc.Digest, raw)
	}
	return desc, raw, err
}

// Referrers implements [signing.Reader].
func (w *witness) Referrers(ctx context.Context, desc ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	list, err := w.Reader.Referrers(ctx, desc, artifactType)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen.Attached = append(w.seen.Attached, list...)
	}
	return list, err
}

// Fetch implements content.Fetcher.
func (w *witness) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := w.Reader.Fetch(ctx, desc)
	if err != nil || desc.Size < 0 || desc.Size > maxProofBlob {
		return rc, err
	}
	return &overheard{ReadCloser: rc, witness: w, desc: desc}, nil
}

func (w *witness) keep(d digest.Digest, raw []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.seen.Blobs[d]; there || w.size+len(raw) > maxProof {
		return
	}
	w.size += len(raw)
	w.seen.Blobs[d] = bytes.Clone(raw)
}

// overheard is a blob being read through a witness, who keeps it if it was read
// to the end and is what it was asked for.
type overheard struct {
	io.ReadCloser
	witness *witness
	desc    ocispec.Descriptor
	read    bytes.Buffer
}

// Read implements io.Reader.
func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if int64(o.read.Len()+n) <= o.desc.Size {
		o.read.Write(p[:n])
	}
	return n, err
}

// Close implements io.Closer.
func (o *overheard) Close() error {
	d := o.desc.Digest
	if int64(o.read.Len()) == o.desc.Size && d.Validate() == nil && d.Algorithm().FromBytes(o.read.Bytes()) == d {
		o.witness.keep(d, o.read.Bytes())
	}
	return o.ReadCloser.Close()
}

func plain(desc ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, ArtifactType: desc.ArtifactType}
}

// proof returns what is to be kept of what t's witness saw: what counted, and
// what the artifact a was opened with. The rest is whatever others have attached.
func (t *target) proof(ctx context.Context, a *artifact.Artifact, raw bool) ([]byte, error) {
	w := t.witness
	if t.signed.Digest != t.desc.Digest { // the index that the version was chosen from
		if _, _, err := w.Manifest(ctx, t.signed.Digest.String()); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e := proof{
		Version: proofVersion, Repository: t.ref.Name(), Signed: plain(t.signed), Raw: raw,
		Tags: map[string]ocispec.Descriptor{}, Blobs: map[digest.Digest][]byte{},
	}
	w.signatures(&e, t.vouched)
	for _, d := range append(a.Manifest.Layers, a.Manifest.Config, t.signed) {
		if blob, ok := w.seen.Blobs[d.Digest]; ok && d.Digest != t.desc.Digest {
			e.Blobs[d.Digest] = blob
		}
	}
	return json.Marshal(e, json.Deterministic(true))
}

// signatures adds those that counted.
func (w *witness) signatures(e *proof, vouched []ocispec.Descriptor) {
	counted := make(map[digest.Digest]bool)
	for _, v := range vouched {
		counted[v.Digest] = true
	}
	take := func(d digest.Digest) {
		if raw, ok := w.seen.Blobs[d]; ok {
			e.Blobs[d] = raw
		}
	}
	for _, r := range w.seen.Attached {
		layers := layersOf(w.seen.Blobs[r.Digest])
		if !counted[r.Digest] && !slices.ContainsFunc(layers, func(l ocispec.Descriptor) bool { return counted[l.Digest] }) {
			continue
		}
		e.Attached = append(e.Attached, plain(r))
		take(r.Digest)
		for _, l := range layers {
			take(l.Digest)
		}
	}
	for tag, desc := range w.seen.Tags {
		for _, l := range layersOf(w.seen.Blobs[desc.Digest]) {
			if counted[l.Digest] {
				e.Tags[tag] = desc
				take(desc.Digest)
				take(l.Digest)
			}
		}
	}
	slices.SortFunc(e.Attached, func(x, y ocispec.Descriptor) int { return strings.Compare(string(x.Digest), string(y.Digest)) })
	e.Attached = slices.CompactFunc(e.Attached, func(x, y ocispec.Descriptor) bool { return x.Digest == y.Digest })
}

// reader is the repository of t, for whoever looks for signatures.
func (t *target) reader() signing.Reader {
	if t.witness != nil {
		return t.witness
	}
	return t.place()
}

// vouch notes whose signatures counted.
func (t *target) vouch(signers ...signing.Signatory) {
	for _, s := range signers {
		t.vouched = append(t.vouched, s.Descriptor)
	}
}

// layersOf are the layers of a manifest, or nothing of what is none.
func layersOf(raw []byte) []ocispec.Descriptor {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return nil
	}
	return m.Layers
}

// openKept opens the version that a directory says it has, from what was kept
// with it alone.
func openKept(ctx context.Context, o *artifact.Origin, e *proof) (*artifact.Artifact, error) {
	with := *e
	with.Blobs = maps.Clone(e.Blobs)
	if with.Blobs == nil {
		with.Blobs = map[digest.Digest][]byte{}
	}
	with.Blobs[o.Descriptor.Digest] = o.Manifest
	if e.Raw {
		return artifact.OpenRaw(ctx, &with, o.Descriptor)
	}
	return artifact.OpenWith(ctx, &with, o.Descriptor, artifact.OpenOptions{AllowCollisions: true})
}

// bound makes sure that what was signed is the version of the directory, or an
// index that lists it.
func (e *proof) bound(ctx context.Context, version digest.Digest) error {
	if e.Signed.Digest == version {
		return nil
	}
	_, raw, err := e.Manifest(ctx, e.Signed.Digest.String())
	if err != nil {
		return fmt.Errorf("what was signed is another version, %.80q: %w", e.Signed.Digest, err)
	}
	index, err := mediatypes.ParseIndex(raw)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(index.Manifests, func(m ocispec.Descriptor) bool { return m.Digest == version }) {
		return fmt.Errorf("what was signed is another version, %.80q", e.Signed.Digest)
	}
	return nil
}
