package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// minGrace is how long after its last use a blob is never removed,
	// whatever the options say.
	minGrace = time.Hour

	// blindGrace is the same for partials where there are no locks to tell
	// whether someone works on them.
	blindGrace = 24 * time.Hour
)

// PruneOptions adjusts [Store.Prune]. The zero value removes what no entry of
// index.json leads to and was last used more than an hour ago.
type PruneOptions struct {
	// OlderThan is how long ago the last use of what is removed must be. Less
	// than an hour means an hour.
	OlderThan time.Duration

	// All removes also tags whose manifest is that old, and what they lead to,
	// and chunk indexes and results that were not used for so long.
	All bool

	// DryRun only counts.
	DryRun bool
}

// Pruned is what [Store.Prune] has removed.
type Pruned struct {
	Blobs, Partials, Damaged, References int

	// Bytes is the size of all of them.
	Bytes int64
}

// Prune removes blobs that nothing leads to, partials that no process works on,
// and what was put aside as damaged, if they are old enough. It never removes
// what a running process has used since it opened its store, nor what
// a manifest in recent use leads to. Tags cannot change while it runs.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) (Pruned, error) {
	p := pruning{store: s, opts: opts, now: time.Now()}
	if err := p.run(ctx); err != nil {
		return p.done, fmt.Errorf("prune store: %w", err)
	}
	return p.done, nil
}

// A pruning is one run of Prune.
type pruning struct {
	store *Store
	opts  PruneOptions
	now   time.Time
	old   time.Time // what was used after it stays
	done  Pruned
}

func (p *pruning) run(ctx context.Context) error {
	unlock, err := p.store.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	oldest, err := p.store.oldestSession(p.now)
	if err != nil {
		return err
	}
	p.old = p.now.Add(-max(p.opts.OlderThan, minGrace))
	if limit := oldest.Add(-touchAfter); limit.Before(p.old) {
		p.old = limit
	}
	index, err := p.tags()
	if err != nil {
		return err
	}
	if err := p.blobs(ctx, index); err != nil {
		return err
	}
	if err := p.partials(ctx); err != nil {
		return err
	}
	for _, dir := range []string{chunksDir, resultsDir} {
		if err := p.memories(ctx, dir); err != nil {
			return err
		}
	}
	return p.damaged(ctx)
}

// tags takes old entries from index.json, if they are to go, and returns the rest.
func (p *pruning) tags() ([]ocispec.Descriptor, error) {
	index, err := p.store.readIndex()
	if err != nil || !p.opts.All {
		return index.Manifests, err
	}
	n := len(index.Manifests)
	index.Manifests = slices.DeleteFunc(index.Manifests, func(desc ocispec.Descriptor) bool {
		name, err := blobName(desc)
		if err != nil {
			return true
		}
		fi, err := p.store.root.Lstat(name)
		return errors.Is(err, fs.ErrNotExist) || err == nil && !fi.ModTime().After(p.old)
	})
	p.done.References = n - len(index.Manifests)
	if p.done.References == 0 || p.opts.DryRun {
		return index.Manifests, nil
	}
	return index.Manifests, p.store.writeIndex(index)
}

// blobs removes the blobs that nothing leads to.
func (p *pruning) blobs(ctx context.Context, roots []ocispec.Descriptor) error {
	err := p.store.eachBlob(ctx, func(name string, fi fs.FileInfo) error {
		if fi.ModTime().After(p.old) && fi.Size() <= maxManifest {
			if desc, ok := p.store.sniff(name, fi.Size()); ok {
				roots = append(roots, desc)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	keep := make(map[digest.Digest]bool)
	for node, err := range p.store.walk(ctx, roots) {
		if err != nil {
			return err
		}
		keep[node.desc.Digest] = true
	}
	return p.store.eachBlob(ctx, func(name string, fi fs.FileInfo) error {
		if dgst, _ := nameDigest(name); keep[dgst] || fi.ModTime().After(p.old) {
			return nil
		}
		removed := true
		if !p.opts.DryRun {
			if removed, err = p.blob(name, fi); err != nil {
				return err
			}
		}
		if removed {
			p.done.Blobs++
			p.done.Bytes += fi.Size()
		}
		return nil
	})
}

// blob removes one blob, unless it comes into use at this moment.
func (p *pruning) blob(name string, fi fs.FileInfo) (bool, error) {
	if !fi.Mode().IsRegular() {
		return true, p.store.root.RemoveAll(name) // nobody can use it
	}
	f, err := p.store.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if ok, err := tryLock(f); !ok && !errors.Is(err, errNoLocks) {
		return false, err
	}
	fi, err = p.store.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || fi.ModTime().After(p.old) {
		return false, err
	}
	return true, p.store.root.Remove(name)
}

// partials removes partials whose process has ended, and other leftovers.
func (p *pruning) partials(ctx context.Context) error {
	entries, err := p.store.list(ingestDir)
	if err != nil {
		return err
	}
	limit := p.now.Add(-max(p.opts.OlderThan, minGrace))
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(ingestDir, e.Name())
		if p.store.lastChange(name).After(limit) || !e.IsDir() && !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		unlock, ok := p.lockPartial(path.Join(name, journalName))
		if !ok {
			continue
		}
		err := p.remove(name, &p.done.Partials)
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// lockPartial makes sure that nobody works on a partial.
func (p *pruning) lockPartial(log string) (unlock func(), ok bool) {
	f, err := p.store.root.OpenFile(log, os.O_RDWR, 0)
	if err != nil {
		return func() {}, true // a single file, or a directory without a journal
	}
	free, err := tryLock(f)
	if errors.Is(err, errNoLocks) {
		free = p.store.lastChange(path.Dir(log)).Before(p.now.Add(-blindGrace))
	} else if err != nil || !free {
		free = false
	}
	if !free {
		f.Close()
	}
	return func() { f.Close() }, free
}

// lastChange returns when a file, or any file of a directory, was last written.
func (s *Store) lastChange(name string) time.Time {
	var last time.Time
	_ = fs.WalkDir(s.root.FS(), name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if fi, err := e.Info(); err == nil && fi.ModTime().After(last) {
			last = fi.ModTime()
		}
		return nil
	})
	return last
}

// damaged removes what was put aside.
func (p *pruning) damaged(ctx context.Context) error {
	entries, err := p.store.list(badDir)
	if err != nil {
		return err
	}
	limit := p.now.Add(-max(p.opts.OlderThan, minGrace))
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(badDir, e.Name())
		if p.store.lastChange(name).After(limit) {
			continue
		}
		if err := p.remove(name, &p.done.Damaged); err != nil {
			return err
		}
	}
	return nil
}

// remove removes and counts a file or directory.
func (p *pruning) remove(name string, count *int) error {
	*count++
	p.done.Bytes += p.store.sizeOf(name)
	if p.opts.DryRun {
		return nil
	}
	return p.store.root.RemoveAll(name)
}
