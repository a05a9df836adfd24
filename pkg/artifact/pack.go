package artifact

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// A Layout says how files become layers.
type Layout int

// The layouts.
const (
	// LayoutAuto makes one raw layer of each file, until there are more than
	// 500 files: then small files that are no weights share tar layers.
	LayoutAuto Layout = iota

	// LayoutRaw makes one raw layer of each file however many there are, up
	// to what a manifest may list.
	LayoutRaw
)

// A DigestCache remembers the digests of files on this machine. It must not
// answer for a file that has changed since it was recorded. It is called from
// several goroutines at once.
type DigestCache interface {
	Lookup(fi fs.FileInfo) (digest.Digest, bool)
	Record(fi fs.FileInfo, dgst digest.Digest)
}

// PackOptions adjusts [Pack]. The zero value packs every file that is not
// ignored.
type PackOptions struct {
	// Workers bounds the files hashed at once. Zero means GOMAXPROCS.
	Workers int

	// Uploads bounds the blobs sent at once. Zero means 4.
	Uploads int

	// Layout says how files become layers.
	Layout Layout

	// Reshard, unless zero, is the size in bytes over which files of weights
	// are cut into shards that loaders read, as package shard does it. The
	// files themselves stay as they are. [PackFiles] cuts nothing.
	Reshard int64

	// Variants, if not nil, is asked which codings of the weights are made
	// beside the version, when that is in the target. See [PushVariants].
	Variants func(ctx context.Context, version ocispec.Descriptor) ([]Variant, error)

	// Annotations are added to the manifest, over those that the files give.
	Annotations map[string]string

	// Created is written as the creation time unless zero. It is part of the
	// manifest and so of its digest.
	Created time.Time

	// Only, if not nil, tells which files of the directory are packed, of those
	// that are not ignored. [PackFiles] does not ask.
	Only func(path string) bool

	// IncludeSecrets names files, by their paths below the directory, that
	// are packed although they look like secrets.
	IncludeSecrets []string

	// MountFrom, if not nil, names repositories of the target's registry
	// that may hold a blob. It is called from several goroutines.
	MountFrom func(dgst digest.Digest) []string

	// Check, if not nil, is shown the layers before the files are read, and
	// may refuse them.
	Check func(layers []Plan) error

	// Examine, if not nil, is shown the files before anything is sent, and may
	// refuse them. Archives that are taken over as they are, are among them
	// unless they are compressed.
	Examine func(ctx context.Context, files []format.File) error

	// Likely, if not nil, tells of a file of size bytes whether the target may
	// have it already. A large file of which that is not so, and whose digest
	// is not known, is sent while it is hashed, if the target is a
	// [transfer.Streamer]; others are hashed first, and only sent if they are
	// not there and cannot be mounted.
	Likely func(path string, size int64) bool

	// Digests, if not nil, spares reading files whose digest it knows.
	Digests DigestCache

	// Indexes, if not nil, spares reading files that Digests knows once more,
	// for the index of their chunks.
	Indexes IndexCache

	// Commit, if not nil, is shown the manifest before it is written, when all
	// layers are in the target. It may add annotations, or return the bytes of
	// another manifest that is in the target and says the same: that one is the
	// result then, and none is written.
	Commit func(made Made) (same []byte, err error)

	// Observe, if not nil, is told what happens to each blob.
	Observe transfer.Observer
}

// Made is what [PackOptions].Commit is shown.
type Made struct {
	Manifest *ocispec.Manifest // to which annotations may be added
	Files    []File            // as in [Packed]
	Model    *format.Model     // likewise

	// Dated gives the manifest of another creation time.
	Dated func(created time.Time) (ocispec.Manifest, error)
}

// Packed is what [Pack] made.
type Packed struct {
	Descriptor ocispec.Descriptor // of the manifest
	Manifest   []byte
	Files      []File   // sorted by path
	Notes      []string // what a user should know: files left out, links followed

	// Model is what the files say of the model.
	Model *format.Model

	// Indexes are those of the large files of weights. The manifest names
	// them; nothing of them has been pushed, see [PushIndexes].
	Indexes []ChunkIndex

	// Unindexed is how many files have a chunk index that is not known, since
	// they were not read: [PackFiles] with [Discard]. Unless it is zero, the
	// descriptor is not the one that the artifact will have.
	Unindexed int

	// Variants are the codings that were made of the layers.
	Variants []CodedLayer

	// Bytes of the blobs that were sent, linked from another repository, and
	// found to be there.
	Uploaded, Mounted, Skipped int64
}

// Pack makes an artifact of the files in directory dir and pushes it to dst:
// the layers, the config, then the manifest, so that whoever finds the manifest
// finds the rest. It tags nothing. What is there already is not sent again.
//
// Files are read through links only where these stay inside dir. A file that
// changes while it is read is an error that wraps [ErrChanged], one that looks
// like a secret is a *[SecretsError], and anything that is neither file,
// directory nor link wraps [ErrUnsafe]. These are found before anything is
// sent, but for a change that happens later.
func Pack(ctx context.Context, dir string, dst transfer.Target, opts PackOptions) (*Packed, error) {
	p, err := pack(ctx, dir, dst, opts)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	return p, nil
}

func pack(ctx context.Context, dir string, dst transfer.Target, opts PackOptions) (*Packed, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p := &packer{root: root, dst: dst, opts: opts, pushed: make(map[digest.Digest]bool)}
	return p.pack(ctx)
}

func (p *packer) pack(ctx context.Context) (*Packed, error) {
	if err := p.gather(ctx); err != nil {
		return nil, err
	}
	if err := p.describe(ctx); err != nil {
		return nil, err
	}
	var err error
	if p.layers, err = planLayers(p.root, p.files, p.opts.Layout); err != nil {
		return nil, err
	}
	if err := p.preflight(); err != nil {
		return nil, err
	}
	if err := p.moveLayers(ctx); err != nil {
		return nil, err
	}
	if err := p.moveIndex(ctx); err != nil {
		return nil, err
	}
	if err := p.finish(ctx); err != nil {
		return nil, err
	}
	if err := p.code(ctx); err != nil {
		return nil, err
	}
	return &p.out, nil
}

// A packer packs one directory once.
type packer struct {
	root   *os.Root // nil when inputs are packed
	inputs []Input
	dst    transfer.Target
	opts   PackOptions
	files  []source
	layers []*layer
	model  *format.Model
	card   *card.Card // nil without a README

	mu     sync.Mutex
	pushed map[digest.Digest]bool // or being pushed
	out    Packed
}

// gather finds the files.
func (p *packer) gather(ctx context.Context) error {
	w, err := p.walk(ctx)
	if err != nil {
		return err
	}
	if len(w.files) == 0 {
		return ErrEmpty
	}
	secrets, err := w.examine(ctx)
	if err != nil {
		return err
	}
	secrets = slices.DeleteFunc(secrets, func(s Secret) bool { return slices.Contains(p.opts.IncludeSecrets, s.Path) })
	if len(secrets) > 0 {
		return &SecretsError{Files: secrets}
	}
	p.files = w.files
	p.out.Notes = w.notes()
	return nil
}

// walk lists the files, without those that are ignored.
func (p *packer) walk(ctx context.Context) (*walker, error) {
	if p.root == nil {
		return p.walkInputs(ctx)
	}
	text, err := readIgnoreFile(p.root)
	if err != nil {
		return nil, err
	}
	w := &walker{root: p.root, ignore: newIgnorer(text, p.opts.IncludeSecrets)}
	if err := w.list(ctx); err != nil {
		return nil, err
	}
	if only := p.opts.Only; only != nil {
		w.files = slices.DeleteFunc(w.files, func(f source) bool { return !only(f.path) })
	}
	if p.opts.Reshard > 0 {
		err = w.reshard(ctx, p.opts.Reshard)
	}
	return w, err
}

// moveIndex adds the index of the archives, if there are any, as a layer.
func (p *packer) moveIndex(ctx context.Context) error {
	var x tarIndex
	for _, l := range p.layers {
		if l.offsets == nil {
			continue
		}
		entry := indexedLayer{Digest: l.desc.Digest}
		for i, f := range l.files {
			entry.Files = append(entry.Files, indexedFile{Path: f.path, Offset: l.offsets[i], Size: f.info.Size(), Digest: l.digests[i]})
		}
		x.Layers = append(x.Layers, entry)
	}
	if len(x.Layers) == 0 {
		return nil
	}
	slices.SortFunc(x.Layers, func(a, b indexedLayer) int { return strings.Compare(a.Files[0].Path, b.Files[0].Path) })
	raw, err := x.marshal()
	if err != nil {
		return err
	}
	desc := content.NewDescriptorFromBytes(mediatypes.LayerType(mediatypes.KindDoc, mediatypes.Raw), raw)
	desc.Annotations = map[string]string{
		mediatypes.AnnotationFilepath: indexPath, mediatypes.AnnotationTitle: indexPath, mediatypes.AnnotationTarIndex: indexVersion,
	}
	p.layers = append(p.layers, &layer{path: indexPath, title: indexPath, desc: desc})
	return p.pushBytes(ctx, desc, indexPath, raw)
}

// finish pushes config and manifest.
func (p *packer) finish(ctx context.Context) error {
	slices.SortFunc(p.layers, func(a, b *layer) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.title, b.title))
	})
	for _, l := range p.layers {
		p.list(l)
		p.listIndex(l)
	}
	slices.SortFunc(p.out.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	m, config, err := p.manifest(p.opts.Created)
	if err != nil {
		return err
	}
	if p.opts.Commit != nil {
		same, err := p.opts.Commit(Made{Manifest: &m, Files: p.out.Files, Model: p.model, Dated: func(created time.Time) (ocispec.Manifest, error) {
			notes := p.out.Notes
			m, _, err := p.manifest(created)
			p.out.Notes = notes // those of m are told already
			return m, err
		}})
		if err != nil {
			return err
		}
		if same != nil {
			p.out.Descriptor, p.out.Manifest = content.NewDescriptorFromBytes(m.MediaType, same), same
			p.out.Descriptor.ArtifactType = m.ArtifactType
			return nil
		}
	}
	if err := p.pushBytes(ctx, m.Config, "config", config); err != nil {
		return err
	}
	return p.pushManifest(ctx, m)
}

// manifest is what lists all layers, and the config that it names, of a model that
// was made at a time; zero says nothing of time.
func (p *packer) manifest(created time.Time) (m ocispec.Manifest, config []byte, err error) {
	if config, err = p.config(created); err != nil {
		return m, nil, err
	}
	m = ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: mediatypes.ArtifactModel, Config: content.NewDescriptorFromBytes(mediatypes.ConfigModel, config),
	}
	for _, l := range p.layers {
		m.Layers = append(m.Layers, l.desc)
	}
	m.Annotations, err = p.annotations(created)
	return m, config, err
}

// list adds the files of a layer to the result.
func (p *packer) list(l *layer) {
	for i, f := range l.files {
		file := File{
			Path: f.path, Kind: l.kind, MediaType: l.desc.MediaType, Digest: l.digests[i], Size: f.info.Size(),
			Mode: mode, Layer: l.desc, Encoding: l.encoding,
		}
		if l.offsets != nil {
			file.Offset = l.offsets[i]
		}
		file.Archive = f.input.archived()
		p.out.Files = append(p.out.Files, file)
	}
}

func (p *packer) pushManifest(ctx context.Context, m ocispec.Manifest) error {
	raw, err := encodeJSON(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := p.checkManifest(raw); err != nil {
		return err
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, raw)
	desc.ArtifactType = m.ArtifactType
	p.out.Descriptor, p.out.Manifest = desc, raw
	plain := ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	exists, err := p.dst.Exists(ctx, plain)
	if err != nil {
		return fmt.Errorf("push manifest: %w", err)
	}
	if exists {
		return nil
	}
	if err := p.dst.Push(ctx, plain, bytes.NewReader(raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return fmt.Errorf("push manifest: %w", err)
	}
	return nil
}
