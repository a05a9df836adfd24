package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

const (
	maxTries      = 6                      // tries without progress
	firstWait     = 250 * time.Millisecond // the longest first wait; each next is up to twice as long
	longestWait   = 10 * time.Second
	maxRetryAfter = 60 * time.Second
)

// policy is the retry policy of small requests, in the form that oras-go's
// retry transport asks for.
type policy struct{}

// Retry implements retry.Policy of oras-go. A negative wait means no.
func (p policy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	if attempt+1 >= maxTries {
		return -1, nil
	}
	if err != nil {
		if !p.covers(err) {
			return -1, nil
		}
		return backoff(attempt, 0), nil
	}
	if _, again := classOf(resp.StatusCode); !again {
		return -1, nil
	}
	return backoff(attempt, retryAfter(resp.Header.Get("Retry-After"), time.Now())), nil
}

// covers reports whether a failed connection is tried again here. A host that
// refuses connections or has no address is more often misspelt than about to
// appear.
func (policy) covers(err error) bool {
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
