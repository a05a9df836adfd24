package signing_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/signing"
)

func TestSeen(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	version := func(s string) signing.SeenVersion { return signing.SeenVersion{Digest: digest.FromString(s)} }
	dated := func(s string, n int) signing.SeenVersion {
		return signing.SeenVersion{Digest: digest.FromString(s), Created: day(n)}
	}
	tagged := func(s, tag string) signing.SeenVersion {
		return signing.SeenVersion{Digest: digest.FromString(s), Tag: tag}
	}
	type step struct {
		v         signing.SeenVersion
		downgrade bool
		refused   bool
	}
	tests := map[string][]step{
		"forward":                {{v: version("a")}, {v: version("b")}, {v: version("c")}},
		"the same again":         {{v: version("a")}, {v: version("a")}},
		"back":                   {{v: version("a")}, {v: version("b")}, {v: version("a"), refused: true}, {v: version("b")}},
		"back two":               {{v: version("a")}, {v: version("b")}, {v: version("c")}, {v: version("a"), refused: true}},
		"back on purpose":        {{v: version("a")}, {v: version("b")}, {v: version("a"), downgrade: true}, {v: version("a")}},
		"forward after that":     {{v: version("a")}, {v: version("b")}, {v: version("a"), downgrade: true}, {v: version("b")}},
		"older, never seen":      {{v: dated("b", 2)}, {v: dated("a", 1), refused: true}},
		"older on purpose":       {{v: dated("b", 2)}, {v: dated("a", 1), downgrade: true}, {v: dated("a", 1)}},
		"newer":                  {{v: dated("a", 1)}, {v: dated("b", 2)}},
		"one begins to say":      {{v: version("a")}, {v: dated("b", 1)}, {v: dated("c", 1)}},
		"one says no longer":     {{v: dated("a", 1)}, {v: version("b"), refused: true}, {v: dated("c", 1)}},
		"and that on purpose":    {{v: dated("b", 2)}, {v: version("c"), downgrade: true}, {v: version("d")}, {v: version("c"), refused: true}},
		"higher versions":        {{v: tagged("a", "v1.9.0")}, {v: tagged("b", "v1.10.0")}, {v: tagged("c", "1.10.0")}},
		"a lower version":        {{v: tagged("b", "v1.10.0")}, {v: tagged("a", "v1.9.0"), refused: true}, {v: tagged("c", "v1.10.1")}},
		"a lower one on purpose": {{v: tagged("b", "v1.10.0")}, {v: tagged("a", "v1.9.0"), downgrade: true}, {v: tagged("a", "v1.9.0")}, {v: tagged("b", "v1.10.0")}},
		"old, as a higher one":   {{v: tagged("a", "v1.0.0")}, {v: tagged("b", "v1.1.0")}, {v: tagged("a", "v1.2.0"), refused: true}},
		"no version":             {{v: tagged("a", "prod")}, {v: tagged("b", "2025")}, {v: tagged("c", "")}},
		"forward after older":    {{v: dated("c", 3)}, {v: dated("a", 1), downgrade: true}, {v: dated("b", 2)}, {v: dated("c", 3)}},
		"a refusal notes naught": {{v: version("a")}, {v: version("b")}, {v: version("a"), refused: true}, {v: version("a"), refused: true}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, s := range steps {
				seen := signing.NewSeen(dir) // each time anew: what counts is on the disk
				before := seenState(t, dir)
				if err := seen.Check("host/org/m:prod", s.v, s.downgrade); errors.Is(err, signing.ErrRollback) != s.refused {
					t.Fatalf("step %d: Check = %v, want refused %t", i, err, s.refused)
				}
				if diff := cmp.Diff(before, seenState(t, dir)); diff != "" {
					t.Fatalf("step %d: Check changed the directory: %s", i, diff)
				}
				err := seen.Accept(t.Context(), "host/org/m:prod", s.v, s.downgrade)
				if errors.Is(err, signing.ErrRollback) != s.refused || !s.refused && err != nil {
					t.Fatalf("step %d: Accept = %v, want refused %t", i, err, s.refused)
				}
				if err := seen.Accept(t.Context(), "host/org/m:other", version("x"), false); err != nil {
					t.Fatalf("step %d: another tag: %v", i, err)
				}
			}
		})
	}
}

// A version that does not say when it was made, and was seen last, does not hide
// when those before it were.
func TestSeenComparesWithAll(t *testing.T) {
	dir := t.TempDir()
	seen := signing.NewSeen(dir)
	at := func(s string, year int) signing.SeenVersion {
		return signing.SeenVersion{Digest: digest.FromString(s), Created: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
	}
	if err := seen.Accept(t.Context(), "host/org/m:prod", at("new", 2026), false); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v; want one", files, err)
	}
	list := `{"version":1,"name":"host/org/m:prod","versions":[{"digest":"` + digest.FromString("new").String() +
		`","created":"2026-01-01T00:00:00Z"},{"digest":"` + digest.FromString("undated").String() + `"}]}`
	if err := os.WriteFile(files[0], []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := seen.Check("host/org/m:prod", at("old", 2024), false); !errors.Is(err, signing.ErrRollback) {
		t.Errorf("Check of an older version = %v, want ErrRollback", err)
	}
	if err := seen.Check("host/org/m:prod", at("newer", 2027), false); err != nil {
		t.Errorf("Check of a newer version = %v", err)
	}
}

// seenState reads what is in a directory of lists.
func seenState(t *testing.T, dir string) map[string]string {
	t.Helper()
	state := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		state[e.Name()] = string(text)
	}
	return state
}

// A damaged list must not be taken for an empty one, or anything passes.
func TestSeenDamaged(t *testing.T) {
	dir := t.TempDir()
	seen := signing.NewSeen(dir)
	v := signing.SeenVersion{Digest: digest.FromString("a")}
	if err := seen.Accept(t.Context(), "host/org/m:prod", v, false); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v; want one", files, err)
	}
	for _, text := range []string{"", "{", `{"version":2,"name":"host/org/m:prod","versions":[]}`, `{"version":1,"name":"other","versions":[]}`} {
		if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := seen.Accept(t.Context(), "host/org/m:prod", v, true); err == nil {
			t.Errorf("Accept with list %q succeeded", text)
		}
	}
}

// Of several processes that see different versions at once, each one's is noted.
func TestSeenAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			v := signing.SeenVersion{Digest: digest.FromString(string(rune('a' + i)))}
			if err := signing.NewSeen(dir).Accept(t.Context(), "host/org/m:prod", v, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := signing.NewSeen(dir)
	refused := 0
	for i := range 8 {
		err := seen.Accept(t.Context(), "host/org/m:prod", signing.SeenVersion{Digest: digest.FromString(string(rune('a' + i)))}, false)
		if errors.Is(err, signing.ErrRollback) {
			refused++
		}
	}
	if refused != 7 {
		t.Errorf("%d of 8 were known as older, want all but the last", refused)
	}
}

// What a key has signed holds whatever the clock says: the test runs at the
// beginning of the year 2000, before the signature was made, and then ten years
// after it.
func TestVerifyAtAnyTime(t *testing.T) {
	r := newFake()
	model := r.model(t, "model")
	if _, err := signing.Sign(t.Context(), r, model, alice().signer, signing.SignOptions{Format: signing.Both}); err != nil {
		t.Fatal(err)
	}
	ahead := time.Until(time.Now().AddDate(10, 0, 0)) + time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{0, ahead} {
			time.Sleep(wait) // of the bubble's clock
			if _, err := signing.Verify(t.Context(), r, model, trustAlice()); err != nil {
				t.Errorf("Verify at %s: %v", time.Now(), err)
			}
		}
	})
}

// Whatever lies in the file, no more versions come of it than are kept.
func FuzzSeen(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"h/m:t","versions":[{"digest":"` + digest.FromString("a").String() + `"}]}`))
	f.Add([]byte(`{"version":1,"name":"h/m:t","versions":[{"digest":"sha256:../..","created":"2026-11-23T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"versions":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := signing.ParseSeen(raw); err == nil && n > 1000 {
			t.Errorf("%d versions", n)
		}
	})
}
