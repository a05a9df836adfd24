package index_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/index"
)

// Words that begin alike share rows, long postings have their own, and what was
// short becomes long as more is put.
func TestSharedRows(t *testing.T) {
	const n = 1200
	var records []index.Record
	for i := range n {
		card := []string{"common", fmt.Sprintf("sharedbeginning%d", i%300), fmt.Sprintf("only%d", i)}
		if i%2 == 0 {
			card = append(card, "even")
		}
		records = append(records, index.Record{
			Repository: fmt.Sprintf("reg.io/acme/m%d", i), Digest: fmt.Sprintf("sha256:%d", i), Latest: true,
			Card: strings.Join(card, " "),
		})
	}
	want := map[string]int{
		"common": n, "even": n / 2, "sharedbeginning7": n / 300, "only77": 1, "absent": 0,
		"sharedbeginning*": n, "sharedbeginning1*": 111 * n / 300, "sharedbeginningx*": 0, "commo*": n, "commo* even": n / 2,
	}
	for _, step := range []int{n, 170} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index.db")
			ix, err := index.Open(t.Context(), path, index.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { ix.Close() }()
			for i := 0; i < n; i += step {
				if err := ix.Put(t.Context(), records[i:min(i+step, n)]); err != nil {
					t.Fatal(err)
				}
				// What was read before more is put must not be kept for good.
				if got, want := find(t, ix, "sharedbeginning*", index.Options{}).Total, min(i+step, n); got != want {
					t.Errorf("after %d: found %d", want, got)
				}
			}
			for query, total := range want {
				if got := find(t, ix, query, index.Options{}).Total; got != total {
					t.Errorf("%s: found %d, want %d", query, got, total)
				}
			}
			if err := ix.Delete(t.Context(), []index.Key{records[0].Key(), records[1].Key()}); err != nil {
				t.Fatal(err)
			}
			if got := find(t, ix, "sharedbeginning*", index.Options{}).Total; got != n-2 {
				t.Errorf("after deleting: found %d", got)
			}
		})
	}
}
