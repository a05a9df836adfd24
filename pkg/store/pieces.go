package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// A Piece is a stretch of a blob that becomes a file of its own.
type Piece struct {
	Offset, Size int64         // in the blob, bytes
	Digest       digest.Digest // of the file
	Name         string        // of the file, in the directory that the partial is in
}

const (
	// restName is the file of what is between the pieces.
	restName = "rest"

	pieceMode fs.FileMode = 0o644

	// committers is how many pieces are read and synced at once: a disk
	// gathers syncs that come together into one.
	committers = 16

	// pieceBuffer is the size of reads of pieces: each committer has one.
	pieceBuffer = 64 << 10
)

// OpenPieces opens a partial blob of which files are made, and never one file
// with all of it: the bytes of each piece lie in a file from the beginning, so
// that they are written once. Otherwise the partial is as that of [OpenPartial];
// name, which gets no file, is what its own files are called after, and must
// belong to the caller alone.
//
// Commit reads the files, which ctx may end. If each has its digest it makes them
// durable, with mode 0644, and gives them their names, in place of what had these;
// names of several pieces must have the same digest. It does not make the names
// durable. Of a piece with another digest the error wraps [ErrCorrupt]; no file
// has got its name then, and ReadAt still reads the blob.
func OpenPieces(ctx context.Context, root *os.Root, name string, desc ocispec.Descriptor, list []Piece) (*Partial, error) {
	if _, err := blobName(desc); err != nil {
		return nil, err
	}
	if err := checkPath(name); err != nil {
		return nil, err
	}
	all := &pieces{ctx: ctx, list: slices.Clone(list)}
	if err := all.layOut(desc.Size); err != nil {
		return nil, fmt.Errorf("open pieces of %s: %w", name, err)
	}
	// With pieces of other places the bytes would lie elsewhere.
	base := name + "." + all.key()
	p := &Partial{root: root, disk: osDisk{}, desc: desc, paths: partialPaths{
		data: base + ".pieces", log: base + ".journal",
	}}
	if err := p.openPieces(all); err != nil {
		return nil, fmt.Errorf("open pieces of %s: %w", name, err)
	}
	return p, nil
}

func (p *Partial) openPieces(all *pieces) error {
	if err := makeDirs(p.disk, p.root, path.Dir(p.paths.data), 0o777); err != nil {
		return err
	}
	log, fresh, err := openLocked(p.root, p.paths.log)
	if err != nil && !errors.Is(err, errNoLocks) {
		return err
	}
	p.log, p.data = log, all
	if log != nil && !fresh {
		j, err := p.readJournal()
		fresh = err != nil // it ended before there was one
		p.saved = !fresh && (j.To.Length > 0 || p.hasRecords())
	}
	if log == nil || fresh {
		err = errors.Join(p.root.RemoveAll(p.paths.data), p.record(mark{}, mark{}))
	}
	if err == nil {
		err = all.open(p.root, p.paths.data)
	}
	if err != nil && log != nil {
		return errors.Join(err, log.Close())
	}
	return err
}

// pieces are a medium of many files in a directory: one for each piece, by its
// number, and one for all that is between them.
type pieces struct {
	ctx  context.Context // of the reading in commit
	list []Piece         // sorted
	gaps []int64         // how many bytes are before each piece and in none, and before the end
	all  int64           // bytes of the blob
	dir  *os.Root
	rest *os.File
}

// layOut finds out where each byte of the blob lies.
func (s *pieces) layOut(size int64) error {
	s.all = size
	slices.SortFunc(s.list, func(a, b Piece) int { return cmp.Compare(a.Offset, b.Offset) })
	end, gap := int64(0), int64(0)
	for _, q := range s.list {
		if q.Size <= 0 || q.Offset < end || q.Offset > size-q.Size || q.Digest.Validate() != nil {
			return fmt.Errorf("%d bytes at %d are no piece of it: %w", q.Size, q.Offset, fs.ErrInvalid)
		}
		if err := checkBase(q.Name); err != nil {
			return err
		}
		gap += q.Offset - end
		s.gaps = append(s.gaps, gap)
		end = q.Offset + q.Size
	}
	s.gaps = append(s.gaps, gap+size-end)
	return nil
}

// key tells pieces of different places apart.
func (s *pieces) key() string {
	h := sha256.New()
	for _, q := range s.list {
		fmt.Fprintln(h, q.Offset, q.Size)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func (s *pieces) open(root *os.Root, name string) (err error) {
	if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.dir, err = root.OpenRoot(name); err != nil {
		return err
	}
	if s.rest, err = s.dir.OpenFile(restName, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return errors.Join(err, s.dir.Close())
	}
	return nil
}

// A place is where bytes lie: in the file of a piece, or in the rest.
type place struct {
	piece int // -1: the rest
	at    int64
	n     int64 // how many bytes there are from there
}

// find tells where the byte at an offset lies.
func (s *pieces) find(off int64) place {
	i, _ := slices.BinarySearchFunc(s.list, off, func(q Piece, off int64) int {
		return cmp.Compare(q.Offset+q.Size-1, off)
	})
	if i < len(s.list) && s.list[i].Offset <= off {
		q := s.list[i]
		return place{i, off - q.Offset, q.Offset + q.Size - off}
	}
	end := s.all
	if i < len(s.list) {
		end = s.list[i].Offset
	}
	return place{-1, s.gaps[i] - (end - off), end - off}
}

func (s *pieces) write(d disk, b []byte, off int64) (done int, err error) {
	for len(b) > 0 && err == nil {
		to := s.find(off)
		part := b[:min(to.n, int64(len(b)))]
		var n int
		if to.piece < 0 {
			n, err = writeCached(d, s.rest, part, to.at)
		} else {
			n, err = s.writePiece(d, part, to)
		}
		b, off, done = b[n:], off+int64(n), done+n
	}
	return done, err
}

func (s *pieces) writePiece(d disk, b []byte, to place) (int, error) {
	f, err := s.dir.OpenFile(strconv.Itoa(to.piece), os.O_WRONLY|os.O_CREATE, pieceMode)
	if err != nil {
		return 0, err
	}
	n, err := writeCached(d, f, b, to.at)
	return n, errors.Join(err, f.Close())
}

// ReadAt implements io.ReaderAt. What was not written is not there.
func (s *pieces) ReadAt(b []byte, off int64) (done int, err error) {
	for len(b) > 0 && err == nil {
		if off >= s.all {
			return done, io.EOF
		}
		from := s.find(off)
		part := b[:min(from.n, int64(len(b)))]
		var n int
		if from.piece < 0 {
			n, err = s.rest.ReadAt(part, from.at)
		} else {
			n, err = s.readPiece(part, from)
		}
		b, off, done = b[n:], off+int64(n), done+n
	}
	return done, err
}

func (s *pieces) readPiece(b []byte, from place) (int, error) {
	f, err := s.dir.Open(strconv.Itoa(from.piece))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, io.EOF
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(b, from.at)
}

// there calls f for each piece that has a file, which is not opened.
func (s *pieces) there(f func(i int, size int64) error) error {
	entries, err := fs.ReadDir(s.dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		i, err := strconv.Atoi(e.Name())
		if err != nil || i < 0 || i >= len(s.list) {
			continue
		}
		info, err := e.Info()
		if err == nil {
			err = f(i, info.Size())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *pieces) size() (int64, error) {
	info, err := s.rest.Stat()
	if err != nil {
		return 0, err
	}
	end := int64(0)
	if n := info.Size(); n > 0 {
		// The gap that the last byte of the rest is in.
		i, _ := slices.BinarySearch(s.gaps, n)
		next := s.all
		if i < len(s.list) {
			next = s.list[i].Offset
		}
		if i < len(s.gaps) {
			end = next - (s.gaps[i] - n)
		}
	}
	err = s.there(func(i int, size int64) error {
		if size > 0 {
			end = max(end, s.list[i].Offset+size)
		}
		return nil
	})
	return end, err
}

func (s *pieces) Truncate(size int64) error {
	at := s.gaps[len(s.list)]
	if size < s.all {
		if to := s.find(size); to.piece < 0 {
			at = to.at
		} else {
			at = s.gaps[to.piece]
		}
	}
	if info, err := s.rest.Stat(); err != nil {
		return err
	} else if info.Size() > at {
		if err := s.rest.Truncate(at); err != nil {
			return err
		}
	}
	return s.there(func(i int, have int64) error {
		keep := size - s.list[i].Offset
		switch {
		case keep <= 0:
			return s.dir.Remove(strconv.Itoa(i))
		case keep < have:
			return s.truncatePiece(i, keep)
		}
		return nil
	})
}

func (s *pieces) truncatePiece(i int, size int64) error {
	f, err := s.dir.OpenFile(strconv.Itoa(i), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// commit looks at all pieces before one gets its name.
func (s *pieces) commit(p *Partial) error {
	if err := s.checkAll(p.disk); err != nil {
		if s.ctx.Err() == nil && !errors.Is(err, ErrCorrupt) {
			p.bad = err // as of a single file
			err = errors.Join(err, p.forget())
		}
		return err
	}
	// What has its name is no longer where the journal has it.
	if err := p.forget(); err != nil {
		return err
	}
	dir, base := path.Split(p.paths.data)
	root, err := p.root.OpenRoot(path.Clean(dir)) // a path costs a call for each directory in it
	if err != nil {
		return err
	}
	defer root.Close()
	for i, q := range s.list {
		if err := p.disk.Rename(root, path.Join(base, strconv.Itoa(i)), q.Name); err != nil {
			return err
		}
	}
	return nil
}

func (s *pieces) checkAll(d disk) error {
	g, ctx := errgroup.WithContext(s.ctx)
	var next atomic.Int64
	for range min(committers, len(s.list)) {
		g.Go(func() error {
			buf := make([]byte, pieceBuffer)
			for i := next.Add(1) - 1; i < int64(len(s.list)); i = next.Add(1) - 1 {
				if err := s.check(ctx, d, int(i), buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// check compares a piece with its digest, and makes it durable.
func (s *pieces) check(ctx context.Context, d disk, i int, buf []byte) error {
	f, err := s.dir.OpenFile(strconv.Itoa(i), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	q := s.list[i]
	h := q.Digest.Algorithm().Hash()
	n, err := io.CopyBuffer(h, &patientReader{ctx, io.LimitReader(f, q.Size+1)}, buf)
	if err != nil {
		return err
	}
	if n != q.Size {
		return corrupt(q.Digest, fmt.Sprintf("has %d bytes instead of %d", n, q.Size))
	}
	if got := digest.NewDigest(q.Digest.Algorithm(), h); got != q.Digest {
		return corrupt(q.Digest, "has digest "+got.String())
	}
	info, err := f.Stat()
	if err == nil && info.Mode() != pieceMode {
		err = f.Chmod(pieceMode)
	}
	if err != nil {
		return err
	}
	return d.Sync(f)
}

// A patientReader reads for as long as there is time.
type patientReader struct {
	ctx context.Context // of the one reading it is made for
	r   io.Reader
}

func (r *patientReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

func (s *pieces) settle(p *Partial) error { return p.root.RemoveAll(p.paths.data) }

func (s *pieces) remove(p *Partial) {
	_ = s.Close() // Windows removes nothing that is open
	_ = p.root.RemoveAll(p.paths.data)
}

// Close may be called twice.
func (s *pieces) Close() error {
	if s.dir == nil {
		return nil
	}
	err := errors.Join(s.rest.Close(), s.dir.Close())
	s.dir = nil
	return err
}
