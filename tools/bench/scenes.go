package main

import (
	"context"
	"errors"
	"os"
)

// A scene is something that is measured with each tool in turn.
type scene struct {
	name string
	once bool // nothing in it varies from round to round
	run  func(s *suite, ctx context.Context) error
}

// scenes in the order in which they are run: what is wanted most comes first.
var scenes = []scene{
	{"cold", false, (*suite).cold},
	{"noop", false, (*suite).noop},
	{"changes", true, (*suite).versions},
	{"resume", true, (*suite).resume},
	{"inspect", true, (*suite).inspect},
	{"limited", false, (*suite).coldLimited},
}

// each runs f for each tool in a bout of its own.
func (s *suite) each(ctx context.Context, m *model, k *link, f func(b *bout)) error {
	for _, t := range s.tools {
		b, err := s.begin(ctx, t, m, k)
		if err != nil {
			return err
		}
		f(b)
		b.end()
	}
	return nil
}

// pushed pushes the model without measuring it.
func (b *bout) pushed(ctx context.Context) bool {
	sm, err := b.run(ctx, b.tool.push(b.task))
	if err != nil {
		sm.Scene = "prepare"
		b.keep(sm, err)
	}
	return err == nil
}

// cold pushes into an empty registry, and pulls into an empty directory with
// nothing kept of the push: directly, so that only the tools work.
func (s *suite) cold(ctx context.Context) error {
	for _, m := range []*model{s.one, s.shards, s.small} {
		err := s.each(ctx, m, nil, func(b *bout) {
			if !b.measure(ctx, "push", b.tool.push(b.task)) || b.forget() != nil {
				return
			}
			b.pull(ctx, "pull")
			if b.tool.name == ours && m != s.small {
				b.floors(ctx, floors(s.sums[m]))
			}
			if b.tool.name == ours && m == s.small {
				b.oneTar(ctx)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// floors measures what no tool can be faster than, beside the pull.
func (b *bout) floors(ctx context.Context, list []tool) {
	for _, t := range list {
		b.tool = t
		b.pull(ctx, "pull")
	}
}

// oneTar measures what many files cost that are one.
func (b *bout) oneTar(ctx context.Context) {
	b.tool = tarFloor(b.s.tar, b.s.tarDigest)
	if b.measure(ctx, "push", b.tool.push(b.task)) {
		b.pull(ctx, "pull")
	}
}

// coldLimited is cold over a link that is slow for each connection.
func (s *suite) coldLimited(ctx context.Context) error {
	for _, m := range []*model{s.one, s.shards, s.small} {
		err := s.each(ctx, m, s.limited, func(b *bout) {
			if b.measure(ctx, "push", b.tool.push(b.task)) && b.forget() == nil {
				b.pull(ctx, "pull")
			}
			if b.tool.name == ours && m == s.small {
				b.oneTar(ctx)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noop pushes and pulls once more what is there: with all tools, and with ours
// where each response keeps it waiting, too.
func (s *suite) noop(ctx context.Context) error {
	if err := s.each(ctx, s.one, s.open, func(b *bout) { b.again(ctx) }); err != nil {
		return err
	}
	for _, t := range s.tools {
		if t.name != ours {
			continue
		}
		b, err := s.begin(ctx, t, s.one, s.limited)
		if err != nil {
			return err
		}
		b.again(ctx)
		b.end()
	}
	return nil
}

// again pushes and pulls twice, of which the second time is measured.
func (b *bout) again(ctx context.Context) {
	if !b.pushed(ctx) || !b.measure(ctx, "push-again", b.tool.push(b.task)) {
		return
	}
	if _, err := b.run(ctx, b.tool.pull(b.task)); err == nil {
		b.pullAgain(ctx, "pull-again")
	}
}

// versions pulls a version over the one that it was made of. The note is how
// many bytes are new.
func (s *suite) versions(ctx context.Context) error {
	for _, c := range changes(s.cfg.mib<<20, s.cfg.shards) {
		m, err := writeModel(s.root, "change-"+c.name, c.new)
		if err != nil {
			return err
		}
		for _, t := range s.tools {
			if !t.delta {
				continue
			}
			b, err := s.begin(ctx, t, s.one, s.open)
			if err != nil {
				return err
			}
			b.version(ctx, m, c.changed())
			b.end()
		}
		if err := os.RemoveAll(m.dir); err != nil {
			return err
		}
	}
	return nil
}

// version pulls the model and, when another has been pushed over it, pulls that.
// Both come from elsewhere: a tool may remember what it has pushed, and where that
// lies.
func (b *bout) version(ctx context.Context, m *model, changed int64) {
	if !b.pushed(ctx) || b.forget() != nil {
		return
	}
	if _, err := b.run(ctx, b.tool.pull(b.task)); err != nil {
		b.s.say("changes: %s: %v", b.tool.name, err)
		return
	}
	here := b.task.state
	b.task.model = m
	if b.forget() != nil || !b.pushed(ctx) {
		return
	}
	b.task.state = here
	if b.pullAgain(ctx, "pull-changed") {
		b.s.samples[len(b.s.samples)-1].Note = changed
	}
}

// resume kills a pull of the shards when half of the bytes have come, and lets
// the tool go on. The note is how many bytes had come when it was killed.
func (s *suite) resume(ctx context.Context) error {
	return s.each(ctx, s.shards, s.limited, func(b *bout) {
		b.through(s.open)
		if !b.pushed(ctx) || b.forget() != nil {
			return
		}
		b.through(s.limited)
		moved, err := b.killed(ctx)
		if err != nil {
			b.s.say("resume: %s: %v", b.tool.name, err)
			return
		}
		b.pullAgain(ctx, "resume")
		b.s.samples[len(b.s.samples)-1].Note = moved
	})
}

var errTooFast = errors.New("it was done before it could be killed")

// killed starts a pull and kills it half-way.
func (b *bout) killed(ctx context.Context) (moved int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.s.cfg.step)
	defer cancel()
	before := b.link.traffic()
	cmds := b.tool.pull(b.task)
	last := cmds[len(cmds)-1]
	if _, err := runAll(ctx, cmds[:len(cmds)-1], b.task.state); err != nil {
		return 0, err
	}
	p, err := start(ctx, last, b.task.state)
	if err != nil {
		return 0, err
	}
	half := b.link.reached(ctx, before, b.task.model.size/2)
	_ = p.kill()
	if _, err := p.wait(); err == nil {
		return 0, errTooFast
	}
	b.link.drop()
	if !half {
		return 0, ctx.Err()
	}
	return b.link.traffic().since(before).Down, nil
}

// inspect reads what a model is, and its tensors, without pulling it.
func (s *suite) inspect(ctx context.Context) error {
	for _, t := range s.tools {
		if t.name != ours {
			continue
		}
		b, err := s.begin(ctx, t, s.shards, s.open)
		if err != nil {
			return err
		}
		if b.pushed(ctx) && b.forget() == nil {
			b.measure(ctx, "inspect", []command{{"", []string{s.cfg.bin, "inspect", b.task.ref}}})
			b.measure(ctx, "tensors", []command{{"", []string{s.cfg.bin, "tensors", "-q", b.task.ref}}})
		}
		b.end()
	}
	return nil
}
