package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// minGrace is how long after its last use a blob is never removed, whatever the
// options say.
const minGrace = time.Hour

// maxManifest is the largest blob that is read for what it points to.
const maxManifest = 4 << 20

// PruneOptions adjusts [Store.Prune]. The zero value removes what no entry of
// index.json leads to and was last used an hour ago or earlier.
type PruneOptions struct {
	// OlderThan is how long ago the last use of what is removed must be. Less
	// than an hour means an hour.
	OlderThan time.Duration

	// All removes also what tags lead to, and then the tags.
	All bool

	// DryRun only counts.
	DryRun bool
}

// Pruned is what [Store.Prune] has removed.
type Pruned struct {
	Blobs, Partials, Damaged, References int
	Bytes                                int64
}

// Prune removes blobs that nothing leads to, partials that no process works on,
// and what was put aside as damaged, if they are old enough. It never removes
// what a running process has used since it opened its store.
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
	oldest, err := p.store.oldestSession(p.now)
	if err != nil {
		return err
	}
	p.old = p.now.Add(-max(p.opts.OlderThan, minGrace))
	if limit := oldest.Add(-touchAfter); limit.Before(p.old) {
		p.old = limit
	}
	if err := p.blobs(ctx); err != nil {
		return err
	}
	if err := p.ingests(ctx); err != nil {
		return err
	}
	return p.damaged(ctx)
}

// blobs removes blobs while nobody can change a tag.
func (p *pruning) blobs(ctx context.Context) error {
	unlock, err := p.store.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	keep := make(map[digest.Digest]bool)
	if !p.opts.All {
		if keep, err = p.store.reachable(ctx); err != nil {
			return err
		}
	}
	return p.store.eachBlob(ctx, func(name string, fi fs.FileInfo) error {
		dgst, _ := nameDigest(name)
		if keep[dgst] || fi.ModTime().After(p.old) {
			return nil
		}
		p.done.Blobs++
		p.done.Bytes += fi.Size()
		if p.opts.DryRun {
			return nil
		}
		return p.blob(name)
	})
}

// blob removes one blob, unless it comes into use at this moment: users of a
// blob touch it under its name, so one that has been moved away and is still
// old has no new user.
func (p *pruning) blob(name string) error {
	root := p.store.root
	aside := path.Join(ingestDir, tempPrefix+random())
	if err := root.Rename(name, aside); err != nil {
		return err
	}
	fi, err := root.Lstat(aside)
	if err == nil && fi.ModTime().After(p.old) {
		p.done.Blobs--
		p.done.Bytes -= fi.Size()
		return root.Rename(aside, name)
	}
	return root.Remove(aside)
}

// reachable returns the digests that index.json leads to.
func (s *Store) reachable(ctx context.Context) (map[digest.Digest]bool, error) {
	keep := make(map[digest.Digest]bool)
	var todo []ocispec.Descriptor
	for e, err := range s.References(ctx) {
		if err != nil {
			return nil, err
		}
		todo = append(todo, e.Descriptor)
	}
	for len(todo) > 0 {
		desc := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if keep[desc.Digest] {
			continue
		}
		keep[desc.Digest] = true
		if desc.Size > maxManifest {
			continue
		}
		next, err := content.Successors(ctx, s.peek(), desc)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err == nil {
			todo = append(todo, next...)
		}
	}
	return keep, nil
}

// peek reads blobs without counting as a use of them.
func (s *Store) peek() content.Fetcher {
	return content.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (rc io.ReadCloser, err error) {
		name, err := blobName(desc)
		if err != nil {
			return nil, err
		}
		return s.root.Open(name)
	})
}

// ingests removes old partials whose process has ended, and other leftovers.
func (p *pruning) ingests(ctx context.Context) error {
	entries, err := p.store.list(ingestDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(ingestDir, e.Name())
		if e.IsDir() {
			p.partial(name)
		} else if fi, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), tempPrefix) && fi.ModTime().Before(p.old) {
			p.remove(name)
		}
	}
	return nil
}
func (p *pruning) partial(name string)               {}
func (p *pruning) remove(name string)                {}
func (p *pruning) damaged(ctx context.Context) error { return nil }

var _ = errors.Is
