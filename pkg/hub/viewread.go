package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// viewed is the version that the files of a [View] are of.
type viewed struct {
	hub      *Hub
	artifact *artifact.Artifact
	name     string
	src      *nearSource

	mu    sync.Mutex
	known map[blobID]knownBlob
}

// A blobID is a blob as a version has it, which may lie about the size.
type blobID struct {
	digest digest.Digest
	size   int64
}

// A knownBlob is what was found out about a blob that is had whole, for readers
// that are opened again.
type knownBlob struct {
	key   string // of the file in the store all of whose bytes were verified
	wrong error  // the registry gives another under this digest
}

// knows returns what is known of a blob.
func (v *viewed) knows(id blobID) knownBlob {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known[id]
}

// learn notes what was found out about a blob.
func (v *viewed) learn(id blobID, k knownBlob) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = make(map[blobID]knownBlob)
	}
	v.known[id] = k
}

// A ViewReader reads one file of a [View]. It is safe for concurrent use. What it
// returns without an error are the right bytes.
type ViewReader struct {
	ctx   context.Context // of the call that opened it, which bounds all reads
	file  ViewFile
	parts *artifact.Reader // nil for a file that is had whole

	mu    sync.Mutex
	whole io.ReaderAt // nil until it is there
	blob  io.Closer   // what whole is in
}

// Open opens the file for as long as ctx lasts. It fetches the index of the file's
// chunks, if it has one that is not in the local store, and nothing else.
//
// A large file without one can be verified only whole: it is fetched into the local
// store by the first read, and so is one of a registry that gives no parts.
func (f ViewFile) Open(ctx context.Context) (*ViewReader, error) {
	r := &ViewReader{ctx: ctx, file: f}
	parts, err := f.view.artifact.ReaderAt(ctx, f.view.src, f.Path, artifact.ReaderOptions{
		Whole: wholeBytes, Indexes: f.view.hub.chunkIndexes(),
	})
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", f.Path, f.view.name, err)
	}
	if parts.Verified() {
		r.parts = parts
		return r, nil
	}
	return r, parts.Close()
}

// Piece returns the length in bytes of the pieces that the file is fetched and
// verified in; zero if it is had whole and reading any part of it is cheap.
func (r *ViewReader) Piece() int64 {
	if r.parts == nil {
		return 0
	}
	return r.parts.Piece()
}

// Memory returns how many bytes of memory the index takes that the file is verified
// with.
func (r *ViewReader) Memory() int64 {
	if r.parts == nil || r.parts.Chunks() == nil {
		return 0
	}
	return r.parts.Chunks().Memory()
}

// ReadAt implements [io.ReaderAt], for whole pieces where [ViewReader.Piece] is
// not zero: those that begin at off, a multiple of it.
func (r *ViewReader) ReadAt(p []byte, off int64) (int, error) {
	if r.parts != nil && !r.hasWhole() {
		err := r.parts.Fill(p, off)
		if err == nil {
			return len(p), nil
		}
		if !errors.Is(err, errdef.ErrUnsupported) {
			return 0, err
		}
	}
	at, err := r.fetched()
	if err != nil {
		return 0, fmt.Errorf("read %s of %s: %w", r.file.Path, r.file.view.name, err)
	}
	return at.ReadAt(p, off)
}

// Close gives up what is open. Reads under way fail or not.
func (r *ViewReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.parts != nil {
		err = r.parts.Close()
	}
	if r.blob != nil {
		err = errors.Join(err, r.blob.Close())
		r.blob = nil
	}
	return err
}

func (r *ViewReader) hasWhole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.whole != nil
}

// fetched returns the whole file, which is fetched if it is not there. Others who
// read it wait.
func (r *ViewReader) fetched() (io.ReaderAt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole != nil {
		return r.whole, nil
	}
	blob, err := r.file.view.hold(r.ctx, r.file)
	if err != nil {
		return nil, err
	}
	r.whole, r.blob = io.NewSectionReader(blob, r.file.file.Offset, r.file.Size), blob
	return r.whole, nil
}

// hold opens the blob that a file is in, after all of it was verified: in the
// store, where it is brought first if need be.
func (v *viewed) hold(ctx context.Context, f ViewFile) (*os.File, error) {
	s := v.hub.opts.Store
	if s == nil {
		return nil, fmt.Errorf("it can be verified only whole, and there is no local store to fetch it into: %w", errors.ErrUnsupported)
	}
	desc := f.file.Layer
	desc.Annotations, desc.Data = nil, nil
	if blob, err := v.openVerified(ctx, desc); err == nil {
		return blob, nil
	}
	id := blobID{desc.Digest, desc.Size}
	if wrong := v.knows(id).wrong; wrong != nil {
		return nil, wrong // to fetch it for each read would change nothing
	}
	v.hub.warn("%s of %s can be verified only whole: all of its %d bytes are fetched before the first is read", f.Path, v.name, desc.Size)
	over, err := s.Claim(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	defer over()
	if blob, err := v.openVerified(ctx, desc); err == nil {
		return blob, nil // another process has brought it
	}
	job := transfer.Job{Desc: desc, Name: f.Path, Open: func() (transfer.Partial, error) { return s.Partial(desc) }}
	if err := transfer.Pull(ctx, v.src.repo, []transfer.Job{job}, transfer.PullOptions{Observe: v.hub.opts.Observe}); err != nil {
		if errors.Is(err, content.ErrMismatchedDigest) {
			v.learn(id, knownBlob{wrong: err})
		}
		return nil, err
	}
	blob, err := openStored(ctx, s, desc)
	if err == nil {
		v.verified(blob, id) // what comes is hashed as it comes
	}
	return blob, err
}

// openVerified opens a blob of the store, and reads all of it first, unless it was
// read already and has not changed since.
func (v *viewed) openVerified(ctx context.Context, desc ocispec.Descriptor) (*os.File, error) {
	blob, err := openStored(ctx, v.hub.opts.Store, desc)
	if err != nil {
		return nil, err
	}
	id := blobID{desc.Digest, desc.Size}
	if fi, err := blob.Stat(); err == nil {
		if key := store.FileKey(fi); key != "" && key == v.knows(id).key {
			return blob, nil
		}
	}
	vr := content.NewVerifyReader(io.NewSectionReader(blob, 0, desc.Size), desc)
	err = copyTo(io.Discard, contextReader{ctx, vr})
	if err == nil {
		err = vr.Verify()
	}
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	v.verified(blob, id)
	return blob, nil
}

// verified notes that all bytes of an open blob of the store are right.
func (v *viewed) verified(blob *os.File, id blobID) {
	if fi, err := blob.Stat(); err == nil {
		v.learn(id, knownBlob{key: store.FileKey(fi)})
	}
}

func openStored(ctx context.Context, s *store.Store, desc ocispec.Descriptor) (*os.File, error) {
	rc, err := s.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	if blob, ok := rc.(*os.File); ok {
		return blob, nil
	}
	return nil, errors.Join(fmt.Errorf("read blob %s of the store: %w", desc.Digest, errors.ErrUnsupported), rc.Close())
}

// A contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// A nearSource reads blobs from the store where they are there, and else from the
// registry.
type nearSource struct {
	store *store.Store // nil without one
	repo  *remote.Repository

	mu    sync.Mutex
	wrong map[digest.Digest]bool // blobs that the store has other bytes of
}

// has tells whether the store is the one to ask.
func (s *nearSource) has(ctx context.Context, desc ocispec.Descriptor) bool {
	if s.store == nil {
		return false
	}
	s.mu.Lock()
	wrong := s.wrong[desc.Digest]
	s.mu.Unlock()
	if wrong {
		return false
	}
	ok, err := s.store.Exists(ctx, desc)
	return ok && err == nil
}

// Fetch implements [content.Fetcher].
func (s *nearSource) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	near := s.has(ctx, desc)
	var rc io.ReadCloser
	var err error
	if near {
		rc, err = s.store.Fetch(ctx, desc)
	} else {
		rc, err = s.repo.Fetch(ctx, desc)
	}
	return s.body(rc, desc, near), err
}

// FetchRange implements [transfer.RangeFetcher].
func (s *nearSource) FetchRange(ctx context.Context, desc ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	near := s.has(ctx, desc)
	var rc io.ReadCloser
	var err error
	if near {
		rc, err = s.store.FetchRange(ctx, desc, offset, length)
	} else {
		rc, err = s.repo.FetchRange(ctx, desc, offset, length)
	}
	return s.body(rc, desc, near), err
}

// body is what was fetched with where it is from; nil for nothing.
func (s *nearSource) body(rc io.ReadCloser, desc ocispec.Descriptor, near bool) io.ReadCloser {
	if rc == nil {
		return nil
	}
	return nearBody{ReadCloser: rc, of: s, desc: desc, near: near}
}

// Distrust implements [transfer.Distruster]: the store is one more place.
func (s *nearSource) Distrust(desc ocispec.Descriptor) bool {
	if s.has(context.Background(), desc) {
		s.distrustStore(desc.Digest)
		return true
	}
	return s.repo.Distrust(desc)
}

// distrustStore makes the registry the one to ask.
func (s *nearSource) distrustStore(dgst digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrong == nil {
		s.wrong = make(map[digest.Digest]bool)
	}
	s.wrong[dgst] = true
}

// A nearBody is of the store, or of the registry.
type nearBody struct {
	io.ReadCloser
	of   *nearSource
	desc ocispec.Descriptor
	near bool
}

// Distrust implements [transfer.Placed].
func (b nearBody) Distrust() bool {
	if b.near {
		b.of.distrustStore(b.desc.Digest)
		return true
	}
	if p, ok := b.ReadCloser.(transfer.Placed); ok {
		return p.Distrust()
	}
	return b.of.repo.Distrust(b.desc)
}
