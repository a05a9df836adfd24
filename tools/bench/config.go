package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A config says what is measured, and with what.
type config struct {
	bin     string // modelreg
	peers   string // directory of the tools that tools/peers.sh builds
	modctl  string // a binary, or ""
	kit     string // a binary, or ""
	dir     string // where the temporary directory is made
	tsv     string // file for all samples, or ""
	mib     int64  // size of a model of large files
	shards  int    // files of the model that has several
	files   int    // files of the model of small ones
	kib     int64  // size of each of them
	runs    int
	budget  time.Duration // of all rounds; what does not fit is left out
	step    time.Duration // of one command
	rate    float64       // bytes per second of a connection of the limited link, each way
	latency time.Duration // before each of its responses
	tools   []string      // empty for all
	scenes  []string      // empty for all
}

// readConfig reads the environment. Sizes are those of all rounds:
//
//	MIB (128)  SHARDS (4)  FILES (600)  FILE_KIB (100)  models
//	RUNS (3)  BUDGET (10m)  STEP (5m)                   rounds, and their limits
//	RATE (50e6)  LATENCY (20ms)                         the limited link
//	TOOLS, SCENES (all)                                 lists of names
//	TSV, BENCH_DIR                                      where to write
//	MODELREG, PEERS, MODCTL, KIT                        binaries, PEERS a directory
func readConfig(getenv func(string) string) (config, error) {
	r := envReader{getenv: getenv}
	cfg := config{
		bin: getenv("MODELREG"), peers: getenv("PEERS"), modctl: getenv("MODCTL"), kit: getenv("KIT"),
		dir: getenv("BENCH_DIR"), tsv: getenv("TSV"),
		mib: r.number("MIB", 128), shards: int(r.number("SHARDS", 4)),
		files: int(r.number("FILES", 600)), kib: r.number("FILE_KIB", 100),
		runs: int(r.number("RUNS", 3)), budget: r.duration("BUDGET", 10*time.Minute), step: r.duration("STEP", 5*time.Minute),
		rate: r.float("RATE", 50e6), latency: r.duration("LATENCY", 20*time.Millisecond),
		tools: strings.Fields(getenv("TOOLS")), scenes: strings.Fields(getenv("SCENES")),
	}
	if r.err != nil {
		return cfg, r.err
	}
	for _, path := range []*string{&cfg.bin, &cfg.peers, &cfg.modctl, &cfg.kit, &cfg.tsv} {
		if *path != "" && !filepath.IsAbs(*path) {
			return cfg, fmt.Errorf("%s: give an absolute path: tools run in other directories", *path)
		}
	}
	if cfg.bin == "" || cfg.peers == "" {
		return cfg, fmt.Errorf("MODELREG and PEERS must be set; tools/bench.sh does that")
	}
	for _, name := range cfg.scenes {
		if !slices.ContainsFunc(scenes, func(s scene) bool { return s.name == name }) {
			return cfg, fmt.Errorf("SCENES: there is no %q", name)
		}
	}
	return cfg, nil
}

func (c config) wants(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, name)
}

// An envReader reads numbers and keeps the first error.
type envReader struct {
	getenv func(string) string
	err    error
}

func (r *envReader) fail(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s=%s: %w", name, r.getenv(name), err)
	}
}

func (r *envReader) number(name string, otherwise int64) int64 {
	s := r.getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err == nil && n < 1 {
		err = fmt.Errorf("want at least 1")
	}
	r.fail(name, err)
	return n
}

func (r *envReader) float(name string, otherwise float64) float64 {
	s := r.getenv(name)
	if s == "" {
		return otherwise
	}
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && f <= 0 {
		err = fmt.Errorf("want more than 0")
	}
	r.fail(name, err)
	return f
}

func (r *envReader) duration(name string, otherwise time.Duration) time.Duration {
	s := r.getenv(name)
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	r.fail(name, err)
	return d
}
