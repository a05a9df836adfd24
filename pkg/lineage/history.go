package lineage

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"
)

// MaxCommits bounds the versions of one history, however long it is.
const MaxCommits = 200_000

// A History is versions and what they were made from.
type History struct {
	// Commits are the versions, newest first: each comes before its parents.
	// Where that leaves a choice, the later one does, if they say when they were
	// made; else lines of development stay together.
	Commits []Commit

	// Gaps are parents that are not there any more, in the order in which
	// they were missed.
	Gaps []digest.Digest

	// More says that there are versions beyond these.
	More bool
}

// WalkOptions adjusts [Walk]. The zero value takes the whole history.
type WalkOptions struct {
	// Limit bounds the versions. Zero means [MaxCommits].
	Limit int

	// Workers bounds the versions read at once. Zero means 8.
	Workers int

	// FirstParent follows the first parent of each version and no others.
	FirstParent bool
}

// Walk reads the history of the versions start. get reads one version, and is
// called from several goroutines, once for each; an error that wraps
// [errdef.ErrNotFound] is a gap, unless it is one of start, and any other ends
// the walk. A version that is its own ancestor, which honest digests make
// impossible, is listed once.
func Walk(ctx context.Context, start []digest.Digest, get func(context.Context, digest.Digest) (Commit, error), opts WalkOptions) (*History, error) {
	w := &walk{get: get, opts: opts, seen: make(map[digest.Digest]bool)}
	if w.opts.Limit <= 0 || w.opts.Limit > MaxCommits {
		w.opts.Limit = MaxCommits
	}
	if w.opts.Workers <= 0 {
		w.opts.Workers = 8
	}
	level := w.fresh(start)
	for first := true; len(level) > 0; first = false {
		if room := w.opts.Limit - len(w.out.Commits); len(level) > room {
			level, w.out.More = level[:room], true
		}
		if len(level) == 0 {
			break
		}
		var err error
		if level, err = w.step(ctx, level, first); err != nil {
			return nil, err
		}
	}
	w.out.Commits = Sort(w.out.Commits)
	return &w.out, nil
}

// A walk goes from versions to their parents, all of one distance at a time.
type walk struct {
	get  func(context.Context, digest.Digest) (Commit, error)
	opts WalkOptions
	seen map[digest.Digest]bool
	out  History
}

// fresh are those that have not been seen before.
func (w *walk) fresh(list []digest.Digest) []digest.Digest {
	var out []digest.Digest
	for _, d := range list {
		if !w.seen[d] {
			w.seen[d] = true
			out = append(out, d)
		}
	}
	return out
}

// step reads the versions of one level, and returns the next.
func (w *walk) step(ctx context.Context, level []digest.Digest, first bool) ([]digest.Digest, error) {
	commits := make([]Commit, len(level))
	gone := make([]bool, len(level))
	read := func(ctx context.Context, i int) (err error) {
		commits[i], err = w.get(ctx, level[i])
		gone[i] = !first && errors.Is(err, errdef.ErrNotFound)
		if err != nil && !gone[i] {
			return fmt.Errorf("read version %s: %w", level[i], err)
		}
		return nil
	}
	if len(level) == 1 { // most histories are a line
		if err := read(ctx, 0); err != nil {
			return nil, err
		}
	} else {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(w.opts.Workers)
		for i := range level {
			g.Go(func() error { return read(gctx, i) })
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var next []digest.Digest
	for i, c := range commits {
		if gone[i] {
			w.out.Gaps = append(w.out.Gaps, level[i])
			continue
		}
		w.out.Commits = append(w.out.Commits, c)
		parents := c.Parents
		if w.opts.FirstParent {
			parents = parents[:min(1, len(parents))]
		}
		next = append(next, w.fresh(parents)...)
	}
	return next, nil
}

// Sort orders versions newest first, each before its parents. The order is the
// same for the same list. Where ancestry leaves a choice, the version with the
// later date comes first; one without a date, or with one that is later than its
// child's, counts as old as the child; and among equals lines of development
// stay together, as with git log --topo-order.
func Sort(commits []Commit) []Commit {
	byDigest := make(map[digest.Digest]int, len(commits))
	for i, c := range commits {
		byDigest[c.Digest] = i
	}
	children := make([]int, len(commits)) // that are not in the result yet
	for _, c := range commits {
		for _, p := range c.Parents {
			if i, ok := byDigest[p]; ok {
				children[i]++
			}
		}
	}
	s := sorting{date: make([]time.Time, len(commits)), commits: commits}
	for i := len(commits) - 1; i >= 0; i-- {
		s.date[i] = commits[i].Created
		if children[i] == 0 {
			s.push(i)
		}
	}
	out := make([]Commit, 0, len(commits))
	done := make([]bool, len(commits))
	take := func(i int) {
		done[i] = true
		out = append(out, commits[i])
		for _, p := range commits[i].Parents {
			if j, ok := byDigest[p]; ok && !done[j] {
				s.inherit(j, i)
				if children[j]--; children[j] == 0 {
					s.push(j)
				}
			}
		}
	}
	for next := 0; len(out) < len(commits); {
		for s.Len() > 0 {
			take(heap.Pop(&s).(waiting).commit)
		}
		for next < len(commits) && done[next] {
			next++
		}
		if next < len(commits) { // a cycle: it has to be cut somewhere
			take(next)
		}
	}
	return out
}

// A waiting version has no children that are still to come.
type waiting struct {
	commit, since int
}

// sorting is a heap of waiting versions.
type sorting struct {
	commits []Commit
	date    []time.Time // that counts, by version
	queue   []waiting
	turn    int
}

// inherit makes the date that counts for a parent no later than its child's.
func (s *sorting) inherit(parent, child int) {
	if at := s.date[child]; !at.IsZero() && (s.date[parent].IsZero() || s.date[parent].After(at)) {
		s.date[parent] = at
	}
}

func (s *sorting) push(commit int) {
	s.turn++
	heap.Push(s, waiting{commit, s.turn})
}

func (s *sorting) Len() int      { return len(s.queue) }
func (s *sorting) Swap(i, j int) { s.queue[i], s.queue[j] = s.queue[j], s.queue[i] }
func (s *sorting) Push(x any)    { s.queue = append(s.queue, x.(waiting)) }

func (s *sorting) Pop() any {
	last := s.queue[len(s.queue)-1]
	s.queue = s.queue[:len(s.queue)-1]
	return last
}

// Less says that the later date comes first, and else who came last.
func (s *sorting) Less(i, j int) bool {
	a, b := s.queue[i], s.queue[j]
	if c := s.date[a.commit].Compare(s.date[b.commit]); c != 0 {
		return c > 0
	}
	return a.since > b.since
}
