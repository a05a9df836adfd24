// Package mount shows files that are fetched when they are read as a directory of
// this machine, read-only.
//
// An [FS] is the files, and what reading them needs: what was read last, what is
// fetched ahead for those who read on, and a bound on the memory of both. It works
// without a mount: [FS.ReaderAt] reads as the mount does. [FS.Serve] shows it, by
// FUSE, on Linux and, with macFUSE, on macOS; elsewhere it says that it cannot.
//
// Package mount knows neither registries nor digests. It gives out what the
// [Content] of a file gave without an error, and never anything else: whoever
// opens the content verifies it.
package mount

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/modelreg/modelreg/pkg/artifact"
)

const (
	defaultMemory      = 22 << 20
	defaultConnections = 16
)

var (
	// ErrUnavailable is wrapped when this machine, or this process, cannot
	// mount anything.
	ErrUnavailable = errors.New("no file system can be mounted here")

	// ErrDead is wrapped when a directory is a mount whose program has ended.
	ErrDead = errors.New("the program that was mounted there has ended without unmounting it")
)

// A File is one file to be shown.
type File struct {
	Path string // with slashes; artifact.CheckPath is asked
	Size int64  // bytes

	// Same, if not "", names the bytes of the file: files of one size with the
	// same are opened, and kept, as one.
	Same string

	// Open is called when the file is read and not open: first, after it
	// failed, and after many others were read. ctx lasts until the FS is
	// closed. The FS closes the content.
	Open func(ctx context.Context) (Content, error)
}

// Content is the bytes of a file. It is read from several goroutines at once, and
// what it returns without an error is given to programs.
type Content interface {
	io.ReaderAt
	io.Closer

	// Piece is the length of the pieces that the content is fetched in, in
	// bytes. ReadAt is then called for whole pieces only, and what it gives is
	// kept for a while. Zero means that any part can be read as cheaply as
	// from a disk: nothing is kept, and nothing read ahead.
	Piece() int64

	// Memory is how many bytes of memory the content itself takes while it is
	// open, such as for an index. It is asked once.
	Memory() int64
}

// Options adjusts [New]. The zero value works.
type Options struct {
	// Name is what lists of mounts say is mounted.
	Name string

	// Time is when all files were last changed. Zero means 1970.
	Time time.Time

	// Memory bounds the bytes of files that are held. Zero means 22 MiB. One
	// piece is held, however large it is.
	Memory int64

	// Connections bounds the reads ahead under way at once. Zero means 16.
	Connections int

	// Warn, if not nil, is told why a file cannot be read: once, until what
	// failed has worked again. It is called from several goroutines.
	Warn func(message string)
}

// An FS is files that can be read. Its methods are safe for concurrent use.
type FS struct {
	opts  Options
	files []shown // sorted by path
	cache *cache
	open  opened

	// ctx bounds what is fetched, and lasts until Close.
	ctx  context.Context
	stop context.CancelFunc
}

// New returns an FS of files, which nobody may change. The values of ctx, and its
// end, are those of all reads. The error wraps artifact.ErrUnsafe where the paths
// are not those of one tree. The caller closes the FS.
func New(ctx context.Context, files []File, opts Options) (*FS, error) {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.Path
		if f.Size < 0 {
			return nil, fmt.Errorf("show %q: negative size", f.Path)
		}
	}
	if err := artifact.CheckPaths(paths); err != nil {
		return nil, fmt.Errorf("show files: %w", err)
	}
	opts.Memory, opts.Connections = cmp.Or(opts.Memory, defaultMemory), cmp.Or(opts.Connections, defaultConnections)
	if opts.Time.IsZero() {
		opts.Time = time.Unix(0, 0)
	}
	m := &FS{opts: opts, cache: newCache(opts.Memory, opts.Connections)}
	m.ctx, m.stop = context.WithCancel(ctx)
	type bytes struct {
		same string
		size int64
	}
	one := make(map[bytes]*file)
	for _, f := range files {
		key := bytes{f.Same, f.Size}
		if one[key] == nil || f.Same == "" {
			one[key] = &file{File: f, fs: m, segments: make(map[int64]*segment), failed: -1}
		}
		m.files = append(m.files, shown{path: f.Path, file: one[key]})
	}
	slices.SortFunc(m.files, func(a, b shown) int { return strings.Compare(a.path, b.path) })
	return m, nil
}

// A shown is a path that is shown, and the file that is there.
type shown struct {
	path string
	file *file
}

// ReaderAt reads the file at path as it is read through a mount. The error wraps
// fs.ErrNotExist if there is none. Nothing need be closed.
func (m *FS) ReaderAt(path string) (io.ReaderAt, error) {
	i, ok := slices.BinarySearchFunc(m.files, path, func(f shown, path string) int { return strings.Compare(f.path, path) })
	if !ok {
		return nil, fmt.Errorf("open %q: %w", path, fs.ErrNotExist)
	}
	return m.files[i].file, nil
}

// Close ends all reads, and closes what is open. It returns when nothing is under
// way any more. Reads that begin later fail.
func (m *FS) Close() error {
	m.stop()
	m.cache.close()
	var err error
	for _, f := range m.files {
		err = errors.Join(err, f.file.close())
	}
	return err
}

// CheckDir tells whether files can be shown at dir: an empty directory. The error
// wraps artifact.ErrTarget, fs.ErrNotExist, or [ErrDead].
func CheckDir(dir string) error {
	entries, err := readDir(dir)
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		return fmt.Errorf("mount on %s: %w", dir, ErrDead)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("mount on %s: %w: it is no directory", dir, artifact.ErrTarget)
	case err != nil:
		return fmt.Errorf("mount on %s: %w", dir, err)
	case entries > 0:
		return fmt.Errorf("mount on %s: %w: the directory is not empty", dir, artifact.ErrTarget)
	}
	return nil
}

// readDir counts the entries of a directory, as far as one.
func readDir(dir string) (int, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	if !info.IsDir() {
		return 0, syscall.ENOTDIR
	}
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names), err
}

// A file is one file that is shown, at one path or at several.
type file struct {
	File
	fs *FS

	opening sync.Mutex // held by who opens it

	// Guarded by the lock of those that are open.
	content Content       // nil while it is not open
	users   int           // reads of the content under way
	memory  int64         // that the content takes
	at      *list.Element // among those that are open

	// What follows is guarded by the cache's lock.
	segments map[int64]*segment // by the numbers of their pieces
	failed   int64              // where a read has failed of which was told; -1 for nowhere
}

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset", f.Path)
	}
	if off >= f.Size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > f.Size-off {
		p, end = p[:f.Size-off], io.EOF
	}
	n, err := f.read(p, off)
	if f.news(off, int64(n), err) && f.fs.opts.Warn != nil && f.fs.ctx.Err() == nil {
		f.fs.opts.Warn(err.Error())
	}
	if err != nil {
		return n, err
	}
	return n, end
}

// news notes how a read of n bytes at off went, and reports whether it failed and
// nobody knows yet that reads of this file fail.
func (f *file) news(off, n int64, err error) bool {
	f.fs.cache.mu.Lock()
	defer f.fs.cache.mu.Unlock()
	if off <= f.failed && f.failed < off+n {
		f.failed = -1
	}
	if err == nil || f.failed >= 0 {
		return false
	}
	f.failed = off + n
	return true
}

// read fills p, which lies within the file.
func (f *file) read(p []byte, off int64) (int, error) {
	c, err := f.open()
	if err != nil {
		return 0, err
	}
	defer f.fs.open.release(f)
	if c.Piece() <= 0 {
		n, err := c.ReadAt(p, off)
		if n == len(p) {
			err = nil
		}
		return n, unexpected(err)
	}
	r := reader{file: f, content: c, cache: f.fs.cache, piece: c.Piece()}
	end := r.notice(off, int64(len(p)))
	n := 0
	for n < len(p) {
		k, err := r.read(p[n:], off+int64(n), end)
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// unexpected says of content that ends before the file that it does so early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
