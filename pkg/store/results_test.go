package store_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/pkg/store"
)

func results(t *testing.T, s *store.Store, maker, scope string) *store.Results {
	t.Helper()
	r, err := s.Results(maker, scope)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// keptUnder tells what is kept under the key, "" for nothing.
func keptUnder(r *store.Results, key string) string {
	var value string
	r.Lookup(key, &value)
	return value
}

// resultsFile is the one file of results in a store.
func resultsFile(t *testing.T, s *store.Store) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Dir(), "results", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("files of results: %v, %v", found, err)
	}
	return found[0]
}

func TestResults(t *testing.T) {
	s := openStore(t, t.TempDir())
	r := results(t, s, "maker 1", "here")
	r.Record("a", "found")
	r.Record("long", strings.Repeat("x", 100<<10))
	if got := keptUnder(r, "a"); got != "found" {
		t.Errorf("before it is saved: %q", got)
	}
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	again := results(t, s, "maker 1", "here")
	if got := keptUnder(again, "a"); got != "found" {
		t.Errorf("a = %q", got)
	}
	for _, key := range []string{"b", "long"} {
		if got := keptUnder(again, key); got != "" {
			t.Errorf("%s = %q", key, got)
		}
	}
	var number int
	if again.Lookup("a", &number) {
		t.Error("a text was taken for a number")
	}
	if got := keptUnder(results(t, s, "maker 2", "here"), "a"); got != "" {
		t.Errorf("another maker's: %q", got)
	}
	if got := keptUnder(results(t, s, "maker 1", "there"), "a"); got != "" {
		t.Errorf("of another scope: %q", got)
	}
}

// What is not as it was written is not believed, wherever it was changed.
func TestResultsDamaged(t *testing.T) {
	s := openStore(t, t.TempDir())
	r := results(t, s, "maker", "here")
	r.Record("a", "dangerous")
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	name := resultsFile(t, s)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, raw := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "more": append(bytes.Clone(good), ' '), "no line": []byte("x"),
		"changed": bytes.Replace(good, []byte("dangerous"), []byte("harmless!"), 1),
	} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := keptUnder(results(t, s, "maker", "here"), "a"); got != "" {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// What others could have written is refused.
func TestResultsOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such permissions there")
	}
	for _, what := range []string{"", "results", "file"} {
		s := openStore(t, t.TempDir())
		r := results(t, s, "maker", "here")
		r.Record("a", "found")
		if err := r.Save(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(s.Dir(), what)
		if what == "file" {
			name = resultsFile(t, s)
		}
		if err := os.Chmod(name, 0o777); err != nil { //nolint:gosec // that is the point
			t.Fatal(err)
		}
		if _, err := s.Results("maker", "here"); err == nil {
			t.Errorf("%q can be written to by all", what)
		}
	}
}

// What was not used for long is dropped, and so is what is too much.
func TestResultsAreBounded(t *testing.T) {
	s := openStore(t, t.TempDir())
	now := time.Now()
	at := func(days int) *store.Results {
		r := results(t, s, "maker", "here")
		r.SetNow(func() time.Time { return now.Add(time.Duration(days) * 24 * time.Hour) })
		return r
	}
	first := at(0)
	first.Record("used", "1")
	first.Record("unused", "2")
	if err := first.Save(); err != nil {
		t.Fatal(err)
	}
	later := at(80)
	if keptUnder(later, "used") != "1" {
		t.Error("forgotten after 80 days")
	}
	if err := later.Save(); err != nil {
		t.Fatal(err)
	}
	last := at(100)
	long := strings.Repeat("x", 60<<10)
	for i := range 700 { // more than 32 MiB
		last.Record(fmt.Sprint(i), long)
	}
	if err := last.Save(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(resultsFile(t, s)); err != nil || fi.Size() > 32<<20 {
		t.Errorf("%v, %v", fi, err)
	}
	end := at(100)
	if keptUnder(end, "unused") != "" || keptUnder(end, "used") != "" {
		t.Error("what was used longest ago is kept")
	}
	var known int
	for i := range 700 {
		if keptUnder(end, fmt.Sprint(i)) != "" {
			known++
		}
	}
	if known < 400 || known == 700 {
		t.Errorf("%d are kept", known)
	}
}

func TestPruneTakesResults(t *testing.T) {
	s := openStore(t, t.TempDir())
	r := results(t, s, "maker", "here")
	r.Record("a", "found")
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	name := resultsFile(t, s)
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		opts store.PruneOptions
		gone bool
	}{{store.PruneOptions{}, false}, {store.PruneOptions{All: true, DryRun: true}, false}, {store.PruneOptions{All: true}, true}} {
		if _, err := s.Prune(t.Context(), test.opts); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); os.IsNotExist(err) != test.gone {
			t.Errorf("after %+v: %v", test.opts, err)
		}
	}
}

// A file is settled when its times lie far enough back, and never in the future.
func TestFileSettled(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if store.FileKey(fi) == "" {
		if runtime.GOOS != "windows" {
			t.Fatal("the file has no key")
		}
		t.Skip("this system does not tell")
	}
	for after, want := range map[time.Duration]bool{-time.Hour: false, 0: false, time.Second: false, 3 * time.Second: true} {
		if got := store.FileSettled(fi, fi.ModTime().Add(after)); got != want {
			t.Errorf("after %v: %t", after, got)
		}
	}
}
