package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

const (
	maxIndexBytes = 32 << 20
	maxReference  = 1 << 10
)

// An Entry is one line of the list of tags.
type Entry struct {
	// Reference is the tag, or "" for content that only its digest names.
	Reference string

	// Descriptor is what it stands for.
	Descriptor ocispec.Descriptor
}

// Tag gives content of the store a name, in place of what had it. The digest of
// desc itself as reference lists it without a name, which keeps it and all it
// points to from [Store.Prune].
func (s *Store) Tag(ctx context.Context, desc ocispec.Descriptor, reference string) error {
	if err := checkReference(reference); err != nil {
		return err
	}
	exists, err := s.Exists(ctx, desc)
	if err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("tag %q: blob %s: %w", reference, desc.Digest, errdef.ErrNotFound)
	}
	entry := desc
	entry.Annotations = maps.Clone(desc.Annotations)
	delete(entry.Annotations, ocispec.AnnotationRefName)
	if reference != desc.Digest.String() {
		if entry.Annotations == nil {
			entry.Annotations = make(map[string]string, 1)
		}
		entry.Annotations[ocispec.AnnotationRefName] = reference
	}
	return s.changeIndex(ctx, func(list []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool {
			if refName(entry) != "" && refName(d) == refName(entry) {
				return true
			}
			// An entry without name says nothing that one with a name does not.
			return refName(d) == "" && d.Digest == entry.Digest
		})
		return append(list, entry), nil
	})
}

// Untag takes a name, or a nameless entry by its digest, from the list. The
// content stays until [Store.Prune]. A name that is not there is an error that
// wraps [errdef.ErrNotFound].
func (s *Store) Untag(ctx context.Context, reference string) error {
	if err := checkReference(reference); err != nil {
		return err
	}
	return s.changeIndex(ctx, func(list []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		n := len(list)
		list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool {
			name := refName(d)
			return name == reference || name == "" && d.Digest.String() == reference
		})
		if len(list) == n {
			return nil, fmt.Errorf("untag %q: %w", reference, errdef.ErrNotFound)
		}
		return list, nil
	})
}

// Resolve returns what a tag, or the digest of a listed entry, stands for.
func (s *Store) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if err := checkReference(reference); err != nil {
		return ocispec.Descriptor{}, err
	}
	for e, err := range s.References(ctx) {
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		if e.Reference == reference {
			return e.Descriptor, nil
		}
	}
	return s.resolveDigest(ctx, reference)
}

// resolveDigest returns the entry that has the reference as its digest.
func (s *Store) resolveDigest(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	for e, err := range s.References(ctx) {
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		if e.Descriptor.Digest == digest.Digest(reference) {
			desc := e.Descriptor
			desc.Annotations = maps.Clone(desc.Annotations)
			delete(desc.Annotations, ocispec.AnnotationRefName)
			return desc, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("resolve %q: %w", reference, errdef.ErrNotFound)
}

// References lists what index.json names, in its order.
func (s *Store) References(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(Entry{}, err)
			return
		}
		index, err := s.readIndex()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, desc := range index.Manifests {
			if !yield(Entry{refName(desc), desc}, nil) {
				return
			}
		}
	}
}

func refName(desc ocispec.Descriptor) string { return desc.Annotations[ocispec.AnnotationRefName] }

func checkReference(reference string) error {
	if reference == "" {
		return errdef.ErrMissingReference
	}
	if len(reference) > maxReference {
		return fmt.Errorf("reference of %d bytes: %w", len(reference), errdef.ErrInvalidReference)
	}
	return nil
}

// changeIndex gives change the entries of index.json, and writes what it
// returns. No other process writes between the two.
func (s *Store) changeIndex(ctx context.Context, change func([]ocispec.Descriptor) ([]ocispec.Descriptor, error)) error {
	unlock, err := s.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	index.Manifests, err = change(index.Manifests)
	if err != nil {
		return err
	}
	return s.writeIndex(index)
}

// writeIndex replaces index.json. The caller holds its lock.
func (s *Store) writeIndex(index ocispec.Index) error {
	raw, err := json.Marshal(index, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if len(raw) > maxIndexBytes {
		return fmt.Errorf("write index: %d bytes are more than %d: %w", len(raw), maxIndexBytes, errdef.ErrSizeExceedsLimit)
	}
	if err := s.replaceFile(indexName, raw, 0o644); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func (s *Store) readIndex() (ocispec.Index, error) {
	raw, err := readFile(s.root, indexName, maxIndexBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return parseIndex([]byte(`{"schemaVersion":2,"manifests":[]}`))
	}
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("read index: %w", err)
	}
	return parseIndex(raw)
}

// parseIndex reads index.json (image-layout.md, "index.json file").
func parseIndex(raw []byte) (ocispec.Index, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}}
	if err := json.Unmarshal(raw, &index, jsontext.AllowDuplicateNames(false)); err != nil {
		return ocispec.Index{}, fmt.Errorf("%w: parse index: %w", ErrCorrupt, err)
	}
	if index.SchemaVersion != 2 {
		return ocispec.Index{}, fmt.Errorf("%w: index has schemaVersion %d", ErrCorrupt, index.SchemaVersion)
	}
	for _, desc := range index.Manifests {
		if err := desc.Digest.Validate(); err != nil || desc.Size < 0 || desc.Size > maxBlobSize {
			return ocispec.Index{}, fmt.Errorf("%w: index has entry %q of size %d", ErrCorrupt, string(desc.Digest), desc.Size)
		}
	}
	return index, nil
}
