package hub

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/store"
)

// importIndexes knows the chunk indexes of files that an import need not read:
// those that this machine made, and those that the version which the tag points
// to names. So importing again, from wherever, makes the same version. It lives
// for one import, and keeps the context for that long.
type importIndexes struct {
	ctx   context.Context
	made  *store.ChunkIndexes // nil without a store
	repo  *remote.Repository
	named map[digest.Digest]ocispec.Descriptor
}

func (h *Hub) importIndexes(ctx context.Context, repo *remote.Repository, tag string) *importIndexes {
	x := &importIndexes{ctx: ctx, repo: repo}
	if h.opts.Store != nil {
		// A store without indexes has none to offer; that is no failure.
		x.made, _ = h.opts.Store.ChunkIndexes()
	}
	_, raw, err := repo.Manifest(ctx, tag)
	if err != nil {
		return x // most likely there is none yet
	}
	if m, err := mediatypes.ParseManifest(raw); err == nil {
		x.named = artifact.NamedIndexes(m)
	}
	return x
}

// Lookup implements [artifact.IndexCache].
func (x *importIndexes) Lookup(file digest.Digest) ([]byte, bool) {
	if x.made != nil {
		if raw, ok := x.made.Lookup(file); ok {
			return raw, true
		}
	}
	desc, ok := x.named[file]
	if !ok {
		return nil, false
	}
	raw, err := content.FetchAll(x.ctx, x.repo, desc)
	return raw, err == nil
}

// Record implements [artifact.IndexCache].
func (x *importIndexes) Record(file digest.Digest, index []byte) {
	if x.made != nil {
		x.made.Record(file, index)
	}
}
