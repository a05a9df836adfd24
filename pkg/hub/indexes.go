package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/store"
)

// hold keeps a version in the registry whatever happens to the tags that
// people move, and with it the chunk indexes that its manifest names. They go
// first: where the keep-tag is there, so are they, and nothing need be asked.
func (h *Hub) hold(ctx context.Context, t *target) error {
	tag := keepTag(t.desc.Digest)
	if len(t.indexes) > 0 {
		now, err := t.repo.Resolve(ctx, tag)
		if err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return fmt.Errorf("look at tag %s: %w", tag, err)
		}
		if err == nil && now.Digest == t.desc.Digest {
			return nil
		}
		if err := pushIndexes(ctx, t); err != nil {
			if ctx.Err() != nil {
				return err
			}
			h.warn("%s: the next versions cannot be pulled by their differences from this one: %v", t.ref, err)
		}
	}
	_, err := moveTag(ctx, t.repo, t.desc, tag)
	return err
}

func pushIndexes(ctx context.Context, t *target) error {
	raw, err := artifact.PushIndexes(ctx, t.repo, t.desc, t.indexes)
	if err != nil {
		return err
	}
	return t.repo.PushReferrer(ctx, raw, t.desc)
}

// know notes where the files are that a version was made of, so that pulls can
// take bytes from them.
func (h *Hub) know(dir string, packed *artifact.Packed) {
	if h.opts.Store == nil || len(packed.Indexes) == 0 {
		return
	}
	indexes, err := h.opts.Store.ChunkIndexes()
	if err != nil {
		return // what others can write to is not used
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return
	}
	of := make(map[digest.Digest]digest.Digest, len(packed.Indexes))
	for _, x := range packed.Indexes {
		of[x.Layer] = x.Desc.Digest
	}
	var known []store.KnownFile
	for _, f := range packed.Files {
		name, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			continue
		}
		info, err := os.Lstat(name)
		if err != nil || info.Size() != f.Size || of[f.Digest] == "" {
			continue // such as a shard that was cut on the way
		}
		if k, ok := store.NewKnownFile(name, info, of[f.Digest]); ok {
			known = append(known, k)
		}
	}
	indexes.Know(known...)
}
