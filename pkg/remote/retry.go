package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"oras.land/oras-go/v2/registry/remote/retry"
)

const (
	maxTries      = 6                      // tries without progress
	firstWait     = 250 * time.Millisecond // the longest first wait; each next is up to twice as long
	longestWait   = 10 * time.Second
	maxRetryAfter = 60 * time.Second

	defaultMaxWait = 5 * time.Minute

	// worthBytes is how much an upload must have gone on for its waits to be
	// forgiven.
	worthBytes = 16 << 20
)

// ErrMaxWait means that a registry has kept us waiting for as long as it may
// ([Options.MaxWait]) with little or nothing to show for it. The error of the
// last request is with it.
var ErrMaxWait = errors.New("waited too long")

// An allowance is how long may be waited between tries.
type allowance struct {
	most   time.Duration // 0 is defaultMaxWait
	waited time.Duration
}

// spend tells whether there is enough of it for another wait, and takes it.
func (p *allowance) spend(wait time.Duration) bool {
	if p.waited+wait > cmp.Or(max(p.most, 0), defaultMaxWait) {
		return false
	}
	p.waited += wait
	return true
}

// over returns err with [ErrMaxWait].
func (p *allowance) over(err error) error {
	return fmt.Errorf("%w, %v of at most %v: %w", ErrMaxWait, p.waited.Round(time.Second), cmp.Or(max(p.most, 0), defaultMaxWait), err)
}

// policy is the retry policy of one small request, in the form that oras-go's
// retry transport asks for.
type policy struct{ allowance }

// again returns the transport that tries small requests again.
func (c *Client) again() *retry.Transport {
	return &retry.Transport{Base: c.guard, Policy: func() retry.Policy {
		return &policy{allowance{most: c.opts.MaxWait}}
	}}
}

// Retry implements retry.Policy of oras-go. A negative wait means no.
func (p *policy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	if attempt+1 >= maxTries {
		return -1, nil
	}
	if err != nil {
		if !covers(err) {
			return -1, nil
		}
		return p.wait(backoff(attempt, 0)), nil
	}
	if _, again := classOf(resp.StatusCode); !again {
		return -1, nil
	}
	return p.wait(backoff(attempt, retryAfter(resp.Header.Get("Retry-After"), time.Now()))), nil
}

// wait returns the wait, or -1 if it would be too much.
func (p *policy) wait(d time.Duration) time.Duration {
	if !p.spend(d) {
		return -1
	}
	return d
}

// covers reports whether a failed connection is tried again here. A host that
// refuses connections or has no address is more often misspelt than about to
// appear.
func covers(err error) bool {
	return brokenConnection(err) && !errors.Is(err, syscall.ECONNREFUSED)
}

// backoff returns how long to wait before try number attempt+1: a random part
// of a span that doubles, and at least what the other side asked for.
func backoff(attempt int, atLeast time.Duration) time.Duration {
	span := min(firstWait<<min(attempt, 16), longestWait)
	return atLeast + rand.N(span)
}

// Pause waits for d, or returns the reason why ctx ended before.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3). What it
// cannot read, and what lies in the past, is zero; it never returns more than
// a minute.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(n, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
