//go:build e2e

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/store"
)

// kills is how often TestE2ECrashPull kills a pull. [TestE2ECrashLarge] does so
// another 60 times.
const kills = 180

// A survivor is a model in two versions, and a directory that is pulled into over
// and over, by processes that do not get to the end.
type survivor struct {
	*client
	reg      *testreg.Server
	versions [2]string            // references
	want     [2]map[string]string // what they hold
	size     int64                // of the larger one
	took     time.Duration        // a pull of which nothing was killed, lately
	last     time.Duration        // the pull that was completed last
	rng      *rand.Rand
	landed   map[string]int // where the kills were
	watch    func(pid int)  // called before a kill, unless nil
}

// throttled slows a registry down, so that a pull takes long enough to be
// killed anywhere in it.
var throttled = testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: testreg.Drip(64<<10, time.Millisecond)}

func newSurvivor(t *testing.T, rng *rand.Rand) *survivor {
	v := &survivor{client: newClient(t), reg: testreg.New(t, testreg.Options{Data: t.TempDir()}), rng: rng, landed: map[string]int{}}
	for i := range v.versions {
		model := filepath.Join(v.dir, fmt.Sprintf("model%d", i))
		writeNoise(t, model, "same.safetensors.bin", 1<<20, 100)
		writeNoise(t, model, "weights.bin", 4<<20, uint64(i))
		writeNoise(t, model, "deep/down/more.bin", 2<<20, 10+uint64(i))
		writeNoise(t, model, fmt.Sprintf("only%d.txt", i), 1<<10, 20)
		v.versions[i] = fmt.Sprintf("%s/acme/model:v%d", v.reg.Host, i)
		v.modelreg("push", model, v.versions[i])
		v.want[i] = tree(t, model)
	}
	v.size = 7<<20 + 1<<10
	v.reg.Reset()
	v.reg.Add(throttled)
	return v
}

func writeNoise(t *testing.T, dir, name string, size int, seed uint64) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (v *survivor) target() string { return filepath.Join(v.dir, "live", "model") }

// pull is the command that brings version i into the target.
func (v *survivor) pull(i int, more ...string) []string {
	return append([]string{"pull", v.versions[i], v.target(), "--progress", "none"}, more...)
}

// killed runs a pull and kills it after a while, and reports whether it was
// killed before it was through.
func (v *survivor) killed(args []string) bool {
	v.t.Helper()
	cmd := exec.Command(os.Getenv("MODELREG_BIN"), args...)
	cmd.Env = v.env
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	after := time.Duration(v.rng.Int64N(int64(v.took + v.took/10)))
	if v.rng.IntN(3) == 0 { // the end is short, and is where most can go wrong
		after = v.took*3/4 + after/2
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(after):
		if v.watch != nil {
			v.watch(cmd.Process.Pid)
		}
		_ = cmd.Process.Kill()
		err = <-ended
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() < 0 {
		return true
	}
	if err != nil {
		v.t.Errorf("pull failed before it was killed: %v", err)
	}
	return false
}

// holds returns which version the target is, -1 for none. Anything else is
// what must never be.
func (v *survivor) holds() int {
	v.t.Helper()
	if _, err := os.Lstat(v.target()); errors.Is(err, fs.ErrNotExist) {
		return -1
	}
	got := tree(v.t, v.target())
	for i, want := range v.want {
		if cmp.Equal(want, got) {
			return i
		}
	}
	v.t.Fatalf("after a kill the directory is neither version: %s", cmp.Diff(v.want[0], got))
	return -1
}

// left measures what lies beside the target, in bytes, and names it.
func (v *survivor) left() (int64, []string) {
	v.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(v.target()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.t.Fatal(err)
	}
	var size int64
	var names []string
	for _, e := range entries {
		if e.Name() != "model" {
			names = append(names, e.Name())
			size += v.usage(filepath.Join(filepath.Dir(v.target()), e.Name()))
		}
	}
	return size, names
}

func (v *survivor) usage(dir string) int64 {
	v.t.Helper()
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.t.Fatal(err)
	}
	return size
}

// TestE2ECrashPull kills pulls with SIGKILL at random places, several in a row,
// and looks after each: the directory holds the old version or the new one,
// what is left lying about is bounded, and the same command completes the work
// and cleans up.
func TestE2ECrashPull(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	modes := map[string]struct {
		flags []string
		cold  bool // the store is emptied before each round
	}{
		"store":      {nil, true},
		"no store":   {[]string{"--no-cache"}, false},
		"warm store": {nil, false},
	}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			v := newSurvivor(t, rand.New(rand.NewPCG(seed, seed)))
			now, n := -1, 0
			for round := 0; n < kills/len(modes) && !t.Failed(); round++ {
				if round > kills {
					t.Fatalf("only %d pulls were killed before they ended", n)
				}
				next := round % 2
				if mode.cold {
					if err := os.RemoveAll(filepath.Join(v.dir, "cache")); err != nil {
						t.Fatal(err)
					}
				}
				for range v.crashes() {
					if !v.killed(v.pull(next, mode.flags...)) {
						continue
					}
					n++
					v.look(now, next)
				}
				v.complete(next, mode.flags)
				if v.took == 0 || v.last < v.took {
					v.took = v.last
				}
				v.took += (v.last - v.took) / 4
				now = next
			}
			t.Logf("%d kills: %v", n, v.landed)
		})
	}
}

// crashes returns how many pulls in a row are killed: none before it is known
// how long one takes.
func (v *survivor) crashes() int {
	if v.took == 0 {
		return 0
	}
	return 1 + v.rng.IntN(6)
}

// look checks what a kill left, on the way from one version to another.
func (v *survivor) look(from, to int) {
	v.t.Helper()
	got := v.holds()
	if got != from && got != to {
		v.t.Fatalf("the directory holds version %d on the way from %d to %d", got, from, to)
	}
	size, names := v.left()
	switch {
	case got == to:
		v.landed["after the swap"]++
	case len(names) == 0:
		v.landed["before the stage"]++
	default:
		v.landed["in the stage"]++
	}
	// The stage, and the old version on its way out; never one more a crash.
	if len(names) > 2 || size > 3*v.size {
		v.t.Fatalf("%d bytes are left beside the directory: %v", size, names)
	}
	if n := v.usage(filepath.Join(v.dir, "cache")); n > 5*v.size {
		v.t.Fatalf("%d bytes are in the store", n)
	}
}

// complete runs a pull to its end.
func (v *survivor) complete(to int, flags []string) {
	v.t.Helper()
	began := time.Now()
	v.modelreg(v.pull(to, flags...)...)
	v.last = time.Since(began)
	if got := v.holds(); got != to {
		v.t.Fatalf("a pull of version %d that ended well left version %d", to, got)
	}
	if size, names := v.left(); len(names) > 0 {
		v.t.Fatalf("a pull that ended well left %d bytes beside the directory: %v", size, names)
	}
}

// TestE2EPullTogether pulls one model with many processes at once. Those that
// share a directory take turns, or say that it is in use. Those that share a
// store download once between them, where the store can give files to a
// directory without copying them; elsewhere it is left out of large pulls.
func TestE2EPullTogether(t *testing.T) {
	const processes = 16
	tests := map[string]struct {
		dir    func(i int) string
		shared bool // the store
		linked bool // to it
	}{
		"one directory, one store":      {func(int) string { return "out" }, true, false},
		"many directories, one store":   {func(i int) string { return fmt.Sprintf("out%d", i) }, true, false},
		"many directories, linked":      {func(i int) string { return fmt.Sprintf("out%d", i) }, true, true},
		"one directory, many stores":    {func(int) string { return "out" }, false, false},
		"many directories, many stores": {func(i int) string { return fmt.Sprintf("out%d", i) }, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := newSurvivor(t, nil)
			errs, runs := make([]error, processes), sync.WaitGroup{}
			for i := range processes {
				runs.Go(func() {
					cmd := exec.Command(os.Getenv("MODELREG_BIN"), "pull", v.versions[0], filepath.Join(v.dir, tt.dir(i)))
					cmd.Env = v.env
					if tt.linked {
						cmd.Args = append(cmd.Args, "--link", "hardlink")
					}
					if !tt.shared {
						cmd.Env = append(cmd.Env, "MODELREG_CACHE="+filepath.Join(v.dir, fmt.Sprintf("cache%d", i)))
					}
					out, err := cmd.CombinedOutput()
					if err != nil {
						err = fmt.Errorf("%w: %s", err, out)
					}
					errs[i] = err
				})
			}
			runs.Wait()
			done := 0
			for i, err := range errs {
				if err != nil {
					if !busy(err) || tt.dir(0) != tt.dir(1) {
						t.Errorf("process %d: %v", i, err)
					}
					continue
				}
				done++
				if diff := cmp.Diff(v.want[0], tree(t, filepath.Join(v.dir, tt.dir(i)))); diff != "" {
					t.Errorf("process %d (-pushed +got):\n%s", i, diff)
				}
			}
			if done == 0 {
				t.Error("none came through")
			}
			most := int64(0)
			for _, n := range v.downloads() {
				most = max(most, n)
			}
			if once := tt.dir(0) == tt.dir(1) || tt.linked || tt.shared && clones(t, v.dir); once && most != 1 {
				t.Errorf("a blob was downloaded %d times, want once", most)
			}
			t.Logf("%d of %d came through; a blob was downloaded at most %d times", done, processes, most)
		})
	}
}

// busy reports whether a pull says that another one fills the directory.
func busy(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() == exitLocal && strings.Contains(err.Error(), "another process")
}

// downloads tells how often each blob of the first version was sent. What is
// sent of answers that are cut short, since several connections share a blob,
// does not make another time.
func (v *survivor) downloads() map[string]int64 {
	v.t.Helper()
	sent := map[string]int64{}
	for _, r := range v.reg.Requests() {
		if _, dgst, ok := strings.Cut(r.Path, "/blobs/sha256:"); ok && r.Method == http.MethodGet {
			sent[dgst] += r.BytesOut
		}
	}
	n := map[string]int64{}
	for name, dgst := range v.want[0] {
		info, err := os.Stat(filepath.Join(v.dir, "model0", filepath.FromSlash(name)))
		if err != nil {
			v.t.Fatal(err)
		}
		n[name] = sent[dgst] / info.Size()
	}
	return n
}

// clones reports whether files in dir can share bytes.
func clones(t *testing.T, dir string) bool {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(dir, "clone")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	return store.Clone(files[0], files[1]) == nil
}
