// Command bench measures modelreg beside other OCI clients on this machine: what
// pushes and pulls take, what they move, what they cost.
//
// It starts a stock registry and a link with a limit per connection, makes
// models whose bytes are the same on every run, runs the tools in turn, round
// after round, and prints medians and ratios. Everything is on loopback and in
// one temporary directory, which is removed. Nothing is asserted: the numbers of
// one run are comparable with each other and with nothing else.
//
// It is run by tools/bench.sh, which builds what it needs. The environment says
// what is measured; see [readConfig].
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == launchArg {
		os.Exit(launch(os.Args[2], os.Args[3:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run measures what getenv asks for and prints it.
func run(ctx context.Context, getenv func(string) string) (err error) {
	cfg, err := readConfig(getenv)
	if err != nil {
		return err
	}
	s, err := newSuite(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	measureErr := s.measure(ctx)
	if errors.Is(measureErr, errBudget) {
		fmt.Fprintln(os.Stderr, "bench: the time is up; what was measured follows")
		measureErr = nil
	}
	report(os.Stdout, s)
	if cfg.tsv != "" {
		err = writeTSV(cfg.tsv, s.samples)
	}
	return errors.Join(measureErr, err)
}
