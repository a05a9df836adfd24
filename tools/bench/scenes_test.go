//go:build e2e

package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Every scene, once, with models of next to nothing. It needs the binary of
// "make build" and the peers of "make peers", which "make e2e" sees to.
func TestScenes(t *testing.T) {
	bin, err := filepath.Abs("../../bin/modelreg")
	if err != nil {
		t.Fatal(err)
	}
	peers := os.Getenv("MODELREG_E2E_PEERS")
	if peers == "" {
		t.Fatal("MODELREG_E2E_PEERS does not say where the peers are: run make e2e")
	}
	for _, need := range []string{bin, filepath.Join(peers, "registry"), filepath.Join(peers, "oras")} {
		if _, err := os.Stat(need); err != nil {
			t.Fatalf("not built: %v", err)
		}
	}
	s, err := newSuite(config{
		bin: bin, peers: peers, dir: t.TempDir(), mib: 4, shards: 2, files: 3, kib: 4, runs: 1,
		budget: time.Minute, step: time.Minute, rate: 20e6, latency: time.Millisecond, tools: []string{ours, "oras"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.measure(t.Context()); err != nil && !errors.Is(err, errBudget) {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, sm := range s.samples {
		seen[sm.Scene] = true
		if sm.Err != "" {
			t.Errorf("%s %s %s %s: %s", sm.Scene, sm.Model, sm.Link, sm.Tool, sm.Err)
		}
	}
	for _, scene := range []string{"push", "pull", "push-again", "pull-again", "pull-changed", "inspect", "tensors"} {
		if !seen[scene] {
			t.Errorf("nothing was measured of %s", scene)
		}
	}
}
