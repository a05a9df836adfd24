package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// brokenWorker is a worker with which some files go wrong.
func brokenWorker() {
	w := &worker{newWire(os.Stdin, os.Stdout)}
	if _, _, err := w.receive(); err != nil {
		os.Exit(1)
	}
	for f, err := range w.files() {
		if err != nil {
			os.Exit(1)
		}
		switch f.Path {
		case "boom":
			os.Exit(3)
		case "hang":
			time.Sleep(time.Hour)
		case "open":
			limitProcess()
			if _, err := os.Open("."); err == nil {
				os.Exit(3)
			}
			if _, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
				os.Exit(3)
			}
		case "spin":
			limitProcess()
			limitWork(0)
			for n := uint(1); n > 0; n |= 1 {
				n++
			}
		case "hog":
			limitMemory(64 << 20)
			hog := make([]byte, 256<<20)
			hog[len(hog)-1] = 1
		case "read", "end":
			if _, err := w.ReadAt(make([]byte, 3<<20), 0); err != nil && f.Path == "read" {
				_ = w.send(msgFailed, []byte(err.Error()))
				os.Exit(1)
			}
		}
		_ = w.sendJSON(msgFound, scan.Result{Verdict: scan.Safe, Findings: []scan.Finding{{Path: f.Path, Rule: "seen"}}})
	}
	_ = w.send(msgDone, nil)
}

// process is this test binary as the program with the name, which TestMain
// knows.
func process(t *testing.T, name string) scanProcess {
	t.Helper()
	if os.Getenv("MODELREG_BIN") != "" {
		t.Skip("the test binary knows no other names here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return scanProcess{path: self, args: []string{name, workerCommand}, time: 5 * time.Second}
}

// filesOf are files with the names, each of its name.
func filesOf(names ...string) iter.Seq2[scan.File, error] {
	var files []scan.File
	for _, n := range names {
		files = append(files, scan.File{Path: n, Size: int64(len(n)), At: strings.NewReader(n)})
	}
	return scan.Files(files...)
}

// A file at which the process ends is unscannable, and the others are looked at.
func TestScanProcessEnds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux limits the address space")
	}
	p := process(t, "broken-worker")
	p.time = 700 * time.Millisecond
	got, err := p.scan(t.Context(), filesOf("a", "boom", "b", "boom", "hog", "end", "hang", "c"), scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range got.Findings {
		found = append(found, f.Path+" "+f.Rule)
	}
	want := []string{
		"a seen", "boom limit-process", "b seen", "boom limit-process", "hog limit-process", "end seen", "hang limit-process", "c seen",
	}
	if diff := cmp.Diff(want, found); diff != "" || got.Verdict != scan.Unscannable || got.Files != 8 {
		t.Errorf("verdict %s of %d files (-want +got):\n%s", got.Verdict, got.Files, diff)
	}
}

// Every file is closed once, whatever has become of it.
func TestScanProcessCloses(t *testing.T) {
	closed := map[string]int{}
	files := func(yield func(scan.File, error) bool) {
		for _, name := range []string{"a", "boom", "known", "read", "never"} {
			f := scan.File{Path: name, Size: 1, At: failingAt{}, Close: func() { closed[name]++ }}
			if name == "known" {
				f.Known = &scan.Result{Verdict: scan.Safe}
			}
			if !yield(f, nil) {
				return
			}
		}
	}
	if _, err := process(t, "broken-worker").scan(t.Context(), files, scan.Options{}); !errors.Is(err, errUnderTest) {
		t.Errorf("scan = %v, want %v", err, errUnderTest)
	}
	if diff := cmp.Diff(map[string]int{"a": 1, "boom": 1, "known": 1, "read": 1}, closed); diff != "" {
		t.Error(diff)
	}
}

// A process cannot open anything, and ends although nobody ends it.
func TestScanProcessLimits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has limits")
	}
	p := process(t, "broken-worker")
	p.time = time.Minute
	started := time.Now()
	got, err := p.scan(t.Context(), filesOf("open", "spin", "c"), scan.Options{})
	if err != nil || len(got.Findings) != 3 || got.Findings[0].Rule != "seen" || got.Findings[1].Rule != "limit-process" || got.Findings[2].Rule != "seen" {
		t.Errorf("scan = %+v, %v", got, err)
	}
	if took := time.Since(started); took > p.time/2 {
		t.Errorf("took %v", took)
	}
}

type failingAt struct{}

func (failingAt) ReadAt([]byte, int64) (int, error) { return 0, errUnderTest }

var errUnderTest = errors.New("the registry is gone")

// That bytes cannot be had is an error of the scan, and no finding.
func TestScanProcessReadFails(t *testing.T) {
	for _, name := range []string{"broken-worker", "modelreg"} {
		_, err := process(t, name).scan(t.Context(), scan.Files(scan.File{Path: "read", Size: 10, At: failingAt{}}), scan.Options{})
		if !errors.Is(err, errUnderTest) {
			t.Errorf("%s: scan = %v, want %v", name, err, errUnderTest)
		}
	}
	failing := func(yield func(scan.File, error) bool) { yield(scan.File{}, errUnderTest) }
	if _, err := process(t, "modelreg").scan(t.Context(), failing, scan.Options{}); !errors.Is(err, errUnderTest) {
		t.Errorf("scan = %v, want %v", err, errUnderTest)
	}
}

// A program that is none, or a context that ends, is an error and not an endless
// row of processes.
func TestScanProcessDoesNotStart(t *testing.T) {
	p := process(t, "modelreg")
	p.args = []string{"modelreg", "version"}
	if got, err := p.scan(t.Context(), filesOf("a"), scan.Options{}); err == nil {
		t.Errorf("scan by another program = %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := process(t, "broken-worker").scan(ctx, filesOf("hang", "hang"), scan.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("scan = %v, want %v", err, context.DeadlineExceeded)
	}
}

// What a process of its own finds is what this one does.
func TestScanProcessFindsTheSame(t *testing.T) {
	contents := map[string]string{
		"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Apache License\nVersion 2.0, January 2004\n",
		"a.pkl": "cos\ngetcwd\n(tR.", "config.json": `{"auto_map":{"A":"b.C"}}`, "empty": "",
		"long.jinja": strings.Repeat("a", 3<<20), "b.safetensors": "no",
	}
	files := func(yield func(scan.File, error) bool) {
		for _, name := range []string{"README.md", "LICENSE", "a.pkl", "config.json", "empty", "long.jinja", "b.safetensors"} {
			text := contents[name]
			if !yield(scan.File{Path: name, Size: int64(len(text)), At: strings.NewReader(text)}, nil) {
				return
			}
		}
	}
	want, err := scan.Scan(t.Context(), files, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := process(t, "modelreg").scan(t.Context(), files, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got.Findings) < 5 {
		t.Errorf("findings (-in this process +in another):\n%s", diff)
	}
}

// Many files cost one process.
func TestScanProcessManyFiles(t *testing.T) {
	names := make([]string, 2000)
	for i := range names {
		names[i] = fmt.Sprintf("file %d", i)
	}
	started := time.Now()
	got, err := process(t, "modelreg").scan(t.Context(), filesOf(names...), scan.Options{})
	if err != nil || got.Files != len(names) || got.Verdict != scan.Safe {
		t.Errorf("scan = %+v, %v", got, err)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestScannerEnvironment(t *testing.T) {
	got := scannerEnvironment([]string{"PATH=/bin", "HF_TOKEN=x", "AWS_SECRET_ACCESS_KEY=y", "MODELREG_KEY_PASSWORD=z", "LANG=C", "HOME=/root"}, "/tmp/x")
	text := strings.Join(got, "\n")
	for _, secret := range []string{"HF_TOKEN", "AWS_", "MODELREG_", "/root"} {
		if strings.Contains(text, secret) {
			t.Errorf("a scanner sees %s: %v", secret, got)
		}
	}
	for _, needed := range []string{"PATH=/bin", "LANG=C", "HOME=/tmp/x"} {
		if !strings.Contains(text, needed) {
			t.Errorf("a scanner misses %s: %v", needed, got)
		}
	}
}
