package record_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/record"
)

// A statement can be dated at will, and none may be dated so that nothing can be
// stated after it.
func TestStatusOfTheFarFuture(t *testing.T) {
	for name, tt := range map[string]struct {
		since string
		seq   int
	}{
		"the last year":          {"9999-12-31T23:59:59Z", 3},
		"a year that is no more": {"9999-12-31T23:59:59-12:00", 3},
		"the last number":        {"2026-01-01T00:00:00Z", 1<<63 - 1},
		"a number below all":     {"2026-01-01T00:00:00Z", -1},
	} {
		s, err := record.ParseStatus(fmt.Appendf(nil, `{"state":"yanked","since":%q,"seq":%d}`, tt.since, tt.seq))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Since.Year() > 9000 || s.Seq < 0 || s.Seq+1 > 1<<31-1 {
			t.Errorf("%s: since %v, number %d", name, s.Since, s.Seq)
		}
		s.Since = s.Since.Add(time.Second)
		if _, err := json.Marshal(s); err != nil {
			t.Errorf("%s: a later one: %v", name, err)
		}
	}
}

// What names another as the one before it has come after it, whatever their clocks say.
func TestNewestFollows(t *testing.T) {
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	one := func(state record.State, year, seq int, own, before digest.Digest) record.Stated {
		return record.Stated{Status: record.Status{State: state, Since: at(year), Seq: seq, Previous: before}, Digest: own}
	}
	for name, tt := range map[string]struct {
		all  []record.Stated
		want digest.Digest
	}{
		"by time":                  {[]record.Stated{one(record.Yanked, 2025, 1, "a", ""), one(record.Active, 2026, 2, "b", "")}, "b"},
		"after one of the future":  {[]record.Stated{one(record.Yanked, 9000, 9, "a", ""), one(record.Active, 2026, 1, "b", "a")}, "b"},
		"two of the future":        {[]record.Stated{one(record.Yanked, 9000, 9, "a", ""), one(record.Yanked, 9000, 8, "c", ""), one(record.Active, 2026, 1, "b", "a")}, "c"},
		"what follows it is stale": {[]record.Stated{one(record.Yanked, 2027, 3, "c", "b"), one(record.Active, 2026, 2, "b", "a"), one(record.Yanked, 2028, 1, "a", "")}, "c"},
	} {
		if got, ok := record.Newest(tt.all); !ok || got.Digest != tt.want {
			t.Errorf("%s: %s, %v; want %s", name, got.Digest, ok, tt.want)
		}
	}
	if _, ok := record.Newest(nil); ok {
		t.Error("of none there is a newest")
	}
}
