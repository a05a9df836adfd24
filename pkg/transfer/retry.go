package transfer

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	"oras.land/oras-go/v2/registry/remote/errcode"
)

const (
	maxTries    = 6                      // tries without progress
	firstWait   = 250 * time.Millisecond // the longest first wait; each next is up to twice as long
	longestWait = 10 * time.Second
	mostAsked   = 60 * time.Second // the longest wait that a source may ask for

	// stallTimeout is how long a source may give no bytes.
	stallTimeout = 60 * time.Second
)

var (
	errStalled   = errors.New("no bytes for a minute")
	errFromStart = errors.New("no parts of blobs here, reading from the start again")
)

// A retrier is an error that knows whether the same request may go better
// later, and how long to wait for that at least.
type retrier interface {
	error
	Retry() (wait time.Duration, ok bool)
}

// transient reports whether err is of the kind that passes: a broken
// connection, a busy or failing server. Nothing else is worth another try.
func transient(err error) (wait time.Duration, ok bool) {
	if r, is := errors.AsType[retrier](err); is {
		wait, ok = r.Retry()
		return min(max(wait, 0), mostAsked), ok
	}
	if answer, is := errors.AsType[*errcode.ErrorResponse](err); is {
		code := answer.StatusCode
		return 0, code >= 500 && code != http.StatusNotImplemented ||
			code == http.StatusRequestTimeout || code == http.StatusTooManyRequests
	}
	for _, target := range []error{
		io.ErrUnexpectedEOF, errStalled, errFromStart, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, target) {
			return 0, true
		}
	}
	timeout, is := errors.AsType[net.Error](err)
	return 0, is && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded)
}

// A pacer counts tries without progress and waits between them.
type pacer struct{ tries int }

// again waits before the next try. It returns an error when there is to be
// none: err itself, or the reason why ctx ended.
func (p *pacer) again(ctx context.Context, err error) error {
	atLeast, ok := transient(err)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.tries++
	if !ok || p.tries >= maxTries {
		return err
	}
	span := min(firstWait<<p.tries, longestWait)
	t := time.NewTimer(atLeast + rand.N(span))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// progress forgives the failures so far.
func (p *pacer) progress() { p.tries = 0 }
