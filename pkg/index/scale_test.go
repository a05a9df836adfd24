package index_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/modelreg/modelreg/internal/testcards"
	"github.com/modelreg/modelreg/pkg/index"
)

// tools/bench.sh measures with these; see docs/benchmarks.md.
var (
	scaleRecords = flag.Int("records", 0, "measure searches of an index of `N` records")
	scaleDir     = flag.String("dir", "", "keep that index in `DIR`, and use it again")
	scaleRounds  = flag.Int("rounds", 20, "run each query `N` times")
)

// A question is a query whose answers are measured.
type question struct {
	kind, query string
	facets      bool
	limit       time.Duration // of p95; zero for what is only told
}

// questions are those that are aimed at, with words that are rare, usual and in
// nearly every card.
var questions = []question{
	{"text, 2 filters, facets", "llama chat license:apache-2.0 params:<8b", true, 100 * time.Millisecond},
	{"text, 2 filters, facets", "training data language:de format:safetensors", true, 100 * time.Millisecond},
	{"text, 2 filters, facets", "the model task:text-generation library:transformers", true, 100 * time.Millisecond},
	{"text, 2 filters, facets", "medical qwen2 quant:q4* signed:yes", true, 100 * time.Millisecond},
	{"text, 2 filters, facets", `"language model" license:mit updated:>=2024`, true, 100 * time.Millisecond},
	{"text, 2 filters, facets", "llama-8b fits:24gb context:>=32k", true, 100 * time.Millisecond},
	{"all versions too", "llama chat license:apache-2.0 params:<8b versions:all", true, 100 * time.Millisecond},
	{"all versions too", "the task:text-generation library:transformers versions:all", true, 100 * time.Millisecond},
	{"prefix", "l*", false, 30 * time.Millisecond},
	{"prefix", "lla*", false, 30 * time.Millisecond},
	{"prefix", "mistr*", false, 30 * time.Millisecond},
	{"prefix", "instruct*", false, 30 * time.Millisecond},
	{"prefix", "llama-3*", false, 30 * time.Millisecond},
	{"filters alone", "task:text-generation license:apache-2.0", true, 0},
	{"everything", "", true, 0},
	{"metric", "metric:mmlu>0.7 params:<8b", true, 0},
	{"slip", "lllama", false, 0},
}

func TestScale(t *testing.T) {
	if *scaleRecords == 0 {
		t.Skip("measures: give -args -records 1000000")
	}
	dir := cmp.Or(*scaleDir, t.TempDir())
	path := filepath.Join(dir, fmt.Sprintf("cards-%d.db", *scaleRecords))
	_, missing := os.Stat(path)
	ix, err := index.Open(t.Context(), path, index.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { ix.Close() }()
	if missing != nil {
		load(t, ix, path)
	} else if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	if ix, err = index.Open(t.Context(), path, index.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		ask(t, ix, q)
	}
	update(t, ix)
	t.Logf("at most %d MiB of memory", peak()>>20)
}

// cpu returns the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak returns the most memory that this process had, in bytes.
func peak() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss << 10
}

// load makes the index, and measures what that takes besides making the records.
func load(t *testing.T, ix *index.Index, path string) {
	start, computed := time.Now(), cpu()
	var text int
	var making time.Duration
	before := start
	err := ix.Load(t.Context(), func(yield func(index.Record, error) bool) {
		for r := range testcards.Records(1, *scaleRecords) {
			text += len(r.Card)
			making += time.Since(before)
			if !yield(r, nil) {
				return
			}
			before = time.Now()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	loaded, computing := time.Since(start), cpu()-computed
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	n := *scaleRecords
	t.Logf("%d records with cards of %d bytes on average: %d bytes each on disk; %v to load (%v of it to make them), %v of CPU; at most %d MiB of memory",
		n, text/n, info.Size()/int64(n), loaded.Round(100*time.Millisecond), making.Round(100*time.Millisecond),
		computing.Round(100*time.Millisecond), peak()>>20)
}

// ask measures one question, the first time and then again and again.
func ask(t *testing.T, ix *index.Index, q question) {
	parsed, err := index.ParseQuery(q.query)
	if err != nil {
		t.Fatal(err)
	}
	opts := index.Options{Now: time.Unix(1_790_000_000, 0)}
	if q.facets {
		opts.Facets = index.FacetNames()
	}
	var times, cpus []time.Duration
	total := 0
	for range *scaleRounds + 1 {
		start, computed := time.Now(), cpu()
		res, err := ix.Search(t.Context(), parsed, opts)
		if err != nil {
			t.Fatal(err)
		}
		times, cpus = append(times, time.Since(start)), append(cpus, cpu()-computed)
		total = res.Total
	}
	first := times[0]
	times, cpus = times[1:], cpus[1:]
	slices.Sort(times)
	slices.Sort(cpus)
	p := func(l []time.Duration, share float64) time.Duration {
		return l[int(share*float64(len(l)-1))].Round(100 * time.Microsecond)
	}
	t.Logf("%-24s %-60s %8d found  first %8v  p50 %8v  p95 %8v  CPU p50 %8v", q.kind, q.query, total,
		first.Round(100*time.Microsecond), p(times, 0.5), p(times, 0.95), p(cpus, 0.5))
	if q.limit > 0 && p(times, 0.95) > q.limit {
		t.Logf("    p95 is over the %v that are aimed at", q.limit)
	}
}

// update measures how long it takes until a change is found.
func update(t *testing.T, ix *index.Index) {
	var times []time.Duration
	for i := range 10 {
		r := index.Record{
			Repository: "registry.example.com/new/model", Digest: "sha256:new", Latest: true,
			Card: fmt.Sprintf("the update number%d of this model", i),
		}
		start := time.Now()
		if err := ix.Put(t.Context(), []index.Record{r}); err != nil {
			t.Fatal(err)
		}
		if res := find(t, ix, fmt.Sprintf("number%d", i), index.Options{}); res.Total != 1 {
			t.Fatalf("found %d", res.Total)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	t.Logf("an update is found after %v, at most %v", times[5].Round(time.Millisecond), times[9].Round(time.Millisecond))
	if err := ix.Delete(t.Context(), []index.Key{{Repository: "registry.example.com/new/model", Digest: "sha256:new"}}); err != nil {
		t.Fatal(err)
	}
}
