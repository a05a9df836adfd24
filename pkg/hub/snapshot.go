package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// MaxSnapshot bounds a snapshot of an index as it is in a registry, in bytes.
const MaxSnapshot = 2 << 30

// snapshotTitle is what a snapshot is called by clients that make files of layers.
const snapshotTitle = "index.jsonl.zst"

// SnapshotOptions adjusts [Hub.PushSnapshot].
type SnapshotOptions struct {
	// Keep, if not nil, chooses the repositories (HOST/NAME) that the snapshot
	// has.
	Keep func(repository string) bool

	// Signer signs the snapshot before a tag leads to it. Nil leaves it unsigned.
	Signer *signing.Signer
}

// A SnapshotPush says what [Hub.PushSnapshot] did.
type SnapshotPush struct {
	Reference    string `json:"reference"`
	Digest       string `json:"digest"`
	Tag          string `json:"tag"`
	Repositories int    `json:"repositories"`
	Versions     int    `json:"versions"`
	Size         int64  `json:"size"`    // of the layer, in bytes
	Created      bool   `json:"created"` // false when the tag led there before
	Signatures   int    `json:"signatures"`
}

// PushSnapshot writes what an index has to a tag. The same records give the same
// artifact: nothing is written when the tag leads to it already.
func (h *Hub) PushSnapshot(ctx context.Context, ix *index.Index, r ref.Reference, opts SnapshotOptions) (*SnapshotPush, error) {
	if isFixed(r) {
		return nil, fmt.Errorf("%w: push to %s: push to a tag; the digest comes from the index", ErrUsage, r)
	}
	tags, err := pushTags(&r, PushOptions{})
	if err != nil {
		return nil, err
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "snapshot-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	layer, stats, err := writeSnapshot(ctx, ix, file, opts.Keep)
	if err != nil {
		return nil, err
	}
	desc, manifest, err := pushSnapshotLayer(ctx, repo, layer, file)
	if err != nil {
		return nil, fmt.Errorf("push snapshot to %s: %w", r, err)
	}
	t := &target{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, raw: manifest, signed: desc}
	pushed := &PushResult{}
	if err := h.release(ctx, t, releasing{tags: tags, signer: opts.Signer}, pushed); err != nil {
		return nil, fmt.Errorf("push snapshot to %s: %w", r, err)
	}
	return &SnapshotPush{
		Reference: t.ref.String(), Digest: desc.Digest.String(), Tag: r.Tag,
		Repositories: stats.Repositories, Versions: stats.Versions, Size: layer.Size,
		Created: pushed.Created, Signatures: pushed.Signatures,
	}, nil
}

// writeSnapshot writes an index to a file, and describes that.
func writeSnapshot(ctx context.Context, ix *index.Index, file *os.File, keep func(string) bool) (ocispec.Descriptor, index.SnapshotStats, error) {
	sum := digest.Canonical.Digester()
	stats, err := ix.WriteSnapshot(ctx, io.MultiWriter(file, sum.Hash()), keep)
	if err != nil {
		return ocispec.Descriptor{}, stats, err
	}
	if stats.Versions == 0 {
		return ocispec.Descriptor{}, stats, fmt.Errorf("%w: the snapshot would be empty: no repository of the index is chosen", ErrUsage)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err == nil && size > MaxSnapshot {
		err = fmt.Errorf("snapshot of %d bytes: %w: nobody would read more than %d: choose fewer repositories", size, errdef.ErrSizeExceedsLimit, MaxSnapshot)
	}
	return ocispec.Descriptor{MediaType: mediatypes.LayerSearchIndex, Digest: sum.Digest(), Size: size}, stats, err
}

// pushSnapshotLayer writes the layer and a manifest of it, which has no tag yet.
func pushSnapshotLayer(ctx context.Context, repo *remote.Repository, layer ocispec.Descriptor, file *os.File) (ocispec.Descriptor, []byte, error) {
	there, err := repo.Exists(ctx, layer)
	if err != nil {
		return layer, nil, err
	}
	if !there {
		body := io.NewSectionReader(file, 0, layer.Size)
		if err := repo.Push(ctx, layer, body); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return layer, nil, err
		}
	}
	empty := ocispec.DescriptorEmptyJSON
	empty.Data = nil
	if err := repo.Push(ctx, empty, bytes.NewReader(ocispec.DescriptorEmptyJSON.Data)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return layer, nil, err
	}
	layer.Annotations = map[string]string{mediatypes.AnnotationTitle: snapshotTitle}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactSearchIndex,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer},
	}, json.Deterministic(true))
	if err != nil {
		return layer, nil, err
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	now, err := repo.Resolve(ctx, desc.Digest.String())
	if err == nil && now.Digest == desc.Digest {
		return desc, manifest, nil
	}
	return desc, manifest, repo.PushManifest(ctx, desc, manifest)
}

// FindSnapshotOptions adjusts [Hub.FindSnapshot].
type FindSnapshotOptions struct {
	// Trust must have signed the snapshot. Nil asks for no signature, and what
	// the snapshot says of trust is not believed.
	Trust *signing.Trust

	// AllowDowngrade accepts a tag that went back to an older snapshot.
	AllowDowngrade bool
}

// A Snapshot is an index in a registry.
type Snapshot struct {
	Reference string   `json:"reference"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"`     // of the layer, in bytes
	Verified  bool     `json:"verified"` // somebody who is trusted has signed it
	Signers   []Signer `json:"signers"`

	repo  *remote.Repository
	layer ocispec.Descriptor
}

// FindSnapshot resolves r to a snapshot, once, and checks who has signed it. None
// of its records is fetched.
func (h *Hub) FindSnapshot(ctx context.Context, r ref.Reference, opts FindSnapshotOptions) (*Snapshot, error) {
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("find snapshot: %w", err)
	}
	s := &Snapshot{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Signers: []Signer{}, repo: t.repo}
	if opts.Trust != nil {
		report, err := signing.Verify(ctx, t.repo, t.signing(), *opts.Trust)
		if err != nil {
			return nil, fmt.Errorf("verify snapshot %s: %w", t.ref, err)
		}
		if err := h.accept(ctx, r, t, acceptOptions{downgrade: opts.AllowDowngrade}); err != nil {
			return nil, fmt.Errorf("verify snapshot %s: %w", t.ref, err)
		}
		s.Verified, s.Signers = true, signers(report)
	}
	if s.layer, err = snapshotLayer(t.raw); err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", t.ref, err)
	}
	s.Size = s.layer.Size
	return s, nil
}

// snapshotLayer is the one layer of the artifact.
func snapshotLayer(manifest []byte) (ocispec.Descriptor, error) {
	m, err := mediatypes.ParseManifest(manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if m.ArtifactType != mediatypes.ArtifactSearchIndex || len(m.Layers) != 1 || m.Layers[0].MediaType != mediatypes.LayerSearchIndex {
		return ocispec.Descriptor{}, fmt.Errorf("%w: it is no snapshot of an index but %s", errdef.ErrInvalidMediaType, orUnknown(m.ArtifactType))
	}
	if n := m.Layers[0].Size; n > MaxSnapshot || n < 0 {
		return ocispec.Descriptor{}, fmt.Errorf("snapshot of %d bytes: %w", n, errdef.ErrSizeExceedsLimit)
	}
	return m.Layers[0], nil
}

// Into fetches the records to a file in the directory temp (empty: that of the
// system), and writes them to ix when the digest of all is right. Where nobody who
// is trusted has signed the snapshot, what it says of trust is left out
// ([index.Record.Distrust]). After an error ix has a part of it: give it one that
// can be thrown away.
func (s *Snapshot) Into(ctx context.Context, ix *index.Index, temp string) (index.SnapshotStats, error) {
	file, err := os.CreateTemp(temp, "snapshot-*")
	if err != nil {
		return index.SnapshotStats{}, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := s.fetch(ctx, file); err != nil {
		return index.SnapshotStats{}, fmt.Errorf("fetch snapshot %s: %w", s.Reference, err)
	}
	var stats index.SnapshotStats
	err = ix.Load(ctx, func(yield func(index.Record, error) bool) {
		stats, err = index.ReadSnapshot(ctx, file, func(records []index.Record) error {
			for i := range records {
				if err := s.check(&records[i]); err != nil {
					return err
				}
				if !yield(records[i], nil) {
					return errStopped
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(index.Record{}, err)
		}
	})
	if err != nil {
		return stats, fmt.Errorf("read snapshot %s: %w", s.Reference, err)
	}
	return stats, nil
}

// errStopped ends the reading of a snapshot whose records nobody takes any more.
var errStopped = errors.New("stopped")

// fetch copies the layer to a file, and goes back to the beginning of it.
func (s *Snapshot) fetch(ctx context.Context, file *os.File) error {
	rc, err := s.repo.Fetch(ctx, s.layer)
	if err != nil {
		return err
	}
	defer rc.Close()
	body := content.NewVerifyReader(rc, s.layer)
	if _, err := io.Copy(file, body); err != nil {
		return err
	}
	if err := body.Verify(); err != nil {
		return err
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}

// check refuses a record of what cannot be named, and takes from the others what
// nobody vouches for.
func (s *Snapshot) check(r *index.Record) error {
	name, err := ref.Parse(r.Repository)
	if err != nil || name.Name() != r.Repository || name.Tag != "" || name.Digest != "" {
		return fmt.Errorf("%w: %q is no repository", index.ErrSnapshot, r.Repository)
	}
	if err := digest.Digest(r.Digest).Validate(); err != nil {
		return fmt.Errorf("%w: %w", index.ErrSnapshot, err)
	}
	if !s.Verified {
		r.Distrust()
	}
	return nil
}
