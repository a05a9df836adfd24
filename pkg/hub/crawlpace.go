package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/modelreg/modelreg/pkg/remote"
)

// crawlTries is how often a request is made that a registry has no time for.
const crawlTries = 5

// A pace bounds how many requests are under way: fewer when a registry says that
// it gets too many, and then slowly more again.
type pace struct {
	mu     sync.Mutex
	most   int
	limit  int
	active int
	good   int // requests since the limit changed
	free   chan struct{}
	rest   time.Time // no request begins before
}

func newPace(most int) *pace {
	return &pace{most: most, limit: most, free: make(chan struct{}, 1)}
}

// do runs f when it is its turn, and again if the registry had no time.
func (p *pace) do(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		if err := p.enter(ctx); err != nil {
			return err
		}
		err := f()
		busy, wait := overloaded(err)
		p.leave(busy, wait)
		if !busy || try == crawlTries {
			return err
		}
	}
}

// overloaded tells whether an error says that it was too much, and how long to
// wait then.
func overloaded(err error) (bool, time.Duration) {
	e, ok := errors.AsType[*remote.Error](err)
	if !ok || !e.Overloaded() {
		return false, 0
	}
	wait, _ := e.Retry()
	return true, max(wait, 100*time.Millisecond)
}

func (p *pace) enter(ctx context.Context) error {
	for {
		p.mu.Lock()
		wait := time.Until(p.rest)
		if p.active < p.limit && wait <= 0 {
			p.active++
			if p.active < p.limit {
				p.wake() // there is room for another one that waits
			}
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		if wait <= 0 {
			wait = time.Minute // until somebody leaves
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-p.free:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// wake lets one of those who wait look again.
func (p *pace) wake() {
	select {
	case p.free <- struct{}{}:
	default:
	}
}

func (p *pace) leave(busy bool, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active--
	switch {
	case busy:
		p.limit, p.good = max(p.limit/2, 1), 0
		if until := time.Now().Add(wait); until.After(p.rest) {
			p.rest = until
		}
	default:
		if p.good++; p.good > 2*p.limit && p.limit < p.most {
			p.limit, p.good = p.limit+1, 0
		}
	}
	p.wake()
}
