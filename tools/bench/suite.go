package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// errBudget says that the time for all rounds is up.
var errBudget = errors.New("the budget of time is used up")

// A suite is one run: its tools, models and what was measured.
type suite struct {
	cfg    config
	root   string // the temporary directory
	tools  []tool
	one    *model                       // one large file
	shards *model                       // several
	small  *model                       // many small ones
	tar    string                       // the same in one archive
	sums   map[*model]map[string]string // digests of files

	tarDigest string // SHA-256 of the archive

	open    *link // counts
	limited *link // counts, and is slow
	ends    time.Time
	samples []sample
	rounds  int // that were begun
}

// A sample is one measured step.
type sample struct {
	Scene, Model, Link, Tool string
	Round                    int
	Size                     int64 // of the model, bytes
	usage
	traffic       // zero where the step did not go through a link
	Note    int64 // what Scene says
	Err     string
}

func newSuite(cfg config) (*suite, error) {
	root, err := os.MkdirTemp(cfg.dir, "modelreg-bench.")
	if err != nil {
		return nil, err
	}
	s := &suite{cfg: cfg, root: root, tools: tools(cfg), sums: make(map[*model]map[string]string)}
	if s.open, err = newLink(0, 0); err == nil {
		s.limited, err = newLink(cfg.rate, cfg.latency)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close ends the links and removes all that was written.
func (s *suite) close() error {
	var errs []error
	for _, k := range []*link{s.open, s.limited} {
		if k != nil {
			errs = append(errs, k.close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.root))...)
}

// prepare writes the models.
func (s *suite) prepare(ctx context.Context) (err error) {
	size := s.cfg.mib << 20
	s.say("making models of %d MiB, and of %d files of %d KiB", s.cfg.mib, s.cfg.files, s.cfg.kib)
	if s.one, err = writeModel(s.root, "one", single(transformer(size))); err != nil {
		return err
	}
	if s.shards, err = writeModel(s.root, "shards", sharded(transformer(size), s.cfg.shards)); err != nil {
		return err
	}
	if s.small, err = writeSmall(s.root, "small", s.cfg.files, s.cfg.kib); err != nil {
		return err
	}
	s.tar = s.small.dir + ".tar"
	if _, err := runAll(ctx, []command{{"", []string{"tar", "-cf", s.tar, "-C", s.small.dir, "."}}}, s.root); err != nil {
		return err
	}
	if s.tarDigest, err = digestOf(s.tar); err != nil {
		return err
	}
	for _, m := range []*model{s.one, s.shards, s.small} {
		if s.sums[m], err = m.digests(); err != nil {
			return err
		}
		if !slices.ContainsFunc(s.tools, func(t tool) bool { return t.layout }) {
			continue
		}
		if err := m.writeLayout(ctx, s.cfg, s.root, s.sums[m]); err != nil {
			return err
		}
	}
	return nil
}

// measure runs the scenes, round after round.
func (s *suite) measure(ctx context.Context) error {
	s.ends = time.Now().Add(s.cfg.budget)
	for s.rounds = 1; ; s.rounds++ {
		for _, sc := range scenes {
			if !s.cfg.wants(s.cfg.scenes, sc.name) || s.rounds > 1 && sc.once {
				continue
			}
			s.say("round %d of %d: %s", s.rounds, s.cfg.runs, sc.name)
			if err := sc.run(s, ctx); err != nil {
				return err
			}
		}
		if s.rounds == s.cfg.runs {
			return nil
		}
	}
}

func (s *suite) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// A bout is one tool against an empty registry, with nothing kept from before.
type bout struct {
	s        *suite
	tool     tool
	dir      string
	registry *registry
	link     *link // nil to reach the registry itself
	task     task
}

// begin starts a bout, unless the time is up.
func (s *suite) begin(ctx context.Context, t tool, m *model, k *link) (*bout, error) {
	if time.Now().After(s.ends) {
		return nil, errBudget
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.root, "bout.")
	if err != nil {
		return nil, err
	}
	reg, err := startRegistry(ctx, filepath.Join(s.cfg.peers, "registry"), filepath.Join(dir, "registry"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	b := &bout{s: s, tool: t, dir: dir, registry: reg}
	b.task = task{cfg: s.cfg, model: m, out: filepath.Join(dir, "out")}
	b.through(k)
	return b, b.forget()
}

// through makes what follows go over a link, or directly for nil.
func (b *bout) through(k *link) {
	b.link, b.task.host = k, b.registry.host
	if k != nil {
		k.connect(b.registry.host)
		b.task.host = k.addr
	}
	b.task.ref = b.task.host + "/bench/model:v1"
}

// end stops the registry and removes everything.
func (b *bout) end() {
	b.registry.stop()
	if err := os.RemoveAll(b.dir); err != nil {
		b.s.say("%v", err)
	}
}

// forget gives the tool a new state.
func (b *bout) forget() error {
	state, err := os.MkdirTemp(b.dir, "state.")
	b.task.state = state
	return err
}

// run runs commands and returns what they took and moved.
func (b *bout) run(ctx context.Context, cmds []command) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, b.s.cfg.step)
	defer cancel()
	var before traffic
	if b.link != nil {
		before = b.link.traffic()
	}
	u, err := runAll(ctx, cmds, b.task.state)
	sm := sample{Tool: b.tool.name, Model: b.task.model.name, Link: "raw", Size: b.task.model.size, Round: b.s.rounds, usage: u}
	if b.link != nil {
		sm.traffic = b.link.traffic().since(before)
		sm.Link = "counted"
		if b.link.rate > 0 {
			sm.Link = "limited"
		}
	}
	if err != nil {
		sm.Err = err.Error()
	}
	return sm, err
}

// measure is run, kept as a sample of a scene. A tool that fails is reported and
// ends its bout, not the suite.
func (b *bout) measure(ctx context.Context, scene string, cmds []command) bool {
	sm, err := b.run(ctx, cmds)
	sm.Scene = scene
	b.keep(sm, err)
	return err == nil
}

func (b *bout) keep(sm sample, err error) {
	if err != nil {
		b.s.say("%s: %s: %v", sm.Scene, b.tool.name, err)
	}
	b.s.samples = append(b.s.samples, sm)
}

// pull pulls the model, measured, into a directory that is not there, and
// compares it with what was pushed.
func (b *bout) pull(ctx context.Context, scene string) bool {
	if err := os.RemoveAll(b.task.out); err != nil {
		b.s.say("%v", err)
		return false
	}
	return b.pullAgain(ctx, scene)
}

// pullAgain is pull into what is there.
func (b *bout) pullAgain(ctx context.Context, scene string) bool {
	sm, err := b.run(ctx, b.tool.pull(b.task))
	sm.Scene = scene
	if err == nil && !b.tool.layout && b.tool.push != nil {
		if err = b.task.model.check(b.task.out); err != nil {
			sm.Err = err.Error()
		}
	}
	b.keep(sm, err)
	return err == nil
}
