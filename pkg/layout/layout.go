// Package layout is an OCI image layout, in a directory or in a tar archive, as
// a place that artifacts are copied from and to: it has tags, manifests, blobs
// and referrers like a repository of a registry.
//
// [Open] and [Create] take a directory, [OpenTar] reads an archive where it
// lies, by random access and without unpacking it, and [CreateTar] writes one
// whose contents are known beforehand. What oras, crane, regctl and skopeo write
// can be read, and they read what is written here.
//
// # What callers may build on
//
// Nothing that a layout says is believed. Manifests are compared with their
// digest before they are returned; blobs are only counted, and whoever fetches
// one compares its digest. Links, devices, sparse files, names that lead out of
// the archive and names that come twice are refused, and so is an index.json
// that gives one name to two things. Numbers and sizes are bounded by constants
// of this package before anything is allocated.
//
// What is written gets its name after its bytes are right and durable: a blob by
// a rename, an archive when all of it is there. Several processes may write to
// one directory: index.json is changed under a kernel lock, and replaced in one
// step. The same contents give the same archive, byte for byte: members are
// sorted, and have no times, owners or modes of their own.
//
// # Names
//
// A layout can hold several repositories. The name of an entry of index.json is
// a tag ("v1"), the repository then being that of its annotation
// [AnnotationRepository] if it has one, or a repository with a tag
// ("ghcr.io/acme/support:v1"). Referrers are listed twice, for there are two
// kinds of readers: as entries without a name, and under the fallback tag of
// their subject.
package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
)

// Limits of what is read from a layout.
const (
	MaxIndexBytes   = 32 << 20 // of index.json
	MaxEntries      = 50_000   // of index.json
	MaxMembers      = 200_000  // of a tar archive
	maxMarkerBytes  = 4 << 10  // of the file oci-layout
	maxNameBytes    = 512      // of a name in index.json
	maxTrailingTar  = 1 << 20  // of zeros after the end of an archive
	maxReferrerList = 10_000   // of one manifest
)

// AnnotationRepository, of an entry of index.json, is the repository that the
// entry is of, as host/name.
const AnnotationRepository = "dev.modelreg.repository"

var (
	// ErrMalformed is wrapped by errors about what is no layout, or one that
	// is refused.
	ErrMalformed = errors.New("malformed OCI layout")

	// ErrReadOnly is wrapped by errors of writing to an archive.
	ErrReadOnly = errors.New("archive is read-only")

	// ErrTaken is wrapped by errors of making a layout where something else
	// is.
	ErrTaken = errors.New("something else is there")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// A backing is where the bytes are.
type backing interface {
	index() ([]byte, error)
	// blob opens a blob, or returns an error that wraps errdef.ErrNotFound.
	blob(dgst digest.Digest) (File, error)
	// list calls f for each blob that is there.
	list(f func(dgst digest.Digest, size int64) error) error
	Close() error
}

// A File is an open blob. It is closed by who opened it.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// A Layout is an open layout. Its methods may be called at the same time.
type Layout struct {
	at   backing
	root *os.Root // nil for archives
	dir  string

	writing  sync.Mutex
	mu       sync.Mutex
	subjects map[digest.Digest]digest.Digest // of the manifests that were looked at
}

// Open opens the layout in a directory. The caller closes it.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	l := &Layout{at: &directory{root}, root: root, dir: dir}
	if err := l.checkMarker(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	return l, nil
}

// Create opens the layout in a directory, and makes one where the directory is
// missing or empty. One with something else in it is an error that wraps
// [ErrTaken].
func Create(dir string) (*Layout, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make layout: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, ocispec.ImageLayoutFile)); err == nil {
		return Open(dir)
	}
	if err := begin(dir); err != nil {
		return nil, fmt.Errorf("make layout in %s: %w", dir, err)
	}
	return Open(dir)
}

// Close gives up the layout. Files that were opened of it must be closed first.
func (l *Layout) Close() error { return l.at.Close() }

// checkMarker reads the file oci-layout.
func (l *Layout) checkMarker() error {
	raw, err := readSmall(l.root, ocispec.ImageLayoutFile, maxMarkerBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return malformed("there is no file %s", ocispec.ImageLayoutFile)
	}
	if err != nil {
		return err
	}
	return checkVersion(raw)
}

func checkVersion(raw []byte) error {
	var marker ocispec.ImageLayout
	if err := json.Unmarshal(raw, &marker); err != nil {
		return malformed("%s: %v", ocispec.ImageLayoutFile, err)
	}
	if marker.Version != ocispec.ImageLayoutVersion {
		return malformed("it is of version %.20q, not %s", marker.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

// Fetch opens a blob, which must be of the size that desc says. The reader is a
// [File]. The bytes are not compared with the digest.
func (l *Layout) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	f, err := l.open(ctx, desc)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (l *Layout) open(ctx context.Context, desc ocispec.Descriptor) (File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkDesc(desc); err != nil {
		return nil, err
	}
	f, err := l.at.blob(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w", desc.Digest, err)
	}
	if f.Size() != desc.Size {
		f.Close()
		return nil, fmt.Errorf("fetch blob %s: %d bytes, want %d: %w", desc.Digest, f.Size(), desc.Size, content.ErrMismatchedDigest)
	}
	return f, nil
}

// FetchRange opens length bytes of a blob from offset, and all to its end when
// length is negative.
func (l *Layout) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	f, err := l.open(ctx, desc)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > desc.Size {
		f.Close()
		return nil, fmt.Errorf("fetch blob %s: offset %d is outside of its %d bytes", desc.Digest, offset, desc.Size)
	}
	if rest := desc.Size - offset; length < 0 || length > rest {
		length = rest
	}
	return part{io.NewSectionReader(f, offset, length), f}, nil
}

type part struct {
	*io.SectionReader
	io.Closer
}

// Exists tells whether a blob is there, with its size.
func (l *Layout) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	f, err := l.open(ctx, desc)
	switch {
	case err == nil:
		return true, f.Close()
	case errors.Is(err, errdef.ErrNotFound), errors.Is(err, content.ErrMismatchedDigest):
		return false, nil
	}
	return false, err
}

// Partial opens a blob that is on its way into the layout. What an earlier run
// left of it is gone on from. Archives have none: see [CreateTar].
func (l *Layout) Partial(desc ocispec.Descriptor) (*store.Partial, error) {
	if l.root == nil {
		return nil, ErrReadOnly
	}
	if err := checkDesc(desc); err != nil {
		return nil, err
	}
	return store.OpenPartial(l.root, blobPath(desc.Digest), desc)
}

// Blobs calls f for each blob of the layout, in no order.
func (l *Layout) Blobs(f func(dgst digest.Digest, size int64) error) error { return l.at.list(f) }

func checkDesc(desc ocispec.Descriptor) error {
	if err := checkDigest(desc.Digest); err != nil {
		return err
	}
	if desc.Size < 0 || desc.Size > mediatypes.MaxBlobBytes {
		return fmt.Errorf("size %d of %s: %w", desc.Size, desc.Digest, content.ErrInvalidDescriptorSize)
	}
	return nil
}

// checkDigest takes the two algorithms that registries know.
func checkDigest(dgst digest.Digest) error {
	if err := dgst.Validate(); err != nil {
		return fmt.Errorf("digest %.100q: %w: %w", string(dgst), errdef.ErrInvalidDigest, err)
	}
	if a := dgst.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return fmt.Errorf("digest %.100q: %w: neither sha256 nor sha512", string(dgst), errdef.ErrInvalidDigest)
	}
	return nil
}

// blobPath is where a blob lies in a layout.
func blobPath(dgst digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + dgst.Algorithm().String() + "/" + dgst.Encoded()
}
