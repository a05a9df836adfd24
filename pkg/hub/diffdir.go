package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// openDirSide takes a directory for what a push would make of it, without
// sending anything: with the same files left out, and the same chunk indexes.
func (h *Hub) openDirSide(ctx context.Context, dir string) (*openSide, error) {
	keep := &configKeeper{Target: artifact.Discard}
	packed, err := h.packLocal(ctx, dir, keep, nil)
	if secrets, ok := errors.AsType[*artifact.SecretsError](err); ok {
		// Nothing leaves this machine.
		var names []string
		for _, s := range secrets.Files {
			names = append(names, s.Path)
		}
		packed, err = h.packLocal(ctx, dir, keep, names)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	indexes := map[digest.Digest][]byte{}
	for _, x := range packed.Indexes {
		indexes[x.Layer] = x.Raw
	}
	s := &openSide{Side: diff.Side{Name: dir, Config: keep.config}, close: func() { _ = root.Close() }}
	if info, err := root.Stat("README.md"); err == nil && info.Mode().IsRegular() && info.Size() <= card.MaxBytes {
		if s.Card, err = root.ReadFile("README.md"); err != nil {
			s.close()
			return nil, err
		}
		s.Metrics = claimedMetrics(s.Card)
	}
	for _, f := range packed.Files {
		s.Files = append(s.Files, diff.File{
			Path: f.Path, Kind: f.Kind, Size: f.Size, Digest: f.Digest, Local: true,
			Open: func(context.Context) (diff.Reader, error) {
				r, err := root.Open(filepath.FromSlash(f.Path))
				if err != nil {
					return nil, err
				}
				return diff.Local(r, indexes[f.Digest]), nil
			},
		})
	}
	return s, nil
}

// packLocal packs a directory into nothing, with what this machine remembers of
// its files.
func (h *Hub) packLocal(ctx context.Context, dir string, dst transfer.Target, secrets []string) (*artifact.Packed, error) {
	opts := artifact.PackOptions{IncludeSecrets: secrets}
	if s := h.opts.Store; s != nil {
		if cache, err := s.StatCache(dir); err == nil {
			opts.Digests = cache
			if indexes, err := s.ChunkIndexes(); err == nil {
				opts.Indexes = indexes
			}
			defer func() {
				if err := cache.Save(); err != nil {
					h.warn("digests are not cached: %v", err)
				}
			}()
		}
	}
	return artifact.Pack(ctx, dir, dst, opts)
}

// A configKeeper is a target that keeps the config of what is packed, and nothing
// else.
type configKeeper struct {
	transfer.Target
	config []byte
}

// Push implements [transfer.Target].
func (k *configKeeper) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if desc.MediaType != mediatypes.ConfigModel {
		return k.Target.Push(ctx, desc, r)
	}
	raw, err := content.ReadAll(r, desc)
	if err != nil {
		return err
	}
	k.config = bytes.Clone(raw)
	return nil
}
