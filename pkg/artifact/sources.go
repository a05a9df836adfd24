package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
)

// maxStoredVersions bounds the versions in the store that are looked through.
const maxStoredVersions = 256

// A chunkSource is a file on this machine that may have bytes of a wanted blob.
type chunkSource struct {
	path   string // below the target, or of the machine
	size   int64
	target bool // it is a file of the old target

	open  func() (format.ReaderAtCloser, error)
	known digest.Digest      // of its index, if that is known
	bound ocispec.Descriptor // of the index that the old manifest names
	made  digest.Digest      // of the file, whose index may have been made here

	opened sync.Once
	file   io.ReaderAt // nil if it cannot be opened

	// Of whoever plans.
	scanned bool         // table is all there is to be found out
	table   *chunk.Table // else it is looked up again: many would fill the memory
}

// planned tells whether the source is among those used already.
func (s *chunkSource) planned(used []*chunkSource) bool { return slices.Contains(used, s) }

// findSources lists the files that may have something of the wanted blobs: of
// the target as it is, of other directories, and of the store.
func (d *delta) findSources(ctx context.Context) []*chunkSource {
	known := make(map[string]store.KnownFile)
	var others []store.KnownFile
	if d.indexes != nil {
		others = d.indexes.Files()
	}
	for _, k := range others {
		known[k.Path] = k
	}
	out := d.targetSources(known)
	for _, k := range others {
		if _, other := known[k.Path]; !other || k.Size < minIndexed {
			continue // a file of the target
		}
		out = append(out, &chunkSource{
			path: k.Path, size: k.Size, known: k.Index,
			open: func() (format.ReaderAtCloser, error) { return k.Open() },
		})
	}
	return append(out, d.storeSources(ctx)...)
}

// targetSources lists the large files of the target, and takes them from known.
func (d *delta) targetSources(known map[string]store.KnownFile) []*chunkSource {
	t := d.u.target
	if t.old == nil {
		return nil
	}
	bound := d.oldIndexes()
	digests := make(map[string]digest.Digest, len(t.old.Files))
	for _, f := range t.old.Files {
		digests[f.Path] = f.Digest
	}
	var out []*chunkSource
	for _, e := range t.tree {
		if !e.info.Mode().IsRegular() || e.info.Size() < minIndexed || e.info.Size() > chunk.MaxFileSize {
			continue
		}
		s := &chunkSource{path: e.path, size: e.info.Size(), target: true, made: digests[e.path]}
		if k, ok := known[t.path(e.path)]; ok {
			s.known = k.Index
			delete(known, k.Path)
		}
		s.bound = bound[s.made]
		s.open = func() (format.ReaderAtCloser, error) { return openRegular(t.parent, t.base+"/"+e.path) }
		out = append(out, s)
	}
	return out
}

// path returns where a file of the target is on this machine.
func (t *target) path(name string) string { return filepath.Join(t.dir, filepath.FromSlash(name)) }

// oldIndexes returns the indexes that the manifest of the old target names, by
// the digests of the files.
func (d *delta) oldIndexes() map[digest.Digest]ocispec.Descriptor {
	t := d.u.target
	f, err := openRegular(t.parent, t.base+"/"+ManifestFile)
	if err != nil {
		return nil
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, mediatypes.MaxManifestBytes+1))
	if err != nil || len(raw) > mediatypes.MaxManifestBytes {
		return nil
	}
	return indexRefs(raw)
}

// indexRefs returns the indexes that a manifest names, by the digests of layers.
func indexRefs(raw []byte) map[digest.Digest]ocispec.Descriptor {
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return nil
	}
	refs := make(map[digest.Digest]ocispec.Descriptor)
	for _, l := range m.Layers {
		if desc, ok := indexRef(l); ok {
			refs[l.Digest] = desc
		}
	}
	return refs
}

// storeSources lists the blobs of the store whose index it has too.
func (d *delta) storeSources(ctx context.Context) []*chunkSource {
	s := d.u.opts.Store
	if s == nil || d.indexes == nil {
		return nil
	}
	var out []*chunkSource
	seen := make(map[digest.Digest]bool)
	n := 0
	for e, err := range s.References(ctx) {
		if n++; err != nil || n > maxStoredVersions {
			break
		}
		for layer, desc := range d.storedRefs(ctx, e.Descriptor) {
			if seen[layer.Digest] {
				continue
			}
			seen[layer.Digest] = true
			out = append(out, &chunkSource{
				path: layer.Digest.String(), size: layer.Size, known: desc.Digest,
				open: func() (format.ReaderAtCloser, error) { return openBlob(ctx, s, layer) },
			})
		}
	}
	return out
}

// storedRefs returns the layers of a version that the store has, and the
// indexes that its manifest names of them.
func (d *delta) storedRefs(ctx context.Context, desc ocispec.Descriptor) map[*ocispec.Descriptor]ocispec.Descriptor {
	if desc.Size > mediatypes.MaxManifestBytes {
		return nil
	}
	raw, err := content.FetchAll(ctx, d.u.opts.Store, desc)
	if err != nil {
		return nil
	}
	m, err := mediatypes.ParseManifest(raw)
	if err != nil {
		return nil
	}
	refs := make(map[*ocispec.Descriptor]ocispec.Descriptor)
	for i, l := range m.Layers {
		index, ok := indexRef(l)
		if !ok {
			continue
		}
		if there, err := d.u.opts.Store.Exists(ctx, l); there && err == nil {
			refs[&m.Layers[i]] = index
		}
	}
	return refs
}

// openBlob opens a blob of the store for reading at any offset.
func openBlob(ctx context.Context, s *store.Store, desc *ocispec.Descriptor) (format.ReaderAtCloser, error) {
	rc, err := s.Fetch(ctx, *desc)
	if err != nil {
		return nil, err
	}
	if f, ok := rc.(format.ReaderAtCloser); ok {
		return f, nil
	}
	return nil, errors.Join(errors.ErrUnsupported, rc.Close())
}

// order returns the sources, those first that are most like f.
func (d *delta) order(f File) []*chunkSource {
	rank := func(s *chunkSource) int {
		switch {
		case s.target && s.path == f.Path:
			return 0
		case s.target:
			return 1
		case path.Base(filepath.ToSlash(s.path)) == path.Base(f.Path):
			return 2
		}
		return 3
	}
	order := slices.Clone(d.sources)
	slices.SortStableFunc(order, func(a, b *chunkSource) int { return rank(a) - rank(b) })
	return order[:min(len(order), maxSources)]
}

// indexOf returns the table of a source's index: one that is known, or, if read
// allows that, one made by reading the file; nil if there is none. An error is
// that of ctx.
func (d *delta) indexOf(ctx context.Context, s *chunkSource, read bool) (*chunk.Table, error) {
	if s.scanned {
		return s.table, nil
	}
	x := d.lookUp(ctx, s)
	if x == nil && read && d.worthReading(s) {
		// A file that cannot be read has nothing for us. It is not read twice.
		x, _ = d.readIndex(ctx, s)
		s.scanned, s.table = true, x
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if !s.scanned && d.indexes == nil && x != nil && d.take(s.bound.Size) {
		s.scanned, s.table = true, x // there is no store to have it from again
	}
	return x, nil
}

// lookUp finds the index of a source without reading the source.
func (d *delta) lookUp(ctx context.Context, s *chunkSource) *chunk.Table {
	if s.known != "" {
		if x := d.storedTable(s.known, s.size); x != nil {
			return x
		}
	}
	if s.made != "" {
		if x := d.madeTable(s.made, s.size); x != nil {
			return x
		}
	}
	if s.bound.Digest == "" || s.bound.Size > maxPlanned {
		return nil
	}
	x := d.tableOf(ctx, s.bound, s.size)
	if x == nil {
		s.bound = ocispec.Descriptor{} // asking once is enough
	}
	return x
}

// worthReading tells whether a file may have bytes of weights: one of the old
// target that looks like weights.
func (d *delta) worthReading(s *chunkSource) bool {
	f := d.reader(s)
	if !s.target || f == nil {
		return false
	}
	head := make([]byte, mediatypes.HeadBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	class := mediatypes.Classify([]mediatypes.File{{Path: s.path, Size: s.size, Head: head[:n]}})
	return class[0].Kind == mediatypes.KindWeight
}

// readIndex reads a source for its index.
func (d *delta) readIndex(ctx context.Context, s *chunkSource) (*chunk.Table, error) {
	f := d.reader(s)
	if f == nil {
		return nil, fs.ErrNotExist
	}
	x, err := newIndexer(ctx, f, s.size)
	if err != nil {
		return nil, err
	}
	r := io.NewSectionReader(f, 0, s.size)
	buf := make([]byte, copyBytes)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buf)
		_, _ = x.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	raw, err := x.finish()
	if err != nil {
		return nil, err
	}
	return chunk.ReadTable(bytes.NewReader(raw), int64(len(raw)))
}
