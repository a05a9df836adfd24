package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/signing"
)

// CrawlOptions adjusts [Hub.Crawl].
type CrawlOptions struct {
	// Requests bounds the requests that are under way at once. It is where
	// the crawl begins; a registry that says that it is too much gets fewer.
	// Zero means 64, and the most is 200.
	Requests int

	// Trust says whose signatures make a version verified, and whose cards and
	// statements count. Nil looks at no signature, and takes a repository's
	// publishers at their word.
	Trust *signing.Trust

	// Named are repositories that somebody has named one by one, besides those
	// among the places: that a list of others lacks them, which may show less
	// than can be read, does not mean that they are gone.
	Named []string

	// Whole tells that places are all that the index is made from: what was measured
	// of versions in repositories that are at none of them is let go.
	Whole bool

	// Progress, if not nil, is told how far the crawl is, whenever a part of
	// it was written. Calls come one at a time.
	Progress func(CrawlResult)
}

// A CrawlResult tells what a crawl did.
type CrawlResult struct {
	Repositories int `json:"repositories"` // that were looked at
	Versions     int `json:"versions"`     // that these have
	Fetched      int `json:"fetched"`      // that were new or had something new attached
	Changed      int `json:"changed"`      // of which only the tags were new
	Joined       int `json:"joined"`       // of which something new was stated in other repositories
	Deleted      int `json:"deleted"`      // that are gone
	Skipped      int `json:"skipped"`      // tags of what is no model
	Failed       int `json:"failed"`       // repositories and versions that could not be read

	// Places are those that were read.
	Places []string `json:"-"`

	// Problems say why, for the first of them.
	Problems []string `json:"problems,omitempty"`
}

// Bounds of a crawl.
const (
	crawlRequests     = 64
	maxCrawlRequests  = 200
	crawlRepositories = 64       // that are under way at once
	crawlBatch        = 1 << 14  // records that are written together
	crawlText         = 32 << 20 // bytes of their cards
	crawlEvery        = 30 * time.Second
	maxProblems       = 20
)

// Crawl brings an index up to date with what registries have. A place is a
// registry ("ghcr.io"), all repositories below a path ("ghcr.io/acme/"), or one
// repository ("ghcr.io/acme/support"); a path that is no repository stands for
// what is below it.
//
// Of each repository the list of tags is read, and each tag that people gave is
// asked for its digest. What the index has with that digest, and with the same
// list of attachments, is not fetched again. A new version costs its manifest and
// its README, more only if it does not say itself what it is, and its attachments
// if it has any. What is gone from a place is removed from the index. Single
// repositories are read together, other places one after the other.
//
// What was measured of a version is joined by its digest, when all places were read:
// from every repository that was crawled, from [Options.Evaluations], and from those
// that the record of the version's repository names, by the lists of attachments that
// they have for it.
//
// What cannot be read keeps what the index has of it, and is counted as failed: a
// repository whose registry does not answer, a version that is damaged. What was
// found is written while the crawl goes on, so that one that is interrupted goes on
// where it ended. Places that could not be read at all are a [CrawlError] when the
// others were; one where there is nothing, and of which the index has nothing, wraps
// [errdef.ErrNotFound]. The result, which is never nil, names the places that were
// read.
func (h *Hub) Crawl(ctx context.Context, ix *index.Index, places []string, opts CrawlOptions) (*CrawlResult, error) {
	if opts.Requests <= 0 {
		opts.Requests = crawlRequests
	}
	c := &crawl{h: h, ix: ix, opts: opts, pace: newPace(min(opts.Requests, maxCrawlRequests)), last: time.Now()}
	list, err := h.crawlPlaces(places)
	if err != nil {
		return &c.res, err
	}
	c.named = make(map[string]bool)
	for _, name := range opts.Named {
		c.named[name] = true
	}
	for _, p := range list {
		if p.repo != nil {
			c.named[p.repo.Name()] = true
		}
	}
	errs, err := c.places(ctx, list)
	if err != nil {
		return &c.res, errors.Join(err, c.flush(context.WithoutCancel(ctx)))
	}
	if err := c.join(ctx); err != nil {
		return &c.res, errors.Join(fmt.Errorf("join evaluations: %w", err), c.flush(context.WithoutCancel(ctx)))
	}
	failed := &CrawlError{}
	for i, err := range errs {
		if err != nil {
			failed.Places, failed.causes = append(failed.Places, list[i].name), append(failed.causes, err)
		}
	}
	if err := c.flush(ctx); err != nil || len(failed.Places) == 0 {
		return &c.res, err
	}
	return &c.res, failed
}

// A CrawlError tells of places that could not be read, while others were.
type CrawlError struct {
	Places []string
	causes []error
}

func (e *CrawlError) Error() string {
	text := fmt.Sprintf("crawl %s: %v", e.Places[0], e.causes[0])
	if more := len(e.Places) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Unwrap returns why, for each place.
func (e *CrawlError) Unwrap() []error { return e.causes }

// An indexError is one of the index itself, which ends a crawl.
type indexError struct{ error }

func (e indexError) Unwrap() error { return e.error }

// A crawl is one run of Crawl.
type crawl struct {
	h     *Hub
	ix    *index.Index
	opts  CrawlOptions
	pace  *pace
	named map[string]bool // repositories, which no list takes for gone

	mu      sync.Mutex
	res     CrawlResult
	records []index.Record
	text    int // bytes of their cards
	gone    []index.Key
	skipped []index.Skipped
	last    time.Time // when something was written

	elsewhere elsewhere
}

// places crawls those that may have many repositories one after the other, and then
// the single repositories together. In errs is why a place could not be read; err ends
// the crawl.
func (c *crawl) places(ctx context.Context, list []crawlPlace) (errs []error, err error) {
	errs = make([]error, len(list))
	one := func(ctx context.Context, i int) error {
		err := c.place(ctx, list[i])
		if _, ok := errors.AsType[indexError](err); ok || err != nil && ctx.Err() != nil {
			return fmt.Errorf("crawl %s: %w", list[i].name, err)
		}
		if errs[i] = err; err != nil {
			c.problem(list[i].name, err)
			return nil
		}
		c.count(func(res *CrawlResult) { res.Places = append(res.Places, list[i].name) })
		return nil
	}
	for i, p := range list {
		if p.repo == nil {
			if err := one(ctx, i); err != nil {
				return errs, err
			}
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlRepositories)
	for i, p := range list {
		if p.repo != nil {
			g.Go(func() error { return one(gctx, i) })
		}
	}
	return errs, g.Wait()
}

// place crawls the repositories of one place.
func (c *crawl) place(ctx context.Context, p crawlPlace) error {
	found, err := c.repositories(ctx, p)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(crawlRepositories)
	for _, name := range found.names {
		g.Go(func() error {
			if err := c.repository(gctx, name, found.tags); err != nil {
				if gctx.Err() != nil {
					return context.Cause(gctx)
				}
				if _, ok := errors.AsType[indexError](err); ok {
					return err
				}
				c.problem(name, err)
			}
			return c.flushIfDue(gctx)
		})
	}
	if err := g.Wait(); err != nil || found.whole == "" {
		return err
	}
	return c.forget(ctx, found.whole, found.names)
}

// forget removes the repositories below a place that are not there any more.
func (c *crawl) forget(ctx context.Context, whole string, names []string) error {
	known, err := c.ix.Repositories(ctx, whole)
	if err != nil {
		return indexError{err}
	}
	skipped, err := c.ix.SkippedRepositories(ctx, whole)
	if err != nil {
		return indexError{err}
	}
	slices.Sort(names)
	there := func(name string) bool {
		_, ok := slices.BinarySearch(names, name)
		return ok || c.named[name]
	}
	for _, name := range skipped {
		if !there(name) {
			c.skip(name, nil)
		}
	}
	for _, name := range known {
		if there(name) {
			continue
		}
		versions, err := c.ix.Versions(ctx, name)
		if err != nil {
			return indexError{err}
		}
		c.mu.Lock()
		for _, v := range versions {
			c.gone = append(c.gone, v.Key())
		}
		c.res.Deleted += len(versions)
		c.mu.Unlock()
	}
	return nil
}

func (c *crawl) problem(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.res.Failed++
	if len(c.res.Problems) < maxProblems {
		c.res.Problems = append(c.res.Problems, what+": "+err.Error())
	}
}

// count changes the result.
func (c *crawl) count(f func(*CrawlResult)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.res)
}

func (c *crawl) put(r index.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records, c.text = append(c.records, r), c.text+len(r.Card)
}

// flushIfDue writes what was found, if it is much or some time has passed.
func (c *crawl) flushIfDue(ctx context.Context) error {
	c.mu.Lock()
	due := len(c.records) >= crawlBatch || c.text >= crawlText || time.Since(c.last) > crawlEvery
	c.mu.Unlock()
	if !due {
		return nil
	}
	return c.flush(ctx)
}

// flush writes what was found so far.
func (c *crawl) flush(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if err := c.ix.Put(ctx, c.records); err != nil {
		return indexError{err}
	}
	if err := c.ix.Delete(ctx, c.gone); err != nil {
		return indexError{err}
	}
	if err := c.ix.SetSkipped(ctx, c.skipped); err != nil {
		return indexError{err}
	}
	clear(c.records) // their cards need not be kept
	c.records, c.gone, c.skipped, c.text = c.records[:0], c.gone[:0], nil, 0
	if c.opts.Progress != nil {
		c.opts.Progress(c.res)
	}
	return nil
}
