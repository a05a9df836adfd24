package transfer

import (
	"context"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// PullBuffers is Pull over at most so many connections. It returns how many bytes
// of buffers it made.
func PullBuffers(ctx context.Context, src content.Fetcher, jobs []Job, connections int) (int64, error) {
	l := newLink(src, NewLimit(connections, 0))
	err := l.pull(ctx, jobs, PullOptions{})
	return l.buffers.made, err
}

// A Link is a link without blobs, whose governor wants so many connections.
type Link struct{ *link }

// NewLink returns a link with so many connections in use.
func NewLink(connections int) Link {
	l := newLink(nil, NewLimit(connections, 0))
	for range connections {
		l.limit.slots <- struct{}{}
	}
	l.gov.target = connections
	return Link{l}
}

// Refuse is an error of a request by a helper, and then of that helper. It
// tells whether the helper's blob is alone from then on.
func (l Link) Refuse(err error) (alone bool) {
	b := &blob{tell: teller{desc: ocispec.Descriptor{}}}
	l.refused(err)
	l.failed(b, err)
	return b.alone
}

// Answer is an answer that took so long. It returns what answers take.
func (l Link) Answer(d time.Duration) time.Duration {
	l.answered(d)
	return l.delay
}

// Wants returns how many connections are wanted, and until when no request may
// be made.
func (l Link) Wants() (connections int, held time.Time) { return l.gov.target, l.held }

// Judge is a window with more bytes a second than the one before, in which
// there was enough to do. It returns how many connections are wanted then.
func (l Link) Judge(now time.Time) int {
	g := &l.gov
	g.judge(sight{now: now, active: g.target, more: true}, max(2*g.rate, 1))
	return g.target
}
