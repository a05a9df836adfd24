package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

	// defaultMaxWait is the most of all waits for a blob, between two parts of
	// it that came, when nobody says.
	defaultMaxWait = 5 * time.Minute

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

// ErrMaxWait means that a source, or a target, has kept us waiting for as long as
// it may without bytes to show for it. The error it was waited for is with it.
var ErrMaxWait = errors.New("waited too long")

// A pacer counts tries without progress and waits between them.
type pacer struct {
	most   time.Duration // of all waits without progress worth the name; 0 is defaultMaxWait
	tries  int
	best   int64 // bytes that were there at the last progress
	since  int64 // and at the last that was worth the name
	waited time.Duration
}

// again waits before the next try. It returns an error when there is to be
// none: err itself, with [ErrMaxWait] if that is why, or the reason why ctx ended.
func (p *pacer) again(ctx context.Context, err error) error {
	atLeast, ok := transient(err)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.tries++
	if !ok || p.tries >= maxTries {
		return err
	}
	wait := atLeast + rand.N(min(firstWait<<p.tries, longestWait))
	most := cmp.Or(max(p.most, 0), defaultMaxWait)
	if p.waited+wait > most {
		return fmt.Errorf("%w, %v of at most %v: %w", ErrMaxWait, p.waited.Round(time.Second), most, err)
	}
	return p.during(func() error {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// during counts what wait takes as waited.
func (p *pacer) during(wait func() error) error {
	began := time.Now()
	defer func() { p.waited += time.Since(began) }()
	return wait()
}

// progress forgives the failures so far if there are more bytes than ever, and
// the waits if there is a part more: a source that gives a byte and then asks to
// wait must not keep us for ever. Bytes that come anew do not count either.
func (p *pacer) progress(bytes int64) {
	if bytes <= p.best {
		return
	}
	p.best, p.tries = bytes, 0
	if bytes-p.since >= partBytes {
		p.since, p.waited = bytes, 0
	}
}
