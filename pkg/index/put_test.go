package index_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

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
