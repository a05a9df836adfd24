package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/store"
)

// A localFile is a file on this machine whose digest has been computed.
type localFile struct {
	name   string // below the directory that the target is in
	info   fs.FileInfo
	staged bool // it is a blob of the stage, ours to link; not a file of the target
	shared bool // it is where the file is wanted, and stays there
}

// locals are the files that need not be fetched, by digest.
type locals struct {
	mu    sync.Mutex
	found map[digest.Digest]localFile
	paths map[string]digest.Digest // of files of the target that were hashed
}

func newLocals() *locals {
	return &locals{found: make(map[digest.Digest]localFile), paths: make(map[string]digest.Digest)}
}

// findLocals looks for wanted content in the target and among the blobs that an
// interrupted run left. Only files of a wanted size are read.
func (u *unpacker) findLocals(ctx context.Context) error {
	u.locals = newLocals()
	cache := u.digestCache()
	algorithms := u.wantedSizes()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	look := func(l localFile, inTarget string) {
		for alg := range algorithms[l.info.Size()] {
			g.Go(func() error {
				dgst, err := l.hash(ctx, u.target.parent, alg, cache)
				if err != nil {
					return err
				}
				u.locals.add(dgst, l, inTarget)
				return nil
			})
		}
	}
	if u.stage != nil {
		blobs, err := fs.ReadDir(u.stage.root.FS(), stageBlobs)
		if err != nil {
			return err
		}
		for _, e := range blobs {
			if strings.Contains(e.Name(), ".") || strings.HasPrefix(e.Name(), codedPrefix) {
				continue
			}
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				look(localFile{name: u.stage.name + "/" + stageBlobs + "/" + e.Name(), info: info, staged: true}, "")
			}
		}
	}
	for _, e := range u.target.tree {
		if e.info.Mode().IsRegular() {
			look(localFile{name: u.target.base + "/" + e.path, info: e.info}, e.path)
		}
	}
	for _, l := range u.sharedBlobs() {
		look(l, "")
	}
	err := g.Wait()
	if cache != nil {
		err = errors.Join(err, cache.Save())
	}
	return err
}

// sharedBlobs finds the files of a directory of blobs that have the names of
// wanted ones.
func (u *unpacker) sharedBlobs() []localFile {
	if u.blobs == "" {
		return nil
	}
	var found []localFile
	seen := make(map[digest.Digest]bool)
	for _, f := range u.a.Files {
		name := u.blobs + "/" + f.Digest.Encoded()
		if seen[f.Digest] || f.Digest == "" {
			continue
		}
		seen[f.Digest] = true
		if info, err := u.target.parent.Lstat(name); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			found = append(found, localFile{name: name, info: info, shared: true})
		}
	}
	return found
}

// digestCache opens the store's memory of the target's files. Without it they
// are read.
func (u *unpacker) digestCache() *store.StatCache {
	if u.opts.Store == nil || len(u.target.tree) == 0 && u.blobs == "" {
		return nil
	}
	cache, err := u.opts.Store.StatCache(u.target.dir)
	if err != nil {
		return nil
	}
	return cache
}

// wantedSizes are the sizes of files and blobs to look for, and how their
// digests are computed.
func (u *unpacker) wantedSizes() map[int64]map[digest.Algorithm]bool {
	sizes := make(map[int64]map[digest.Algorithm]bool)
	want := func(size int64, d digest.Digest) {
		if sizes[size] == nil {
			sizes[size] = make(map[digest.Algorithm]bool)
		}
		sizes[size][d.Algorithm()] = true
	}
	for _, f := range u.a.Files {
		want(f.Size, f.Digest)
		want(f.Layer.Size, f.Layer.Digest)
	}
	for _, c := range u.opts.Variants {
		if c.Base != "" {
			want(c.BaseSize, c.Base)
		}
	}
	if !u.opts.Force { // whether they were changed must be known
		for _, f := range u.target.recorded() {
			if checkDigest(f.Digest) == nil {
				want(f.Size, f.Digest)
			}
		}
	}
	return sizes
}

func (l *locals) add(d digest.Digest, f localFile, inTarget string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if inTarget != "" {
		l.paths[inTarget] = d
	}
	// A staged blob costs nothing to use.
	if have, ok := l.found[d]; !ok || !have.staged && f.staged || f.shared {
		l.found[d] = f
	}
}

func (l *locals) get(d digest.Digest) (localFile, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.found[d]
	return f, ok
}

// hash computes the digest of the file, unless the cache has it.
func (l localFile) hash(ctx context.Context, root *os.Root, alg digest.Algorithm, cache *store.StatCache) (digest.Digest, error) {
	cached := cache != nil && alg == digest.Canonical
	if cached {
		if d, ok := cache.Lookup(l.info); ok {
			return d, nil
		}
	}
	f, err := openRegular(root, l.name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := alg.Hash()
	buf := make([]byte, min(copyBytes, max(l.info.Size(), 512)))
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if err := sameAs(f, l.name, l.info); err != nil {
		return "", err
	}
	d := digest.NewDigest(alg, h)
	if cached {
		cache.Record(l.info, d)
	}
	return d, nil
}

// forget takes back that content is on this machine.
func (l *locals) forget(d digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.found, d)
}
