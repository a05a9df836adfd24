package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// A DirFile is what [HashDir] found under one name.
type DirFile struct {
	Path string // below the directory, with slashes
	Size int64  // bytes

	// Digest is the SHA-256 of the file's bytes: empty if it was not wanted,
	// and for what is no file.
	Digest digest.Digest

	// Shards is, of a file with more bytes than HashOptions.ShardSize, the SHA-256
	// over the SHA-256s (32 bytes each) of its parts of that size, in order.
	Shards digest.Digest

	// Also is what HashOptions.Also makes of the file's bytes; nil without it.
	Also []byte

	// Known says that the digest is from HashOptions.Digests, and that the
	// file was not read.
	Known bool

	// Other is what it is if it is no regular file, such as "link".
	Other string

	info fs.FileInfo
}

// HashOptions adjusts [HashDir]. The zero value reads every file.
type HashOptions struct {
	// Workers bounds the files read at once. Zero means GOMAXPROCS.
	Workers int

	// Digests, if not nil, spares reading files whose digest it knows, and is
	// told those of the others.
	Digests DigestCache

	// ShardSize, if not zero, has files with more bytes hashed in parts of so many,
	// too. They are read whatever Digests knows.
	ShardSize int64

	// Also, if not nil, makes another hash, which each file is hashed with, too. They
	// are read whatever Digests knows.
	Also func() hash.Hash

	// Skip, if not nil, tells what is not looked at. What it skips of a
	// directory, it skips with all that is in it.
	Skip func(path string, dir bool) bool

	// Want, if not nil, tells of which files the digest is wanted.
	Want func(path string, size int64) bool

	// Links takes links to files inside the directory for what they point to.
	Links bool
}

// HashDir lists the files of a directory, sorted by path, with their digests:
// every file, hidden ones too, and none that Skip skips. It follows no link
// unless told to, and none out of the directory. A file that changes while it is
// read is an error that wraps [ErrChanged]. More files than a model may have are
// one that wraps [ErrUnsafe].
//
// What HashDir lists is not checked by [CheckPath]; it is what is there.
func HashDir(ctx context.Context, dir string, opts HashOptions) ([]DirFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("hash files: %w", err)
	}
	defer root.Close()
	h := dirHasher{root: root, opts: opts}
	if err := fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		return cmp.Or(ctx.Err(), err, h.found(name))
	}); err != nil && !errors.Is(err, fs.SkipAll) {
		return nil, fmt.Errorf("hash files of %s: %w", dir, err)
	}
	if err := h.hashAll(ctx); err != nil {
		return nil, fmt.Errorf("hash files of %s: %w", dir, err)
	}
	slices.SortFunc(h.files, func(a, b DirFile) int { return strings.Compare(a.Path, b.Path) })
	return h.files, nil
}

// dirHasher is one call of HashDir.
type dirHasher struct {
	root  *os.Root
	opts  HashOptions
	files []DirFile
}

// found takes one name, and returns [fs.SkipDir] for a directory that is not to
// be looked into.
func (h *dirHasher) found(name string) error {
	if name == "." {
		return nil
	}
	info, err := h.root.Lstat(name)
	if err != nil {
		return err
	}
	if h.opts.Skip != nil && h.opts.Skip(name, info.IsDir()) {
		if info.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if info.IsDir() {
		return nil
	}
	if len(h.files) == maxFiles {
		return fmt.Errorf("%w: more than %d files", ErrUnsafe, maxFiles)
	}
	f := DirFile{Path: name, info: info}
	if isLink := info.Mode()&fs.ModeSymlink != 0; isLink && h.opts.Links {
		if behind, err := h.root.Stat(name); err == nil && behind.Mode().IsRegular() {
			f.info = behind
		}
	}
	switch mode := f.info.Mode(); {
	case mode.IsRegular():
		f.Size = f.info.Size()
	case mode&fs.ModeSymlink != 0:
		f.Other = "link"
	default:
		f.Other = fileType(mode)
	}
	h.files = append(h.files, f)
	return nil
}

// hashAll reads the files, the largest first: one that is begun last would be
// waited for alone.
func (h *dirHasher) hashAll(ctx context.Context) error {
	slices.SortFunc(h.files, func(a, b DirFile) int { return cmp.Compare(b.Size, a.Size) })
	buffers := sync.Pool{New: func() any { return new([copyBytes]byte) }}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(h.opts.Workers, runtime.GOMAXPROCS(0)))
	for i := range h.files {
		f := &h.files[i]
		if f.Other != "" || h.opts.Want != nil && !h.opts.Want(f.Path, f.Size) {
			continue
		}
		if h.opts.Digests != nil && !h.sharded(f) && h.opts.Also == nil {
			if f.Digest, f.Known = h.opts.Digests.Lookup(f.info); f.Known {
				continue
			}
		}
		g.Go(func() error {
			buf := buffers.Get().(*[copyBytes]byte)
			defer buffers.Put(buf)
			return h.hash(ctx, f, buf[:])
		})
	}
	return g.Wait()
}

// sharded tells whether a file is hashed in parts, too.
func (h *dirHasher) sharded(f *DirFile) bool {
	return h.opts.ShardSize > 0 && f.Size > h.opts.ShardSize
}

func (h *dirHasher) hash(ctx context.Context, f *DirFile, buf []byte) error {
	r, err := openRegular(h.root, f.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	// The file that was found, also where its name has since become another's.
	if err := sameAs(r, f.Path, f.info); err != nil {
		return err
	}
	sum := digest.Canonical.Hash()
	var shards *shardHash
	both := io.Writer(sum)
	if h.sharded(f) {
		shards = newShardHash(h.opts.ShardSize)
		both = io.MultiWriter(sum, shards)
	}
	var also hash.Hash
	if h.opts.Also != nil {
		also = h.opts.Also()
		both = io.MultiWriter(both, also)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		_, _ = both.Write(buf[:n]) // hashes do not fail
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := sameAs(r, f.Path, f.info); err != nil {
		return err
	}
	f.Digest = digest.NewDigest(digest.Canonical, sum)
	if shards != nil {
		f.Shards = shards.sum()
	}
	if also != nil {
		f.Also = also.Sum(nil)
	}
	if h.opts.Digests != nil {
		h.opts.Digests.Record(f.info, f.Digest)
	}
	return nil
}
