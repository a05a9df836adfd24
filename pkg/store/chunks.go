package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	chunksDir     = "chunks"
	madeSuffix    = ".made"
	maxChunkIndex = 256 << 20 // a file of 2 TB has half of that
	maxMadeBytes  = 256
	maxChunkBytes = 512 << 20 // of all indexes
	maxChunkFiles = 8192
)

// ChunkIndexes are the chunk indexes of files, which say what is where in them.
// Each is kept by its own digest, and read back only with that digest. Of those
// that were made on this machine it is also known of which file. The indexes
// used longest ago are dropped when all are larger than 512 MiB.
//
// Like the other memories of a store it saves work only: what cannot be kept is
// not kept. Methods may be called at the same time.
type ChunkIndexes struct {
	store *Store
	mu    sync.Mutex // for making room
}

// ChunkIndexes opens the chunk indexes. The error is not nil if others than the
// user could have written to them: then they must not be used.
func (s *Store) ChunkIndexes() (*ChunkIndexes, error) {
	if err := s.privateDir(chunksDir); err != nil {
		return nil, fmt.Errorf("open chunk indexes: %w", err)
	}
	return &ChunkIndexes{store: s}, nil
}

// privateDir makes sure that there is a directory that only the user writes to.
func (s *Store) privateDir(name string) error {
	if err := makeDirs(s.disk, s.root, name, 0o700); err != nil {
		return err
	}
	for _, name := range []string{".", name} {
		fi, err := s.root.Lstat(name)
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s: %w", name, fs.ErrInvalid)
		}
		if err := CheckPrivate(fi); err != nil {
			return err
		}
	}
	return nil
}

// Lookup returns the index that was made on this machine of the file with this
// digest.
func (c *ChunkIndexes) Lookup(file digest.Digest) (index []byte, ok bool) {
	dgst, ok := c.Made(file)
	if !ok {
		return nil, false
	}
	return c.Get(dgst)
}

// Made returns the digest of the index that was made on this machine of the file
// with this digest. The index itself may be gone.
func (c *ChunkIndexes) Made(file digest.Digest) (index digest.Digest, ok bool) {
	name, ok := chunksName(file)
	if !ok {
		return "", false
	}
	raw, err := readFile(c.store.root, name+madeSuffix, maxMadeBytes)
	if err != nil {
		return "", false
	}
	return digest.Digest(strings.TrimSpace(string(raw))), true
}

// Record keeps the index that was made on this machine of the file with this
// digest.
func (c *ChunkIndexes) Record(file digest.Digest, index []byte) {
	name, ok := chunksName(file)
	if !ok || !c.Put(index) {
		return
	}
	_ = c.store.replaceFile(name+madeSuffix, []byte(digest.FromBytes(index).String()+"\n"), 0o600)
}

// Get returns the index whose own digest this is.
func (c *ChunkIndexes) Get(dgst digest.Digest) (index []byte, ok bool) {
	name, ok := chunksName(dgst)
	if !ok {
		return nil, false
	}
	raw, err := readFile(c.store.root, name, maxChunkIndex)
	if err != nil || digest.FromBytes(raw) != dgst {
		return nil, false
	}
	_ = c.store.root.Chtimes(name, time.Time{}, time.Now())
	return raw, true
}

// Open opens the index whose own digest this is, of size bytes, without reading
// it: the caller compares what it reads with the digest, and closes it.
func (c *ChunkIndexes) Open(dgst digest.Digest) (r io.ReadCloser, size int64, ok bool) {
	name, ok := chunksName(dgst)
	if !ok {
		return nil, 0, false
	}
	f, err := c.store.root.Open(name)
	if err != nil {
		return nil, 0, false
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxChunkIndex {
		_ = f.Close() // it is not used
		return nil, 0, false
	}
	_ = c.store.root.Chtimes(name, time.Time{}, time.Now())
	return f, fi.Size(), true
}

// Put keeps an index by its own digest. It reports whether it is kept.
func (c *ChunkIndexes) Put(index []byte) bool {
	name, ok := chunksName(digest.FromBytes(index))
	if !ok || len(index) > maxChunkIndex {
		return false
	}
	if have, err := readFile(c.store.root, name, maxChunkIndex); err == nil && bytes.Equal(have, index) {
		return true
	}
	if c.store.replaceFile(name, index, 0o600) != nil {
		return false
	}
	c.makeRoom()
	return true
}

// chunksName is where the index with a digest is, or what is said of a file.
func chunksName(dgst digest.Digest) (string, bool) {
	if dgst.Validate() != nil || dgst.Algorithm() != digest.SHA256 {
		return "", false
	}
	return path.Join(chunksDir, dgst.Encoded()), true
}

// makeRoom removes the oldest indexes when there are too many.
func (c *ChunkIndexes) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store.makeRoom(chunksDir, maxChunkBytes, maxChunkFiles)
}

// makeRoom removes the oldest files of a directory when there are too many, or
// they are too large: down to three quarters, so that it is not done every time.
func (s *Store) makeRoom(dir string, maxBytes int64, maxFiles int) {
	entries, err := s.list(dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	var total int64
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return
		}
		files = append(files, fi)
		total += fi.Size()
	}
	if total <= maxBytes && len(files) <= maxFiles {
		return
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	n := len(files)
	for _, fi := range files {
		if total <= maxBytes/4*3 && n <= maxFiles/4*3 {
			return
		}
		_ = s.root.Remove(path.Join(dir, fi.Name()))
		total -= fi.Size()
		n--
	}
}

// memories removes old chunk indexes and results, if all is to go. They count as
// bytes only.
func (p *pruning) memories(ctx context.Context, dir string) error {
	if !p.opts.All {
		return nil
	}
	entries, err := p.store.list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil || fi.ModTime().After(p.old) {
			continue // gone, or used
		}
		p.done.Bytes += fi.Size()
		if p.opts.DryRun {
			continue
		}
		if err := p.store.root.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
