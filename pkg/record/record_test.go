package record_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/record"
)

var (
	one, two, three = digest.FromString("one"), digest.FromString("two"), digest.FromString("three")
	may             = time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)
)

func TestRecordTravels(t *testing.T) {
	r := record.Record{
		DefaultBranch: "main", Immutable: []string{"v*"}, Protected: []string{"prod"}, Redirect: "ghcr.io/acme/new",
		Publishers: []record.Party{{Key: "PEM"}, {Identity: "a@b.c", Issuer: "https://issuer"}},
	}
	manifest, blob, err := r.Manifest(one)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := record.Layer(manifest)
	if err != nil || string(layer.Data) != string(blob) {
		t.Fatalf("Layer = %q, %v; want %q", layer.Data, err, blob)
	}
	got, err := record.Parse(layer.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
}

func TestRecordKeepsWhatItDoesNotKnow(t *testing.T) {
	r, err := record.Parse([]byte(`{"defaultBranch":"main","gate":{"form":["name"]},"retention":{"keep":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.DefaultBranch = "dev"
	if got := string(r.Encode()); !strings.Contains(got, `"gate":{"form":["name"]}`) || !strings.Contains(got, `"retention":{"keep":3}`) {
		t.Errorf("Encode = %s", got)
	}
}

func TestRecordRefuses(t *testing.T) {
	many := strings.Repeat(`"a",`, 64) + `"a"`
	tests := map[string]string{
		"not JSON":            "{",
		"a name twice":        `{"notice":"a","notice":"b"}`,
		"a tag that is none":  `{"defaultBranch":"a/b"}`,
		"a bad glob":          `{"immutable":[""]}`,
		"many globs":          `{"protected":[` + many + `]}`,
		"an empty party":      `{"publishers":[{"name":"x"}]}`,
		"half a party":        `{"publishers":[{"identity":"x"}]}`,
		"two parties in one":  `{"evaluators":[{"key":"x","issuer":"y"}]}`,
		"a redirect to a tag": `{"redirect":"ghcr.io/a/b:v1"}`,
		"a redirect by path":  `{"redirect":"../b"}`,
		"large":               `{"notice":"` + strings.Repeat("x", record.MaxBytes) + `"}`,
		"a long notice":       `{"notice":"` + strings.Repeat("x", 5000) + `"}`,
	}
	for name, doc := range tests {
		t.Run(name, func(t *testing.T) {
			if r, err := record.Parse([]byte(doc)); !errors.Is(err, mediatypes.ErrMalformed) {
				t.Errorf("Parse = %+v, %v; want an error", r, err)
			}
		})
	}
}

func TestRules(t *testing.T) {
	r := record.Record{Immutable: []string{"v*", "release/*"}, Protected: []string{"prod"}}
	for tag, want := range map[string]bool{"v1": true, "main": false, "_b.release__1": true, "_b.fix__1": false, "prod": false} {
		if got := r.IsImmutable(tag); got != want {
			t.Errorf("IsImmutable(%s) = %v", tag, got)
		}
	}
	if !r.IsProtected("prod") || r.IsProtected("production") {
		t.Error("IsProtected holds what is not named, or does not hold what is")
	}
}

func entry(seq int, from, to digest.Digest, at time.Time, previous ...record.Entry) record.Entry {
	e := record.Entry{Alias: "prod", Seq: seq, Time: at, From: from, To: to, Message: "why", Author: "me"}
	for _, p := range previous {
		e.Previous = append(e.Previous, p.Digest)
	}
	raw, err := e.Manifest()
	if err != nil {
		panic(err)
	}
	e.Digest = digest.FromBytes(raw)
	return e
}

func TestEntryTravels(t *testing.T) {
	want := entry(2, one, "", may, entry(1, "", one, may))
	raw, err := want.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := record.ParseEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	tag := record.EntryTag(want.Alias, want.Seq, want.Digest)
	alias, seq, hex, ok := record.ParseEntryTag(tag)
	if !ok || alias != "prod" || seq != 2 || !strings.HasPrefix(want.Digest.Encoded(), hex) {
		t.Errorf("ParseEntryTag(%s) = %s, %d, %s, %v", tag, alias, seq, hex, ok)
	}
	if long := record.EntryTag(strings.Repeat("a", record.MaxAlias), 99_999_999, one); len(long) > 128 {
		t.Errorf("a tag of %d bytes", len(long))
	}
	want.Alias = strings.Repeat("a", record.MaxAlias+1)
	if _, err := want.Manifest(); err == nil {
		t.Error("an entry for a name that is too long was made")
	}
}

func TestLog(t *testing.T) {
	a := entry(1, "", one, may)
	b := entry(2, one, two, may.Add(time.Hour), a)
	rival := entry(2, one, three, may.Add(time.Hour), a)
	c := entry(3, two, one, may.Add(2*time.Hour), b, rival)
	after := entry(3, three, one, may.Add(2*time.Hour), b, rival)
	stray := entry(3, three, one, may.Add(2*time.Hour), b)
	tests := map[string]struct {
		entries []record.Entry
		tip     digest.Digest
		now     digest.Digest
		first   int
		order   []record.Entry
		whole   bool
		problem string
	}{
		"whole":              {[]record.Entry{b, a}, c.Digest, two, 1, []record.Entry{b, a}, true, ""},
		"rivals":             {[]record.Entry{a, rival, c, b}, c.Digest, one, 1, []record.Entry{c, b, rival, a}, true, ""},
		"the rival stands":   {[]record.Entry{a, rival, b}, b.Digest, three, 1, []record.Entry{rival, b, a}, true, ""},
		"by its follower":    {[]record.Entry{a, rival, b, after}, b.Digest, one, 1, []record.Entry{after, rival, b, a}, true, ""},
		"cut at the end":     {[]record.Entry{a}, c.Digest, two, 1, []record.Entry{a}, true, "its log ends at " + one.String()},
		"cut in the middle":  {[]record.Entry{c, a}, c.Digest, one, 1, []record.Entry{c, a}, true, b.Digest.String() + ", which is not there"},
		"cut at the start":   {[]record.Entry{b}, c.Digest, two, 1, []record.Entry{b}, false, "what was before it is gone"},
		"not read so far":    {[]record.Entry{b}, c.Digest, two, 2, []record.Entry{b}, false, ""},
		"moved by others":    {[]record.Entry{stray, b, a}, c.Digest, one, 1, []record.Entry{stray, b, a}, true, "nobody logged it"},
		"no entries at all":  {nil, c.Digest, one, 1, nil, false, ""},
		"the same one twice": {[]record.Entry{a, a}, c.Digest, one, 1, []record.Entry{a}, true, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			log := record.Order(tt.entries, tt.tip, tt.now)
			log.Check(tt.now, tt.first)
			if diff := cmp.Diff(tt.order, log.Entries); diff != "" {
				t.Error(diff)
			}
			if log.Whole != tt.whole {
				t.Errorf("Whole = %v", log.Whole)
			}
			got := strings.Join(log.Problems, "\n")
			if (tt.problem == "") != (got == "") || !strings.Contains(got, tt.problem) {
				t.Errorf("problems = %q, want %q", got, tt.problem)
			}
		})
	}
}

func TestLogAt(t *testing.T) {
	a := entry(1, "", one, may)
	b := entry(2, one, two, may.Add(time.Hour), a)
	rival := entry(2, one, three, may.Add(time.Hour), a)
	log := record.Order([]record.Entry{rival, b, a}, b.Digest, one)
	for after, want := range map[time.Duration]digest.Digest{-time.Second: "", 0: one, time.Minute: one, time.Hour: two, 9 * time.Hour: two} {
		e, ok := log.At(may.Add(after))
		if ok != (want != "") || e.To != want {
			t.Errorf("%s after the first move: %s, %v; want %s", after, e.To, ok, want)
		}
	}
}

func stated(s record.State, since time.Time, change func(*record.Stated)) record.Stated {
	out := record.Stated{Status: record.Status{State: s, Since: since}, Digest: digest.FromString(string(s) + since.String())}
	if change != nil {
		change(&out)
	}
	return out
}

func TestNewest(t *testing.T) {
	later := may.Add(time.Hour)
	signed := func(at time.Time) func(*record.Stated) { return func(s *record.Stated) { s.Signed = at } }
	seq := func(n int) func(*record.Stated) { return func(s *record.Stated) { s.Seq = n } }
	tests := map[string]struct {
		all  []record.Stated
		want record.State
	}{
		"the later":                      {[]record.Stated{stated(record.Yanked, may, nil), stated(record.Active, later, nil)}, record.Active},
		"the later, told first":          {[]record.Stated{stated(record.Yanked, later, nil), stated(record.Active, may, nil)}, record.Yanked},
		"the worse at the same time":     {[]record.Stated{stated(record.Yanked, may, nil), stated(record.Active, may, nil)}, record.Yanked},
		"the higher number":              {[]record.Stated{stated(record.Yanked, may, seq(1)), stated(record.Active, may, seq(2))}, record.Active},
		"a date that is not vouched for": {[]record.Stated{stated(record.Active, later.AddDate(9, 0, 0), signed(may)), stated(record.Yanked, later, signed(later))}, record.Yanked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := record.Newest(tt.all); !ok || got.State != tt.want {
				t.Errorf("Newest = %s, %v; want %s", got.State, ok, tt.want)
			}
		})
	}
	if _, ok := record.Newest(nil); ok {
		t.Error("of no statements one is the newest")
	}
}

func TestStatusTravels(t *testing.T) {
	want := record.Status{State: record.Yanked, Reason: "leaked data", Since: may, Replacement: "ghcr.io/a/b:v2", Seq: 2, Previous: one}
	raw, err := want.Predicate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := record.ParseStatus(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, doc := range []string{"", "[]", `{"state":"dubious"}`, `{"state":"yanked","since":"yesterday"}`} {
		if s, err := record.ParseStatus([]byte(doc)); !errors.Is(err, record.ErrMalformed) {
			t.Errorf("ParseStatus(%s) = %+v, %v", doc, s, err)
		}
	}
}

func TestGaps(t *testing.T) {
	a := stated(record.Yanked, may, nil)
	b := stated(record.Active, may.Add(time.Hour), func(s *record.Stated) { s.Previous = a.Digest })
	if got := record.Gaps([]record.Stated{a, b}); len(got) != 0 {
		t.Errorf("Gaps = %v, and nothing is missing", got)
	}
	if diff := cmp.Diff([]digest.Digest{a.Digest}, record.Gaps([]record.Stated{b, b})); diff != "" {
		t.Error(diff)
	}
}

func TestTombstoneTravels(t *testing.T) {
	want := record.Tombstone{Digest: one, Reason: "licence", Replacement: "ghcr.io/a/b:v2", Author: "me", Time: may}
	raw, err := want.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got, ok := record.ParseTombstone(raw)
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("%v %s", ok, diff)
	}
	e := entry(1, "", one, may)
	other, err := e.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := record.ParseTombstone(other); ok {
		t.Error("an entry of a log is a tombstone")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"defaultBranch":"main","immutable":["v*"],"x":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := record.Parse(raw)
		if err != nil {
			return
		}
		again, err := record.Parse(r.Encode())
		if err != nil || !again.Same(&r) {
			t.Errorf("what is read from %q is written as %q: %v", raw, r.Encode(), err)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	e := entry(2, one, two, may, entry(1, "", one, may))
	raw, _ := e.Manifest()
	f.Add(raw)
	stone, _ := record.Tombstone{Digest: one, Time: may}.Manifest()
	f.Add(stone)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = record.ParseTombstone(raw)
		_, _ = record.Layer(raw)
		e, err := record.ParseEntry(raw)
		if err != nil {
			return
		}
		if len(e.Message) > 8<<10 || e.Seq < 1 || len(e.Alias) > 128 {
			t.Errorf("an entry beyond its limits: %+v", e)
		}
		log := record.Order([]record.Entry{e, e}, e.Digest, e.To)
		log.Check(e.To, 1)
		log.At(e.Time)
	})
}

func TestRecordStatus(t *testing.T) {
	for doc, ok := range map[string]bool{
		`{"status":{"state":"deprecated","reason":"old","since":"2026-11-02T10:00:00Z"}}`:              true,
		`{"status":{"state":"retired","since":"2026-11-02T10:00:00Z","replacement":"ghcr.io/a/b"}}`:    true,
		`{"status":{"state":"yanked","since":"2026-11-02T10:00:00Z"}}`:                                 false,
		`{"status":{"state":"","reason":"x","since":"2026-11-02T10:00:00Z"}}`:                          false,
		`{"status":{"state":"retired","since":"9999-11-02T10:00:00Z"}}`:                                false,
		`{"status":{"state":"retired","since":"2026-11-02T10:00:00Z","reason":"` + long(5<<10) + `"}}`: false,
	} {
		r, err := record.Parse([]byte(doc))
		if (err == nil) != ok {
			t.Errorf("Parse(%.60s) = %v", doc, err)
		}
		if ok && string(r.Encode()) != doc {
			t.Errorf("%s is written as %s", doc, r.Encode())
		}
	}
	if _, err := record.ParseStatus([]byte(`{"state":"retired","since":"2026-11-02T10:00:00Z"}`)); err == nil {
		t.Error("a version is retired")
	}
}

func long(n int) string { return strings.Repeat("x", n) }
