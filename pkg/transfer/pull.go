package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
)

// defaultWorkers is how many blobs are fetched at once when nobody says.
const defaultWorkers = 4

// A Job is one blob to pull.
type Job struct {
	Desc ocispec.Descriptor
	Name string // what the user knows it by; the digest when empty

	// Open is called when the job's turn comes, at most once.
	Open func() (Partial, error)

	// Local, if not nil, is called after Open, at most once. It names parts of
	// the blob that this machine may have, in the order of the blob: they are
	// copied, each checked against its hash, and only the rest is fetched. What
	// does not fit is fetched, and so is everything when Local fails.
	//
	// What it returns is gone through several times, by one goroutine at a
	// time, and kept no longer than until everything is copied. A blob may have
	// half a million parts, so they should be made as they are asked for.
	Local func(ctx context.Context) (iter.Seq[Segment], error)
}

// PullOptions adjusts [Pull]. The zero value fetches four blobs at once.
type PullOptions struct {
	// Workers bounds the blobs fetched at once. Zero means 4.
	Workers int

	// Connections bounds the requests to the source under way at once, for
	// all blobs together. Zero means 32.
	Connections int

	// Bandwidth is how many bytes are fetched in a second at most, over all
	// connections. Zero means no limit.
	Bandwidth int64

	// PageCache leaves all that is fetched in memory that the system keeps for
	// files, for who reads it at once. Otherwise a [DirectWriter] is asked not to.
	PageCache bool

	// Limit, if not nil, is shared with others who fetch at the same time, and
	// stands for Connections and Bandwidth, which are not looked at then.
	Limit *Limit

	// MaxWait bounds the waits for one blob, together, until another 16 MiB of
	// it have come or it is there: those between tries, and those that src asks
	// for. Zero means 5 minutes.
	MaxWait time.Duration

	// Observe, if not nil, is told what happens.
	Observe Observer
}

// A DigestError reports that the bytes of a blob are not the ones its
// descriptor names.
type DigestError struct {
	Name string             // what the user knows the blob by
	Desc ocispec.Descriptor // what was expected
	Got  digest.Digest      // the digest of what came; empty when it was not taken
	Size int64              // how many bytes came, at least
}

func (e *DigestError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("verify %s: expected %s with %d bytes, got %d bytes", e.Name, e.Desc.Digest, e.Desc.Size, e.Size)
	}
	return fmt.Sprintf("verify %s: expected %s, got %s", e.Name, e.Desc.Digest, e.Got)
}

// Unwrap returns [content.ErrMismatchedDigest].
func (e *DigestError) Unwrap() error { return content.ErrMismatchedDigest }

// Pull fetches all jobs from src, several at once, the largest first so that
// none is left over at the end. Each blob is hashed as it comes, and committed
// when its digest is right.
//
// A blob begins as one stream. If src is a [RangeFetcher] or a [Locator], parts
// of the largest blobs are fetched by further connections as long as those
// raise the bytes per second of all together; when src says that it is busy
// there are fewer again. What an earlier run left in a job's partial is kept and
// gone on from.
//
// A fetch that breaks goes on where it stopped, after a wait; six failures
// without a byte between them are final, and so are waits of more than
// opts.MaxWait that brought next to nothing ([ErrMaxWait]). Wrong bytes are fetched once more from
// the start, and once more for each other place that a [Distruster] has; then
// they are a [DigestError], and nothing of them is kept. A source that only
// announces something else, with an error that wraps
// [content.ErrMismatchedDigest], gets as many tries, and what came before is
// kept. The first error ends the other fetches: their partials are closed and
// keep what they have. Pull returns after all it started has ended.
//
// Memory is about four buffers of 1 MiB for each blob under way and one of 256
// KiB for each connection beside those, whatever the blobs' sizes.
func Pull(ctx context.Context, src content.Fetcher, jobs []Job, opts PullOptions) error {
	for _, j := range jobs {
		if err := (teller{nil, j.Name, j.Desc}).check(); err != nil {
			return err
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	limit := opts.Limit
	if limit == nil {
		limit = NewLimit(opts.Connections, opts.Bandwidth)
	}
	return newLink(src, limit).pull(ctx, jobs, opts)
}

// pull is [Pull], over the link.
func (l *link) pull(ctx context.Context, jobs []Job, opts PullOptions) error {
	workers := min(cmp.Or(max(opts.Workers, 0), defaultWorkers), cap(l.limit.slots), len(jobs))
	l.pageCache, l.maxWait = opts.PageCache, opts.MaxWait
	running, cancel := context.WithCancel(ctx)
	var governing sync.WaitGroup
	governing.Go(func() { l.run(running) })
	defer governing.Wait()
	defer cancel()

	queue := make(chan Job)
	g, ctx := errgroup.WithContext(running)
	g.Go(func() error { return feed(ctx, queue, jobs) })
	for range workers {
		g.Go(func() error {
			for j := range queue {
				if err := l.job(ctx, j, opts.Observe); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// feed hands out the jobs, the largest first.
func feed(ctx context.Context, queue chan<- Job, jobs []Job) error {
	defer close(queue)
	ordered := slices.SortedStableFunc(slices.Values(jobs), func(a, b Job) int {
		return cmp.Compare(b.Desc.Size, a.Desc.Size)
	})
	for _, j := range ordered {
		select {
		case queue <- j:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// job fetches one blob into its partial, and gives the partial its name.
func (l *link) job(ctx context.Context, j Job, observe Observer) (err error) {
	tell := teller{observe, j.Name, j.Desc}
	p, err := j.Open()
	if err != nil {
		return fmt.Errorf("open %s: %w", tell.title(), err)
	}
	defer func() {
		if closing := p.Close(); closing != nil && err == nil {
			err = fmt.Errorf("close %s: %w", tell.title(), closing)
		}
	}()
	if err := l.fetch(ctx, p, j, tell); err != nil {
		if _, ok := errors.AsType[*DigestError](err); ok {
			return err
		}
		return fmt.Errorf("pull %s: %w", tell.title(), err)
	}
	if err := p.Commit(); err != nil {
		return fmt.Errorf("commit %s: %w", tell.title(), err)
	}
	tell.event(Event{Action: Done})
	return nil
}
