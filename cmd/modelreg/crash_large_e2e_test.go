//go:build e2e && linux

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelreg/modelreg/internal/testreg"
)

const (
	// largeKills is how often TestE2ECrashLarge kills a pull, in each mode, and
	// largeHits how often amid what the mode is there for.
	largeKills, largeHits = 20, 6

	// A large model has so many tensors of so many bytes: together more than
	// what is fetched over several connections, indexed, and written past the
	// page cache. The versions differ in every largeNew-th.
	largeTensors = 48
	largeTensor  = 2 << 20
	largeNew     = 6
)

// newLarge is a survivor whose model is one large file of weights.
func newLarge(t *testing.T, rng *rand.Rand) *survivor {
	v := &survivor{client: newClient(t), reg: testreg.New(t, testreg.Options{Data: t.TempDir()}), rng: rng}
	for i := range v.versions {
		model := filepath.Join(v.dir, fmt.Sprintf("model%d", i))
		v.size = writeTensors(t, model, uint64(i))
		writeNoise(t, model, fmt.Sprintf("only%d.txt", i), 1<<10, 20)
		v.versions[i] = fmt.Sprintf("%s/acme/large:v%d", v.reg.Host, i)
		v.modelreg("push", model, v.versions[i])
		v.want[i] = tree(t, model)
		if err := os.RemoveAll(model); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// writeTensors writes a version of the weights and returns their size.
func writeTensors(t *testing.T, dir string, version uint64) int64 {
	t.Helper()
	type entry struct {
		Dtype   string   `json:"dtype"`
		Shape   [2]int64 `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := map[string]entry{}
	for i := range int64(largeTensors) {
		header[fmt.Sprintf("layers.%02d", i)] = entry{"BF16", [2]int64{1024, largeTensor / 2048}, [2]int64{i * largeTensor, (i + 1) * largeTensor}}
	}
	raw, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	_, _ = w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(raw))), raw...)) // Flush tells
	data := make([]byte, largeTensor)
	for i := range byte(largeTensors) {
		seed := [32]byte{i, 'l'}
		if i%largeNew == 0 {
			seed[2] = byte(version)
		}
		_, _ = rand.NewChaCha8(seed).Read(data)
		_, _ = w.Write(data)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return int64(8 + len(raw) + largeTensors*largeTensor)
}

// A largeMode is a way in which a large model is pulled.
type largeMode struct {
	flags []string
	cold  bool           // a round begins with nothing; else with the other version
	link  []testreg.Rule // what slows it down

	// hit tells whether it was under way when the process was killed.
	hit func(k kill) bool
}

// A kill is what could be seen of a pull when it was killed.
type kill struct {
	ahead  int   // requests that began in the midst of a blob
	direct bool  // a file was open to be written past the page cache
	served int64 // bytes of blobs
}

// TestE2ECrashLarge is [TestE2ECrashPull] for what small files never see: ranges
// over several connections, a new version made of the bytes of an old one, and
// writing past the page cache. What was fetched before a kill is not fetched
// again.
func TestE2ECrashLarge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	// The registry writes 32 KiB at a time. One connection is slow enough as it is.
	slow := []testreg.Rule{{Method: "GET", Path: "/blobs/sha256:", Do: testreg.Drip(32<<10, time.Millisecond)}}
	modes := map[string]largeMode{
		"ranges": {nil, true, slow, func(k kill) bool { return k.ahead > 1 }},
		"delta":  {[]string{"--no-cache"}, false, slow, func(k kill) bool { return k.ahead > 0 }},
		"direct": {[]string{"--no-cache", "--concurrency", "1"}, true, nil, func(k kill) bool { return k.direct }},
	}
	v := newLarge(t, rand.New(rand.NewPCG(seed, seed)))
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			v.t, v.took, v.landed = t, 0, map[string]int{}
			v.reg.Reset()
			v.reg.Add(mode.link...)
			v.crashLarge(mode)
		})
	}
}

func (v *survivor) crashLarge(mode largeMode) {
	now, n, hits := -1, 0, 0
	for round := 0; n < largeKills || hits < largeHits; round++ {
		if round > 3*largeKills {
			v.t.Fatalf("only %d pulls were killed before they ended, and %d amid what is meant", n, hits)
		}
		if mode.cold {
			now = -1
			for _, dir := range []string{filepath.Dir(v.target()), filepath.Join(v.dir, "cache")} {
				if err := os.RemoveAll(dir); err != nil {
					v.t.Fatal(err)
				}
			}
		}
		next := round % 2
		had := int64(0)
		crashes := 1 + v.rng.IntN(6)
		if round%6 == 0 {
			crashes = 0 // to know how long one takes
		}
		for range crashes {
			before := len(v.reg.Requests())
			var seen kill
			v.watch = func(pid int) { seen = v.sight(pid, before) }
			if !v.killed(v.pull(next, mode.flags...)) {
				break
			}
			n++
			had += seen.served
			if mode.hit(seen) {
				hits++
			}
			v.look(now, next)
		}
		v.again(mode, now, next, had)
		if crashes == 0 {
			v.took = v.last
		}
		now = next
	}
	v.t.Logf("%d kills, %d of them amid what is meant: %v", n, hits, v.landed)
}

// again completes a pull, of which processes that were killed had fetched some
// bytes, and looks at what that takes.
func (v *survivor) again(mode largeMode, from, to int, had int64) {
	v.t.Helper()
	before := len(v.reg.Requests())
	v.complete(to, mode.flags)
	served := v.sight(os.Getpid(), before).served
	whole := v.size
	if !mode.cold && from >= 0 {
		whole = v.size / largeNew * 5 / 4 // what is new, the index, and the rest of chunks
	}
	if served > whole+1<<20 {
		v.t.Errorf("%d bytes were served for a version of which %d are new", served, whole)
	}
	if had < whole/2 {
		return
	}
	v.landed["past the half"]++
	if served > whole-had/2 {
		v.t.Errorf("%d bytes were served of %d, of which %d had come before", served, whole, had)
	}
}

// sight looks at a process, and at what the registry has served since its log
// had so many lines.
func (v *survivor) sight(pid, since int) kill {
	k := kill{direct: writesDirect(pid)}
	for _, r := range v.reg.Requests()[since:] {
		if r.Method != http.MethodGet || !strings.Contains(r.Path, "/blobs/sha256:") {
			continue
		}
		k.served += r.BytesOut
		if r.Range != "" && !strings.HasPrefix(r.Range, "bytes=0-") {
			k.ahead++
		}
	}
	return k
}

// writesDirect tells whether a process has a file open with O_DIRECT.
func writesDirect(pid int) bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return false
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // closed by now
		}
		for line := range strings.Lines(string(raw)) {
			text, found := strings.CutPrefix(line, "flags:")
			if flags, err := strconv.ParseUint(strings.TrimSpace(text), 8, 64); found && err == nil && flags&syscall.O_DIRECT != 0 {
				return true
			}
		}
	}
	return false
}
