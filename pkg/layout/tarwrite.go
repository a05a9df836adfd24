package layout

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
)

const (
	block = 512 // of a tar archive

	// maxOctal is the largest size that the header of POSIX can say.
	maxOctal = 1<<33 - 1
)

// Contents is what an archive is to hold.
type Contents struct {
	// Index are the entries of index.json, in this order.
	Index []ocispec.Descriptor

	// Blobs are all blobs, each once. They are sorted.
	Blobs []ocispec.Descriptor
}

// A TarWriter is an archive that is being written, under the name FILE.partial
// until [TarWriter.Commit]. Where each blob will lie is known from the start, so
// they can be written at the same time and in any order. What an earlier run
// left of the same contents is gone on from. Methods may be called at the same
// time.
type TarWriter struct {
	file  string
	temp  string
	f     *os.File
	lock  *flock.Flock
	plan  string // names the contents
	blobs map[digest.Digest]member
	size  int64

	mu   sync.Mutex
	at   map[digest.Digest]int64 // bytes of each blob that are written
	done map[digest.Digest]bool
}

// CreateTar begins to write an archive. The directory of the file must exist,
// and what has its name stays until Commit. An archive that another process is
// writing is an error that wraps store.ErrLocked, and where a link, or a file of
// another user, has the name FILE.partial, one that wraps fs.ErrPermission.
func CreateTar(file string, c Contents) (_ *TarWriter, err error) {
	w := &TarWriter{
		file: file, temp: file + ".partial",
		blobs: make(map[digest.Digest]member), at: make(map[digest.Digest]int64), done: make(map[digest.Digest]bool),
	}
	headers, err := w.place(c)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", file, err)
	}
	if err := w.claim(); err != nil {
		return nil, fmt.Errorf("write %s: %w", file, err)
	}
	w.lock = flock.New(w.temp, flock.SetPermissions(0o644))
	locked, err := w.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", file, err)
	}
	if !locked {
		return nil, fmt.Errorf("write %s: %w", file, store.ErrLocked)
	}
	if err := w.open(headers); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", file, err), w.Close())
	}
	return w, nil
}

// A piece is bytes of an archive that are known from the start.
type piece struct {
	at  int64
	raw []byte
}

// place decides where everything lies.
func (w *TarWriter) place(c Contents) ([]piece, error) {
	index, err := encodeIndex(c.Index)
	if err != nil {
		return nil, err
	}
	l := &tarLayout{w: w, hash: sha256.New()}
	l.dir(ocispec.ImageBlobsDir)
	for _, a := range algorithms(c.Blobs) {
		l.dir(ocispec.ImageBlobsDir + "/" + a.String())
	}
	l.file(ocispec.ImageLayoutFile, marker)
	l.file(ocispec.ImageIndexFile, index)
	for _, desc := range sortedBlobs(c.Blobs) {
		if err := checkDesc(desc); err != nil {
			return nil, err
		}
		if _, twice := w.blobs[desc.Digest]; twice {
			continue
		}
		l.header(&tar.Header{Typeflag: tar.TypeReg, Name: blobPath(desc.Digest), Size: desc.Size})
		w.blobs[desc.Digest] = member{l.at, desc.Size}
		l.at += desc.Size
		l.pad()
	}
	l.put(make([]byte, 2*block))
	w.size, w.plan = l.at, hex.EncodeToString(l.hash.Sum(nil))
	return l.pieces, l.err
}

func algorithms(blobs []ocispec.Descriptor) []digest.Algorithm {
	var found []digest.Algorithm
	for _, d := range blobs {
		found = append(found, d.Digest.Algorithm())
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// sortedBlobs puts manifests first, for those who read archives as a stream.
func sortedBlobs(blobs []ocispec.Descriptor) []ocispec.Descriptor {
	last := func(d ocispec.Descriptor) int {
		switch d.MediaType {
		case ocispec.MediaTypeImageIndex:
			return 0
		case ocispec.MediaTypeImageManifest:
			return 1
		}
		return 2
	}
	return slices.SortedFunc(slices.Values(blobs), func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(a.Digest, b.Digest))
	})
}

// A tarLayout lays out an archive.
type tarLayout struct {
	w      *TarWriter
	at     int64
	pieces []piece
	hash   hash.Hash
	err    error
}

func (l *tarLayout) put(raw []byte) {
	l.pieces = append(l.pieces, piece{l.at, raw})
	l.at += int64(len(raw))
	l.hash.Write(raw)
}

// pad goes to the next block. The bytes between are zeros already.
func (l *tarLayout) pad() { l.at = (l.at + block - 1) / block * block }

func (l *tarLayout) dir(name string) {
	l.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (l *tarLayout) file(name string, raw []byte) {
	l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(raw))})
	l.put(raw)
	l.pad()
}

// header writes a header, in the oldest form that can say what is in it.
func (l *tarLayout) header(h *tar.Header) {
	h.Format = tar.FormatUSTAR
	if h.Size > maxOctal || len(h.Name) > 100 {
		h.Format = tar.FormatGNU
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	if err := t.WriteHeader(h); err != nil && l.err == nil {
		l.err = err
	}
	l.put(bytes.Clone(b.Bytes()))
}

// claim makes the partial archive, or looks whether one that is there may be
// written to: its name can be foreseen, and in a directory that others write to
// it could be a link, or a file that they go on writing to. One that was made just
// now is not looked at: file systems without owners call it whoever's they like.
func (w *TarWriter) claim() error {
	f, err := os.OpenFile(w.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(w.temp)
	if err != nil {
		return vanished(err)
	}
	return store.CheckOwn(info)
}

// vanished tells of a partial archive that is not there any more: another writer
// has just given it its name.
func vanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return store.ErrLocked
	}
	return err
}

// open opens the partial archive, with all that is known of it.
func (w *TarWriter) open(headers []piece) (err error) {
	if w.f, err = os.OpenFile(w.temp, os.O_RDWR, 0); err != nil {
		return vanished(err)
	}
	info, err := w.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(w.temp)
	if err != nil {
		return vanished(err)
	}
	// It is another since it was locked: somebody gave it its name, or put a link
	// there.
	if locked, err := w.lock.Stat(); err != nil || !os.SameFile(locked, info) || !os.SameFile(named, info) {
		return store.ErrLocked
	}
	if !w.recall() || info.Size() != w.size {
		clear(w.at)
		if err := w.f.Truncate(0); err != nil {
			return err
		}
	}
	if err := w.f.Truncate(w.size); err != nil {
		return err
	}
	for _, p := range headers {
		if _, err := w.f.WriteAt(p.raw, p.at); err != nil {
			return err
		}
	}
	return w.note()
}

// A tarJournal tells how far the blobs of a partial archive have come. It is a
// hint: what it says is there is hashed again.
type tarJournal struct {
	Plan string                  `json:"plan"`
	At   map[digest.Digest]int64 `json:"at"`
}

func (w *TarWriter) journal() string { return w.temp + ".journal" }

// recall reads the journal, if it is of these contents.
func (w *TarWriter) recall() bool {
	if info, err := os.Lstat(w.journal()); err != nil || store.CheckOwn(info) != nil {
		return false
	}
	f, err := os.Open(w.journal())
	if err != nil {
		return false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxIndexBytes))
	var j tarJournal
	if err != nil || json.Unmarshal(raw, &j) != nil || j.Plan != w.plan {
		return false
	}
	for dgst, n := range j.At {
		if m, ok := w.blobs[dgst]; ok && n > 0 && n <= m.size {
			w.at[dgst] = n
		}
	}
	return true
}

// note writes the journal.
func (w *TarWriter) note() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	raw, err := json.Marshal(tarJournal{w.plan, w.at}, json.Deterministic(true))
	if err != nil {
		return err
	}
	temp := w.journal() + temporary
	_ = os.Remove(temp) // of a run that was stopped, or a link
	if err := writeNew(temp, raw); err != nil {
		return err
	}
	return os.Rename(temp, w.journal())
}

// writeNew writes a file that must not be there.
func writeNew(name string, raw []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Close())
}

// Layout returns the layout that the archive is going to be, to be looked at before
// it gets its name. Blobs that have not been written yet are zeros. It is of use
// until Commit or Close.
func (w *TarWriter) Layout() (*Layout, error) {
	l, err := ReadTar(w.f, w.size)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", w.temp, err)
	}
	return l, nil
}

// Commit makes the archive durable and gives it its name, in place of what had
// it. All blobs must have been committed before.
func (w *TarWriter) Commit() error {
	for dgst := range w.blobs {
		if !w.done[dgst] {
			return fmt.Errorf("write %s: blob %s: %w", w.file, dgst, errdef.ErrNotFound)
		}
	}
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", w.file, err)
	}
	if err := os.Rename(w.temp, w.file); err != nil {
		return err
	}
	_ = os.Remove(w.journal())
	root, err := os.OpenRoot(filepath.Dir(w.file))
	if err != nil {
		return err
	}
	defer root.Close()
	return store.SyncDir(root, ".")
}

// Close gives up the archive. What is there stays for a later run, if Commit
// was not called.
func (w *TarWriter) Close() error {
	var err error
	if w.f != nil {
		err = w.f.Close()
	}
	return errors.Join(err, w.lock.Unlock())
}

// Discard removes what is there of an archive that was not committed.
func (w *TarWriter) Discard() {
	_ = os.Remove(w.temp)
	_ = os.Remove(w.journal())
}

// Partial returns a blob of the archive, to be written. It is what package
// transfer calls a Partial.
func (w *TarWriter) Partial(desc ocispec.Descriptor) (*TarPartial, error) {
	m, ok := w.blobs[desc.Digest]
	if !ok || m.size != desc.Size {
		return nil, fmt.Errorf("write %s: blob %s of %d bytes: %w", w.file, desc.Digest, desc.Size, errdef.ErrNotFound)
	}
	return &TarPartial{w: w, desc: desc, member: m}, nil
}

// Push writes a blob whose bytes r reads, and compares its digest.
func (w *TarWriter) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	p, err := w.Partial(desc)
	if err != nil {
		return err
	}
	if err := fillChecked(ctx, p, desc, r); err != nil {
		return fmt.Errorf("write %s: blob %s: %w", w.file, desc.Digest, err)
	}
	return p.Commit()
}

// A TarPartial is a blob on its way into an archive.
type TarPartial struct {
	w    *TarWriter
	desc ocispec.Descriptor
	member
}

// Resume hashes again what an earlier run has written.
func (p *TarPartial) Resume() (int64, hash.Hash, error) {
	h := p.desc.Digest.Algorithm().Hash()
	p.w.mu.Lock()
	n := p.w.at[p.desc.Digest]
	p.w.mu.Unlock()
	if _, err := io.Copy(h, io.NewSectionReader(p.w.f, p.offset, n)); err != nil {
		return 0, nil, fmt.Errorf("read back: %w", err)
	}
	return n, h, nil
}

// Checkpoint records that the first n bytes are written.
func (p *TarPartial) Checkpoint(n int64, _ hash.Hash) error {
	p.w.mu.Lock()
	p.w.at[p.desc.Digest] = min(n, p.size)
	p.w.mu.Unlock()
	return p.w.note()
}

// Reset throws away all bytes.
func (p *TarPartial) Reset() error { return p.Checkpoint(0, nil) }

// WriteAt writes a piece of the blob. Pieces past its end are refused.
func (p *TarPartial) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > p.size || int64(len(b)) > p.size-off {
		return 0, fmt.Errorf("write %d bytes at %d of a blob of %d: %w", len(b), off, p.size, fs.ErrInvalid)
	}
	return p.w.f.WriteAt(b, p.offset+off)
}

// ReadAt reads what was written.
func (p *TarPartial) ReadAt(b []byte, off int64) (int, error) {
	return io.NewSectionReader(p.w.f, p.offset, p.size).ReadAt(b, off)
}

// Commit says that all bytes are there, and right.
func (p *TarPartial) Commit() error {
	p.w.mu.Lock()
	p.w.done[p.desc.Digest] = true
	p.w.mu.Unlock()
	if p.size < smallBlob {
		return nil // it is written again more cheaply than noted
	}
	return p.Checkpoint(p.size, nil)
}

// smallBlob is the size below which it is not noted that a blob is there.
const smallBlob = 1 << 20

// Close does nothing: the archive stays open.
func (p *TarPartial) Close() error { return nil }
