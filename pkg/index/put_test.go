package index_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testcards"
	"github.com/modelreg/modelreg/pkg/index"
)

func open(t *testing.T, records ...index.Record) *index.Index {
	t.Helper()
	ix, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ix.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := ix.Put(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	return ix
}

func find(t *testing.T, ix *index.Index, query string, opts index.Options) *index.Results {
	t.Helper()
	q, err := index.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	res, err := ix.Search(t.Context(), q, opts)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func names(res *index.Results) []string {
	list := []string{}
	for _, h := range res.Hits {
		list = append(list, h.Record.Repository)
	}
	return list
}

func TestPutAndFind(t *testing.T) {
	ix := open(t, index.Record{Repository: "reg.io/acme/llama-3-8b", Digest: "sha256:a", Latest: true, Card: "a large language model"})
	if diff := cmp.Diff([]string{"reg.io/acme/llama-3-8b"}, names(find(t, ix, "llama-3 \"large language\"", index.Options{}))); diff != "" {
		t.Error(diff)
	}
}

// What does not fit into memory is found as what does, and leaves no file.
func TestLoadWithLittleMemory(t *testing.T) {
	records := slices.Collect(testcards.Records(7, 300))
	whole := open(t, records...)
	dir := t.TempDir()
	ix, err := index.Open(t.Context(), filepath.Join(dir, "index.db"), index.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	ix.Spill(5000)
	for part := range slices.Chunk(records, 200) { // the second adds to rows of the first
		if err := ix.Put(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{"llama", "the training", "mod*", "evalu*", `"the of"`, "license:mit versions:all", "params:<8b -q*"} {
		want, got := find(t, whole, query, index.Options{Limit: 50}), find(t, ix, query, index.Options{Limit: 50})
		if diff := cmp.Diff(names(want), names(got)); diff != "" || want.Total != got.Total {
			t.Errorf("%s: total %d and %d (-want +got):\n%s", query, want.Total, got.Total, diff)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".terms-*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A part in which something fails is not added.
func TestLoadStopsAtAnError(t *testing.T) {
	ix := open(t)
	fault := errors.New("no more")
	err := ix.Load(t.Context(), func(yield func(index.Record, error) bool) {
		for r := range testcards.Records(7, 10) {
			if !yield(r, nil) {
				return
			}
		}
		yield(index.Record{}, fault)
	})
	if !errors.Is(err, fault) {
		t.Errorf("error %v", err)
	}
	if n := find(t, ix, "versions:all", index.Options{}).Total; n != 0 {
		t.Errorf("found %d", n)
	}
}

func BenchmarkLoad(b *testing.B) {
	const n = 2000
	records := slices.Collect(testcards.Records(1, n))
	b.ReportAllocs()
	for b.Loop() {
		ix, err := index.Open(b.Context(), filepath.Join(b.TempDir(), "index.db"), index.OpenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(ix.Put(b.Context(), records), ix.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/record")
}
