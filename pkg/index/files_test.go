package index_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/pkg/index"
)

// An index is replaced when the new one is whole, and nothing else is.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	text, path := filepath.Join(dir, "text"), filepath.Join(dir, "index.db")
	for _, data := range []string{strings.Repeat("thesis\n", 100), "one line\n"} {
		if err := os.WriteFile(text, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		err := index.Replace(t.Context(), text, func(*index.Index) error { t.Error("something was built"); return nil })
		if !errors.Is(err, index.ErrLayout) {
			t.Errorf("a text of %d bytes: %v", len(data), err)
		}
		if raw, err := os.ReadFile(text); err != nil || string(raw) != data {
			t.Errorf("the text is %.20q, %v", raw, err)
		}
	}
	fault := errors.New("no registry")
	total := func() int {
		ix, err := index.Open(t.Context(), path, index.OpenOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer ix.Close()
		return find(t, ix, "versions:all", index.Options{}).Total
	}
	for i, step := range []struct {
		put  int
		err  error
		want int
	}{{2, nil, 2}, {3, fault, 2}, {1, nil, 1}} {
		err := index.Replace(t.Context(), path, func(ix *index.Index) error {
			if i > 0 && total() != 2 {
				t.Error("the old index was not there any more")
			}
			return errors.Join(ix.Put(t.Context(), zoo()[:step.put]), step.err)
		})
		if !errors.Is(err, step.err) {
			t.Errorf("step %d: %v", i, err)
		}
		if n := total(); n != step.want {
			t.Errorf("step %d: found %d, want %d", i, n, step.want)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".index-*")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Open(t.Context(), text, index.OpenOptions{}); !errors.Is(err, index.ErrLayout) {
		t.Errorf("text: %v", err)
	}
	if _, err := index.Open(t.Context(), filepath.Join(dir, "none"), index.OpenOptions{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	path := filepath.Join(dir, "a strange? name%.db")
	ix, err := index.Open(t.Context(), path, index.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ix.Put(t.Context(), zoo()), ix.Close()); err != nil {
		t.Fatal(err)
	}
	if ix, err = index.Open(t.Context(), path, index.OpenOptions{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	if n := find(t, ix, "llama", index.Options{}).Total; n != 3 {
		t.Errorf("found %d in an index opened for reading", n)
	}
	if err := ix.Put(t.Context(), zoo()[:1]); err != nil {
		t.Errorf("what is there already is no change: %v", err)
	}
	if err := ix.Put(t.Context(), []index.Record{{Repository: "x/y", Digest: "z"}}); err == nil {
		t.Error("an index opened for reading was changed")
	}
}

// Whatever is in a record, it can be kept and found.
func TestHostileRecords(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	ix := open(t, index.Record{
		Repository: "r.io/x/" + long, Digest: long, Latest: true, Card: strings.Repeat("w\xff \x00 ", 1<<18), Title: long,
		Tags: slices.Repeat([]string{long}, 1000), Task: "a\x00b", Licenses: []string{"", "\x00"}, Parameters: -1, Size: -5,
		Metrics: []index.Metric{{Name: "", Value: 1}, {Name: "x", Value: 1}}, Updated: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}, index.Record{Latest: true})
	if n := find(t, ix, "", index.Options{Facets: index.FacetNames()}).Total; n != 2 {
		t.Errorf("found %d", n)
	}
	if n := find(t, ix, "aaaaaaaa* metric:x=1", index.Options{}).Total; n != 1 {
		t.Errorf("found %d", n)
	}
}

// Who is told that an index is damaged can build another in its place.
func TestReplaceDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	put := func(ix *index.Index) error { return ix.Put(t.Context(), zoo()) }
	if err := index.Replace(t.Context(), path, put); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(raw); i++ { // behind the header of the file
		raw[i] = 0xff
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if ix, err := index.Open(t.Context(), path, index.OpenOptions{ReadOnly: true}); err == nil {
		ix.Close()
		t.Fatal("it is not damaged")
	}
	if err := index.Replace(t.Context(), path, put); err != nil {
		t.Errorf("Replace: %v", err)
	}
}
