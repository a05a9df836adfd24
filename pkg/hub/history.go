package hub

import (
	"context"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	// historyWorkers bounds the versions of a history that are read at once.
	historyWorkers = 16

	// aheadAfter is how many versions of a line are read one after the other
	// before others are read ahead: a short history costs no list of tags.
	aheadAfter = 24
)

// manifests is where versions are read.
type manifests interface {
	Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error)
}

// reader reads single versions for a walk. What is neither a manifest nor an
// index is a version without a history.
func reader(repo manifests) func(context.Context, digest.Digest) (lineage.Commit, error) {
	return func(ctx context.Context, d digest.Digest) (lineage.Commit, error) {
		desc, raw, err := repo.Manifest(ctx, d.String())
		if err != nil {
			return lineage.Commit{}, err
		}
		return commitOf(desc, raw), nil
	}
}

func commitOf(desc ocispec.Descriptor, raw []byte) lineage.Commit {
	c, err := lineage.ParseCommit(desc, raw)
	if err != nil {
		return lineage.Commit{Digest: desc.Digest, Problem: err.Error()}
	}
	return c
}

// readHistory reads the history of versions of a repository. Parents that the
// registry has no more are gaps in it, and no errors. Memory is that of the commits:
// manifests are read and forgotten. One version leads to the next, so a line is read
// one by one; but all versions have keep-tags, and where the line is long those
// are read ahead, many at once.
func readHistory(ctx context.Context, repo *remote.Repository, start []digest.Digest, opts lineage.WalkOptions) (*lineage.History, error) {
	opts.Workers = historyWorkers
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{repo: repo, read: reader(repo), known: make(map[string]*reading)}
	defer a.running.Wait()
	defer cancel()
	return lineage.Walk(ctx, start, func(wctx context.Context, d digest.Digest) (lineage.Commit, error) {
		if n := a.count(); n == aheadAfter {
			a.running.Go(func() { a.run(ctx) })
		}
		return a.get(wctx, d)
	}, opts)
}

// ahead reads versions before they are asked for.
type ahead struct {
	repo *remote.Repository
	read func(context.Context, digest.Digest) (lineage.Commit, error)

	running sync.WaitGroup

	mu    sync.Mutex
	asked int
	known map[string]*reading // by keep-tag: read ahead or being read, or read already
}

// A reading is a version that somebody reads.
type reading struct {
	done   chan struct{}
	commit lineage.Commit
	err    error
}

func (a *ahead) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.asked
}

// get returns what was read ahead, or reads it now.
func (a *ahead) get(ctx context.Context, d digest.Digest) (lineage.Commit, error) {
	key := keepTag(d)
	a.mu.Lock()
	r := a.known[key]
	if r == nil {
		r = &reading{done: make(chan struct{})}
		close(r.done)
		a.known[key] = r // so that nobody reads it ahead from now on
		a.mu.Unlock()
		return a.read(ctx, d)
	}
	a.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return lineage.Commit{}, context.Cause(ctx)
	}
	if r.err != nil || r.commit.Digest != d { // a keep-tag that lies, or is gone
		return a.read(ctx, d)
	}
	return r.commit, nil
}

// run reads what keep-tags hold, until the context ends. What it cannot read,
// whoever asks for it reads again.
func (a *ahead) run(ctx context.Context) {
	jobs := make(chan string)
	for range historyWorkers {
		a.running.Go(func() {
			for tag := range jobs {
				a.readAhead(ctx, tag)
			}
		})
	}
	defer close(jobs)
	for tag, err := range a.repo.Tags(ctx) {
		if err != nil {
			return
		}
		if !strings.HasPrefix(tag, keepPrefix) {
			continue
		}
		select {
		case jobs <- tag:
		case <-ctx.Done():
			return
		}
	}
}

func (a *ahead) readAhead(ctx context.Context, tag string) {
	a.mu.Lock()
	if a.known[tag] != nil {
		a.mu.Unlock()
		return
	}
	r := &reading{done: make(chan struct{})}
	a.known[tag] = r
	a.mu.Unlock()
	defer close(r.done)
	desc, raw, err := a.repo.Manifest(ctx, tag)
	if r.err = err; err == nil {
		r.commit = commitOf(desc, raw)
	}
}
