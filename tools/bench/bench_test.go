package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	// The launcher is this program.
	if len(os.Args) > 3 && os.Args[1] == launchArg {
		os.Exit(launch(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		list []int64
		want int64
	}{{nil, 0}, {[]int64{7}, 7}, {[]int64{9, 1, 5}, 5}, {[]int64{4, 1, 8, 2}, 3}} {
		if got := median(tt.list); got != tt.want {
			t.Errorf("median(%v) = %d, want %d", tt.list, got, tt.want)
		}
	}
}

func TestCells(t *testing.T) {
	second := func(n int) usage {
		return usage{Wall: time.Duration(n) * time.Second, User: time.Second, MaxRSS: int64(n)}
	}
	got := cells([]sample{
		{Scene: "pull", Model: "one", Tool: "b", Size: 2e9, usage: second(3)},
		{Scene: "pull", Model: "one", Tool: ours, usage: second(1)},
		{Scene: "pull", Model: "one", Tool: "b", Size: 2e9, usage: second(1)},
		{Scene: "pull", Model: "one", Tool: "b", Size: 2e9, usage: second(9)},
		{Scene: "pull", Model: "one", Tool: "b", Size: 2e9, usage: second(100), Err: "broken"},
		{Scene: "pull", Model: "one", Tool: "c", Err: "broken"},
		{Scene: "pull", Model: "one", Tool: "floor-cp", usage: second(1)},
	})
	if len(got) != 4 || got[0].Tool != "b" || got[0].Runs != 3 || got[0].Failed != 1 || got[0].Wall != 3*time.Second ||
		got[0].Least != time.Second || got[0].Most != 9*time.Second || got[0].RSS != 9 || got[0].perGB() != 0.5 {
		t.Errorf("cells = %+v", got)
	}
	if c, ok := best(got); !ok || c.Tool != "b" {
		t.Errorf("best peer = %+v, %v", c, ok)
	}
	if n := len(tables(got)); n != 1 {
		t.Errorf("%d tables, want one", n)
	}
}

func TestReadConfig(t *testing.T) {
	base := map[string]string{"MODELREG": "/bin/modelreg", "PEERS": "/peers"}
	with := func(more ...string) func(string) string {
		env := map[string]string{}
		for k, v := range base {
			env[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return func(name string) string { return env[name] }
	}
	cfg, err := readConfig(with("MIB", "4096", "RATE", "125e6", "LATENCY", "1ms", "TOOLS", "modelreg oras", "SCENES", "cold noop"))
	if err != nil || cfg.mib != 4096 || cfg.rate != 125e6 || cfg.latency != time.Millisecond || len(cfg.tools) != 2 || cfg.runs != 3 {
		t.Errorf("readConfig = %+v, %v", cfg, err)
	}
	if got := tools(cfg); len(got) != 2 || got[0].name != ours || got[1].name != "oras" {
		t.Errorf("tools = %v", got)
	}
	for _, bad := range [][]string{
		{"MIB", "x"}, {"MIB", "0"}, {"RUNS", "-1"}, {"BUDGET", "soon"}, {"RATE", "0"}, {"SCENES", "hot"}, {"MODELREG", "bin/modelreg"}, {"PEERS", ""},
	} {
		if _, err := readConfig(with(bad...)); err == nil {
			t.Errorf("readConfig takes %v", bad)
		}
	}
}

// What is written is a safetensors file, and the same each time.
func TestWeights(t *testing.T) {
	files := sharded(transformer(8<<20), 3)
	if len(files) != 3 {
		t.Fatalf("%d shards, want 3", len(files))
	}
	var sums [2][32]byte
	for i := range sums {
		dir := t.TempDir()
		if err := files[1].write(dir); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, files[1].name))
		if err != nil || int64(len(raw)) != files[1].size() {
			t.Fatalf("%d bytes, %v; want %d", len(raw), err, files[1].size())
		}
		var header map[string]json.RawMessage
		if err := json.Unmarshal(raw[8:8+binary.LittleEndian.Uint64(raw)], &header); err != nil || len(header) != len(files[1].tensors)+1 {
			t.Errorf("header of %d entries, %v", len(header), err)
		}
		sums[i] = sha256.Sum256(raw)
	}
	if sums[0] != sums[1] {
		t.Error("two runs write different bytes")
	}
}

func TestChanges(t *testing.T) {
	const size = 64 << 20
	total := single(transformer(size))[0].size()
	for _, c := range changes(size, 4) {
		n := c.changed()
		header := int64(len(c.new[0].header()))
		switch c.name {
		case "q-v", "resize":
			if n < total/1000 || n > total/4 {
				t.Errorf("%s changes %d bytes of %d", c.name, n, total)
			}
		default:
			if n < header || n > 8*header {
				t.Errorf("%s changes %d bytes, want about its headers of %d", c.name, n, header)
			}
		}
	}
	// Rows that are added leave those that were there.
	var short, long bytes.Buffer
	a := tensor{name: "a", rows: 4, cols: 16}
	if err := a.write(&short); err != nil {
		t.Fatal(err)
	}
	a.rows = 6
	if err := a.write(&long); err != nil || !bytes.HasPrefix(long.Bytes(), short.Bytes()) {
		t.Errorf("a tensor with more rows begins otherwise, %v", err)
	}
}

func TestLinkCountsAndLimits(t *testing.T) {
	const size = 400_000
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, size))
	}))
	defer srv.Close()
	k, err := newLink(2e6, 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	k.connect(strings.TrimPrefix(srv.URL, "http://"))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	began := time.Now()
	for range 2 {
		resp, err := client.Post("http://"+k.addr, "text/plain", strings.NewReader(strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		resp.Body.Close()
	}
	// 2 × (0.2 s + 30 ms), less what may run ahead.
	if took := time.Since(began); took < 350*time.Millisecond {
		t.Errorf("the link let 800 kB pass in %s", took)
	}
	got := k.traffic()
	if got.Down < 2*size || got.Down > 2*size+2000 || got.Up < 2000 || got.Up > 4000 || got.Requests != 2 || got.Conns != 1 {
		t.Errorf("traffic = %+v", got)
	}
	if !k.reached(t.Context(), traffic{}, size) {
		t.Error("what has passed is not reached")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if k.reached(ctx, got, 1) {
		t.Error("what has not passed is reached")
	}
}

func TestRunAll(t *testing.T) {
	dir := t.TempDir()
	u, err := runAll(t.Context(), []command{{"", []string{"sh", "-c", "echo $HOME > $HOME/home"}}, {dir, []string{"true"}}}, dir)
	if err != nil || u.Wall == 0 || u.MaxRSS == 0 {
		t.Errorf("runAll = %+v, %v", u, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "home")); err != nil || string(b) != dir+"\n" {
		t.Errorf("HOME was %q, %v", b, err)
	}
	_, err = runAll(t.Context(), []command{{"", []string{"sh", "-c", "echo no luck >&2; exit 3"}}, {"", []string{"touch", filepath.Join(dir, "after")}}}, dir)
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("runAll of a failing program: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "after")); err == nil {
		t.Error("what follows a failure was run")
	}
}

// Killing a process ends what it started, too.
func TestKill(t *testing.T) {
	p, err := start(t.Context(), command{"", []string{"sh", "-c", "sleep 100"}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.wait(); err == nil {
		t.Error("a process that was killed has not failed")
	}
	if err := p.kill(); err == nil {
		t.Error("the group of the process is still there")
	}
}

func TestReport(t *testing.T) {
	s := &suite{cfg: config{mib: 1, rate: 50e6}, samples: []sample{
		{Scene: "pull", Model: "one", Link: "limited", Tool: ours, Size: 1e9, usage: usage{Wall: time.Second, User: time.Second}},
		{Scene: "pull", Model: "one", Link: "limited", Tool: "oras", Size: 1e9, usage: usage{Wall: 6 * time.Second, User: time.Second}},
		{Scene: "pull-changed", Model: "change-q-v", Link: "counted", Tool: ours, Size: 1e9, Note: 1e8, traffic: traffic{Down: 11e7}},
		{Scene: "resume", Model: "shards", Link: "limited", Tool: ours, Size: 1e9, Note: 6e8, traffic: traffic{Down: 4e8}},
		{Scene: "resume", Model: "shards", Link: "limited", Tool: "oras", Err: "exit status 1"},
	}}
	var b bytes.Buffer
	report(&b, s)
	for _, want := range []string{"0.17", "6.00", "aim >= 5", "110.0", "40.0 %", "0, 1 failed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
	file := filepath.Join(t.TempDir(), "out.tsv")
	if err := writeTSV(file, s.samples); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if lines := strings.Split(strings.TrimSpace(string(raw)), "\n"); err != nil || len(lines) != len(s.samples)+1 || strings.Count(lines[0], "\t") != 15 {
		t.Errorf("TSV of %d lines, %v", len(lines), err)
	}
}

func TestSuiteStopsWhenTimeIsUp(t *testing.T) {
	s, err := newSuite(config{dir: t.TempDir(), runs: 1, rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.tools = []tool{modelregTool(ours)}
	s.one = &model{name: "one"}
	if err := s.measure(t.Context()); !errors.Is(err, errBudget) {
		t.Errorf("measure = %v, want errBudget", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.root); err == nil {
		t.Error("the temporary directory is still there")
	}
}
