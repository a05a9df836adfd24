package card_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

func TestChain(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 5, n, 0, 0, 0, 0, time.UTC) }
	a, b, c := card.Link{Digest: "a", Seq: 1}, card.Link{Digest: "b", Seq: 2, Prev: "a"}, card.Link{Digest: "c", Seq: 3, Prev: "b"}
	tests := map[string]struct {
		links    []card.Link
		attached int
		order    string
		problems []string
	}{
		"none":              {nil, 0, "", nil},
		"in order":          {[]card.Link{a, b, c}, 3, "cba", nil},
		"any order":         {[]card.Link{c, a, b}, 3, "cba", nil},
		"one removed":       {[]card.Link{a, c}, 2, "ca", []string{"a card revision was removed: b, number 2"}},
		"the first removed": {[]card.Link{b, c}, 2, "cb", []string{"a card revision was removed: a, number 1"}},
		"two first": {
			[]card.Link{{Digest: "y", Seq: 1, Created: day(2)}, {Digest: "z", Seq: 1, Created: day(1)}},
			2, "yz",
			[]string{"card revisions z and y were written at the same time: both have number 1"},
		},
		"same time": {
			[]card.Link{a, {Digest: "p", Seq: 2, Prev: "a", Created: day(1)}, {Digest: "q", Seq: 2, Prev: "a", Created: day(1)}},
			3, "qpa",
			[]string{"card revisions p and q were written at the same time: both have number 2"},
		},
		"no previous": {[]card.Link{a, {Digest: "x", Seq: 9}}, 2, "xa", []string{"card revision x has number 9 and does not say what it follows"}},
		"skips":       {[]card.Link{a, {Digest: "x", Seq: 9, Prev: "a"}}, 2, "xa", []string{"card revision x has number 9 and follows number 1"}},
		"a number that nobody counted to": {
			[]card.Link{{Digest: "x", Seq: card.MaxSeq}, a, b},
			3, "bax",
			[]string{"card revision x says that it has number 1000000, and nobody can have counted to that: it is passed over"},
		},
		"several, and one that follows one": {
			[]card.Link{{Digest: "x", Seq: card.MaxSeq}, {Digest: "y", Seq: 5000}, {Digest: "z", Seq: 1, Prev: "y"}},
			3, "zxy",
			[]string{"card revision x says that it has number 1000000, and nobody can have counted to that: it is passed over, as are 1 more such"},
		},
		"many that were not read": {[]card.Link{{Digest: "x", Seq: 5000, Prev: "w"}, {Digest: "w", Seq: 4999}}, 5000, "xw", []string{"card revision w has number 4999 and does not say what it follows"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			order, problems := card.Chain(tt.links, tt.attached)
			var got strings.Builder
			for _, l := range order {
				got.WriteString(l.Digest)
			}
			if got.String() != tt.order {
				t.Errorf("order %q, want %q", got.String(), tt.order)
			}
			if diff := cmp.Diff(tt.problems, problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}
