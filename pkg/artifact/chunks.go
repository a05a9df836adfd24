package artifact

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/transfer"
)

const (
	// minIndexed is the size of the smallest file with a chunk index: for
	// a smaller one the requests cost more than the bytes.
	minIndexed = 8 << 20

	// minCut is the size of the smallest tensor at which the grid starts
	// again whatever is around it. Runs of smaller ones share chunks.
	minCut = 64 << 10

	// maxIndexSize is the size of the largest index that is made or fetched,
	// which files of 2 TB do not need.
	maxIndexSize = 256 << 20
)

// An IndexCache remembers the chunk indexes that this machine made of files, by
// the digests of the files. What it tells becomes part of manifests unread, so it
// must not tell what others say. It is called from several goroutines at once.
type IndexCache interface {
	Lookup(file digest.Digest) (index []byte, ok bool)
	Record(file digest.Digest, index []byte)
}

// A ChunkIndex is where the file of a layer is cut into chunks, and their
// hashes, as package chunk encodes it.
type ChunkIndex struct {
	Layer digest.Digest      // whose file it is of
	Desc  ocispec.Descriptor // of the index itself
	Raw   []byte
}

// PushIndexes pushes chunk indexes to dst and returns the manifest that keeps
// them there, for the caller to push as a referrer of subject. It is the same
// for the same indexes.
func PushIndexes(ctx context.Context, dst transfer.Target, subject ocispec.Descriptor, indexes []ChunkIndex) ([]byte, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactTransfer,
		Config:  content.NewDescriptorFromBytes(ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data),
		Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	}
	blobs := map[digest.Digest][]byte{m.Config.Digest: ocispec.DescriptorEmptyJSON.Data}
	descs := []ocispec.Descriptor{m.Config}
	for _, x := range indexes {
		layer := x.Desc
		layer.Annotations = map[string]string{mediatypes.AnnotationIndexedLayer: x.Layer.String()}
		m.Layers = append(m.Layers, layer)
		if blobs[x.Desc.Digest] == nil {
			blobs[x.Desc.Digest] = x.Raw
			descs = append(descs, x.Desc)
		}
	}
	for _, desc := range descs {
		raw := blobs[desc.Digest]
		_, err := transfer.Push(ctx, dst, transfer.Blob{Desc: desc, Open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(raw[offset:])), nil
		}}, transfer.PushOptions{})
		if err != nil {
			return nil, fmt.Errorf("push chunk index: %w", err)
		}
	}
	raw, err := encodeJSON(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest of chunk indexes: %w", err)
	}
	return raw, nil
}

// hasIndex tells whether files like this one have an index of their chunks.
func hasIndex(kind mediatypes.Kind, enc mediatypes.Encoding, size int64) bool {
	return kind == mediatypes.KindWeight && enc == mediatypes.Raw && size >= minIndexed && size <= chunk.MaxFileSize
}

func (l *layer) hasIndex() bool { return hasIndex(l.kind, l.encoding, l.body.size) }

// annotations are those of the layer's descriptor.
func (l *layer) annotations() map[string]string {
	a := map[string]string{mediatypes.AnnotationFilepath: l.path, mediatypes.AnnotationTitle: l.title}
	if l.index != nil {
		a[mediatypes.AnnotationChunkIndex] = digest.FromBytes(l.index).String() + ";" + strconv.Itoa(len(l.index))
	}
	return a
}

// indexRef returns the descriptor of the index of a layer's file, if the
// layer's annotations name one of a size that it can have.
func indexRef(layer ocispec.Descriptor) (ocispec.Descriptor, bool) {
	text, number, _ := strings.Cut(layer.Annotations[mediatypes.AnnotationChunkIndex], ";")
	dgst := digest.Digest(text)
	size, err := strconv.ParseInt(number, 10, 64)
	if err != nil || checkDigest(dgst) != nil || layer.Size < 0 || size <= 0 || size > min(chunk.MaxBytes(layer.Size), maxIndexSize) {
		return ocispec.Descriptor{}, false
	}
	return ocispec.Descriptor{MediaType: mediatypes.LayerChunkIndex, Digest: dgst, Size: size}, true
}

// An indexer makes the chunk index of one file as its bytes pass, and their
// digest with it.
type indexer struct {
	builder *chunk.Builder
	err     error
}

// newIndexer returns an indexer for the layer's file, nil if it needs none.
func (p *packer) newIndexer(ctx context.Context, l *layer) (*indexer, error) {
	if !l.hasIndex() {
		return nil, nil
	}
	f, err := l.files[0].open(ctx, p.root)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return newIndexer(ctx, f, l.body.size)
}

// newIndexer returns an indexer for a file of size bytes, which it reads the
// header of: where chunks are depends on the bytes alone, and on no name.
func newIndexer(ctx context.Context, r io.ReaderAt, size int64) (*indexer, error) {
	cuts, err := tensorCuts(ctx, r, size)
	if err != nil {
		return nil, err
	}
	return &indexer{builder: chunk.NewBuilder(size, cuts)}, nil
}

// Write takes the next bytes of the file. It does not fail: finish does.
func (x *indexer) Write(b []byte) (int, error) {
	if x.err == nil {
		_, x.err = x.builder.Write(b)
	}
	return len(b), nil
}

// digest returns the digest of the bytes written, which nobody else need hash.
func (x *indexer) digest() digest.Digest {
	sum := x.builder.Sum256()
	return digest.NewDigestFromBytes(digest.SHA256, sum[:])
}

// finish returns the index of the bytes written.
func (x *indexer) finish() ([]byte, error) {
	if x.err != nil {
		return nil, x.err
	}
	return x.builder.Finish()
}

// recallIndex gives the layer the index that is remembered of its file. It
// reports whether the file need not be read for it.
func (p *packer) recallIndex(l *layer, dgst digest.Digest) bool {
	if !l.hasIndex() {
		return true
	}
	if p.opts.Indexes == nil {
		return false
	}
	raw, ok := p.opts.Indexes.Lookup(dgst)
	if !ok {
		return false
	}
	if x, err := chunk.Parse(raw); err != nil || x.Size() != l.body.size {
		return false
	}
	l.index = raw
	return true
}

// keepIndex gives the layer the index that was made of its file.
func (p *packer) keepIndex(l *layer, dgst digest.Digest, x *indexer) error {
	if x == nil {
		return nil
	}
	raw, err := x.finish()
	if err != nil {
		return err
	}
	if int64(len(raw)) > min(chunk.MaxBytes(l.body.size), maxIndexSize) {
		return nil // nobody would take it
	}
	l.index = raw
	if p.opts.Indexes != nil {
		p.opts.Indexes.Record(dgst, raw)
	}
	return nil
}

// listIndex adds the index of a layer to the result.
func (p *packer) listIndex(l *layer) {
	known := slices.ContainsFunc(p.out.Indexes, func(x ChunkIndex) bool { return x.Layer == l.desc.Digest })
	if l.index == nil || known {
		return
	}
	p.out.Indexes = append(p.out.Indexes, ChunkIndex{
		Layer: l.desc.Digest, Desc: content.NewDescriptorFromBytes(mediatypes.LayerChunkIndex, l.index), Raw: l.index,
	})
}

// tensorCuts returns where the tensors of a file begin, or nil for a file of
// which that is not known.
func tensorCuts(ctx context.Context, r io.ReaderAt, size int64) ([]int64, error) {
	kind, err := tensorFormat(r, size)
	if kind == "" || err != nil {
		return nil, err
	}
	tensors, err := format.Tensors(ctx, format.File{Size: size, Format: kind, Open: func(context.Context) (format.ReaderAtCloser, error) {
		return nopCloserAt{r}, nil
	}})
	if errors.Is(err, format.ErrMalformed) || errors.Is(err, format.ErrUnknownFormat) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(tensors, func(a, b format.Tensor) int {
		if a.Offset != b.Offset {
			return int(min(max(a.Offset-b.Offset, -1), 1))
		}
		return int(min(max(a.Bytes-b.Bytes, -1), 1))
	})
	cuts := []int64{}
	last := int64(minCut) // what precedes the first tensor is the header
	for _, t := range tensors {
		if t.Bytes <= 0 {
			continue
		}
		if t.Bytes >= minCut || last >= minCut {
			cuts = append(cuts, t.Offset)
		}
		last = t.Bytes
	}
	return cuts, nil
}

// tensorFormat tells by its first bytes whether a file is of a format that says
// where its tensors are.
func tensorFormat(r io.ReaderAt, size int64) (string, error) {
	head := make([]byte, min(size, 9))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	switch {
	case bytes.HasPrefix(head, []byte("GGUF")):
		return "gguf", nil
	case len(head) == 9 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= uint64(size-8):
		return "safetensors", nil
	}
	return "", nil
}

// A nopCloserAt is a file that somebody else closes.
type nopCloserAt struct{ io.ReaderAt }

func (nopCloserAt) Close() error { return nil }
