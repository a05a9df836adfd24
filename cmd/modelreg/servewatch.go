package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/modelreg/modelreg/pkg/hub"
)

const (
	// policyTimeout bounds one look at a policy in a registry.
	policyTimeout = time.Minute

	// policySettled is how long a file must have been left alone before it is
	// read because of the time alone: half of a policy may be one that allows
	// more.
	policySettled = 2 * time.Second
)

// A rulebook is what a registry that decides goes by: read when it starts, and
// again when it may have changed. What cannot be used then changes nothing.
type rulebook struct {
	app     *app
	file    string                                   // "" for a policy in a registry
	read    func(context.Context) (hub.Rules, error) // anew each time
	changed func()

	mu    sync.Mutex
	rules hub.Rules
}

// now are the rules that are in force.
func (b *rulebook) now(context.Context) (hub.Rules, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules, nil
}

// follow looks whether the policy has changed, each time that this long has passed,
// unless that is zero, and on SIGHUP, until ctx ends. The function that it returns
// waits for that.
func (b *rulebook) follow(ctx context.Context, every time.Duration) (wait func()) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(told)
		var tick <-chan time.Time
		if every > 0 {
			t := time.NewTicker(every)
			defer t.Stop()
			tick = t.C
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-told:
				b.look(ctx, true)
			case <-tick:
				b.look(ctx, false)
			}
		}
	}()
	return func() { <-done }
}

// look reads the policy again, and says what came of it. Somebody told it to, or it
// is time to.
func (b *rulebook) look(ctx context.Context, told bool) {
	before, settled := b.written()
	if !told && !settled {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, policyTimeout)
	defer cancel()
	old, _ := b.now(ctx) // which returns nil
	rules, err := b.read(ctx)
	if after, _ := b.written(); !told && !after.Equal(before) {
		return // what was read may be half of it: at the next look
	}
	switch p := &b.app.printer; {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
	case err != nil:
		p.Warn("THE POLICY HAS NOT BEEN READ AGAIN, and policy %s still decides: %s", policyNames(old), spoken(err.Error()))
	case rules.Digest() != old.Digest():
		b.mu.Lock()
		b.rules = rules
		b.mu.Unlock()
		b.changed()
		p.Note("policy %s decides from now on, and no longer %s", policyNames(rules), policyNames(old))
	case told:
		p.Note("policy %s has not changed", policyNames(old))
	}
}

// written returns when a file was last written to, and whether that is over.
func (b *rulebook) written() (last time.Time, settled bool) {
	if b.file == "" {
		return last, true
	}
	info, err := os.Stat(b.file)
	if err != nil {
		return last, true // reading will tell
	}
	return info.ModTime(), time.Since(info.ModTime()).Abs() >= policySettled
}

func policyNames(r hub.Rules) string {
	names := make([]string, len(r.Policies))
	for i, p := range r.Policies {
		names[i] = p.String()
	}
	return spoken(strings.Join(names, ", "))
}
