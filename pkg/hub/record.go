package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A recorded is the record of a repository, and the manifest that it is in.
type recorded struct {
	record.Record
	desc ocispec.Descriptor // its digest is empty if there is none
	raw  []byte
}

// record reads what a repository says about itself: the zero record where it says
// nothing. It costs one request, once in the life of h.
func (h *Hub) record(ctx context.Context, repo *remote.Repository) (*record.Record, error) {
	r, err := h.recorded(ctx, repo)
	if err != nil {
		return nil, err
	}
	return &r.Record, nil
}

func (h *Hub) recorded(ctx context.Context, repo *remote.Repository) (*recorded, error) {
	if repo.InProcess() { // a copy says nothing about the registry that it is of
		return readRecordOf(ctx, repo)
	}
	for {
		if known, ok := h.records.Load(repo.Name()); ok {
			return known.(*recorded), nil
		}
		done := make(chan struct{})
		other, busy := h.reading.LoadOrStore(repo.Name(), done)
		if !busy {
			r, err := readRecordOf(ctx, repo)
			if err == nil {
				h.records.Store(repo.Name(), r)
			}
			h.reading.Delete(repo.Name())
			close(done)
			return r, err
		}
		select { // and if that read fails, this one is next
		case <-other.(chan struct{}):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func readRecordOf(ctx context.Context, repo *remote.Repository) (*recorded, error) {
	r, err := readRecord(ctx, repo)
	if err != nil {
		return nil, fmt.Errorf("read record of %s: %w", repo.Name(), err)
	}
	return r, nil
}

func readRecord(ctx context.Context, repo *remote.Repository) (*recorded, error) {
	desc, raw, err := repo.Manifest(ctx, record.Tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return &recorded{}, nil
	}
	if err != nil {
		return nil, err
	}
	layer, err := record.Layer(raw)
	if err != nil {
		return nil, err
	}
	doc := layer.Data
	if len(doc) == 0 && layer.Size > 0 {
		if doc, err = content.FetchAll(ctx, repo, layer); err != nil {
			return nil, err
		}
	}
	r, err := record.Parse(doc)
	if err != nil {
		return nil, err
	}
	return &recorded{Record: r, desc: desc, raw: raw}, nil
}

// A RecordResult is the record of a repository.
type RecordResult struct {
	Repository string         `json:"repository"` // host/name
	Digest     string         `json:"digest"`     // of its manifest; empty if there is none
	Changed    bool           `json:"changed"`    // by this call
	Signatures int            `json:"signatures"` // made now
	Document   jsontext.Value `json:"record"`

	// Record is Document, read.
	Record *record.Record `json:"-"`
}

// Record shows what the repository of r says about itself.
func (h *Hub) Record(ctx context.Context, r ref.Reference) (*RecordResult, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	now, err := h.recorded(ctx, repo)
	if err != nil {
		return nil, err
	}
	return &RecordResult{Repository: repo.Name(), Digest: now.desc.Digest.String(), Record: &now.Record, Document: now.Encode()}, nil
}

// SetRecord changes what the repository of r says about itself: change is called
// with a copy of what it says now. With a signer, which may be nil, the record is
// signed before the tag leads to it. Another writer of the same moment is an error
// that wraps [ErrConflict].
func (h *Hub) SetRecord(ctx context.Context, r ref.Reference, s *signing.Signer, change func(*record.Record) error) (*RecordResult, error) {
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	h.records.Delete(repo.Name()) // what is changed must be what is there
	was, err := h.recorded(ctx, repo)
	if err != nil {
		return nil, err
	}
	next, err := record.Parse(was.Encode()) // a copy that shares nothing
	if err != nil {
		return nil, fmt.Errorf("change record of %s: %w", repo.Name(), err)
	}
	if err := change(&next); err != nil {
		return nil, err
	}
	if err := next.Check(); err != nil {
		return nil, fmt.Errorf("%w: change record of %s: %w", ErrUsage, repo.Name(), err)
	}
	res := &RecordResult{Repository: repo.Name(), Digest: was.desc.Digest.String(), Record: &next, Document: next.Encode()}
	if was.desc.Digest != "" && next.Same(&was.Record) && s == nil {
		return res, nil
	}
	desc := was.desc
	if was.desc.Digest == "" || !next.Same(&was.Record) {
		if desc, err = writeRecord(ctx, repo, next, was.desc.Digest); err != nil {
			return nil, fmt.Errorf("write record of %s: %w", repo.Name(), err)
		}
	}
	res.Digest = desc.Digest.String()
	if s != nil {
		t := &target{repo: repo, ref: r.WithTag(record.Tag).WithDigest(desc.Digest), desc: desc, signed: desc}
		if res.Signatures, err = h.sign(ctx, t, s, signing.SignOptions{}); err != nil {
			return nil, err
		}
	}
	res.Changed, err = replaceTag(ctx, repo, record.Tag, was.desc.Digest, desc)
	h.records.Delete(repo.Name())
	return res, err
}

// writeRecord writes a record by its digest.
func writeRecord(ctx context.Context, repo *remote.Repository, r record.Record, parent digest.Digest) (ocispec.Descriptor, error) {
	raw, blob, err := r.Manifest(parent)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return pushSmall(ctx, repo, raw, content.NewDescriptorFromBytes(record.ArtifactType, blob), blob)
}

// pushSmall writes a manifest without a tag, after the empty blob and the one that
// it names, if any.
func pushSmall(ctx context.Context, repo *remote.Repository, manifest []byte, layer ocispec.Descriptor, blob []byte) (ocispec.Descriptor, error) {
	empty := ocispec.DescriptorEmptyJSON
	blobs := []ocispec.Descriptor{{MediaType: empty.MediaType, Digest: empty.Digest, Size: empty.Size}, layer}
	for i, raw := range [][]byte{empty.Data, blob} {
		if raw == nil {
			continue
		}
		if err := repo.Push(ctx, blobs[i], bytes.NewReader(raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return ocispec.Descriptor{}, err
		}
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	return desc, repo.PushManifest(ctx, desc, manifest)
}

// defaultTag is what a reference to a repository means that names no version.
func (h *Hub) defaultTag(ctx context.Context, repo *remote.Repository) (string, error) {
	r, err := h.record(ctx, repo)
	if err != nil {
		return "", err
	}
	if r.DefaultBranch != "" {
		return r.DefaultBranch, nil
	}
	return DefaultTag, nil
}

// pushInto completes a reference that is pushed to and names no tag, and lists the tags
// that are to be set.
func (h *Hub) pushInto(ctx context.Context, repo *remote.Repository, r *ref.Reference, opts PushOptions) (tags []string, err error) {
	if r.Tag == "" && opts.Branch == "" && !opts.DryRun {
		if r.Tag, err = h.defaultTag(ctx, repo); err != nil {
			return nil, err
		}
	}
	return pushTags(r, opts)
}
