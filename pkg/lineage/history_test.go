package lineage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/lineage"
)

// A versions is a registry with these versions. Each may be read once.
type versions struct {
	list []lineage.Commit
	fail digest.Digest

	mu   sync.Mutex
	read map[digest.Digest]int
}

func (v *versions) get(_ context.Context, d digest.Digest) (lineage.Commit, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.read == nil {
		v.read = make(map[digest.Digest]int)
	}
	v.read[d]++
	if d == v.fail {
		return lineage.Commit{}, errors.New("broken")
	}
	for _, c := range v.list {
		if c.Digest == d {
			return c, nil
		}
	}
	return lineage.Commit{}, fmt.Errorf("no such version: %w", errdef.ErrNotFound)
}

func names(list []lineage.Commit) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Message)
	}
	return strings.Join(out, " ")
}

func TestWalk(t *testing.T) {
	forked := commits("r", "a r", "b r", "m a b", "t m")
	tests := map[string]struct {
		history []lineage.Commit
		from    []string
		opts    lineage.WalkOptions
		want    string
		gaps    int
		more    bool
	}{
		"a line":           {history: commits("a", "b a", "c b"), from: []string{"c"}, want: "c b a"},
		"a merge":          {history: forked, from: []string{"t"}, want: "t m b a r"},
		"the first parent": {history: forked, from: []string{"t"}, opts: lineage.WalkOptions{FirstParent: true}, want: "t m a r"},
		"two tips":         {history: forked, from: []string{"a", "b"}, want: "a b r"},
		"a tip twice":      {history: forked, from: []string{"a", "a"}, want: "a r"},
		"a limit":          {history: forked, from: []string{"t"}, opts: lineage.WalkOptions{Limit: 2}, want: "t m", more: true},
		"all of a limit":   {history: forked, from: []string{"t"}, opts: lineage.WalkOptions{Limit: 5}, want: "t m b a r"},
		"a gap":            {history: commits("b a", "c b"), from: []string{"c"}, want: "c b", gaps: 1},
		"a cycle":          {history: commits("a c", "b a", "c b"), from: []string{"c"}, want: "c b a"},
		"its own parent":   {history: commits("a a"), from: []string{"a"}, want: "a"},
		"nothing":          {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := &versions{list: tt.history}
			var from []digest.Digest
			for _, n := range tt.from {
				from = append(from, named(n))
			}
			got, err := lineage.Walk(t.Context(), from, v.get, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if names(got.Commits) != tt.want || len(got.Gaps) != tt.gaps || got.More != tt.more {
				t.Errorf("got %q, %d gaps, more = %v; want %q, %d, %v", names(got.Commits), len(got.Gaps), got.More, tt.want, tt.gaps, tt.more)
			}
			for d, n := range v.read {
				if n != 1 {
					t.Errorf("version %s was read %d times", d, n)
				}
			}
		})
	}
}

func TestWalkFails(t *testing.T) {
	v := &versions{list: commits("a", "b a"), fail: named("a")}
	if _, err := lineage.Walk(t.Context(), []digest.Digest{named("b")}, v.get, lineage.WalkOptions{}); err == nil || errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("a version that cannot be read: %v", err)
	}
	if _, err := lineage.Walk(t.Context(), []digest.Digest{named("x")}, v.get, lineage.WalkOptions{}); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("a start that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lineage.Walk(ctx, []digest.Digest{named("b")}, (&versions{list: v.list}).get, lineage.WalkOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSort(t *testing.T) {
	dated := func(list []lineage.Commit, days ...int) []lineage.Commit {
		for i, day := range days {
			if day > 0 {
				list[i].Created = time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
			}
		}
		return list
	}
	tests := map[string]struct {
		history []lineage.Commit
		want    string
	}{
		"dates decide":                       {dated(commits("t a2 b2", "a2 a1", "b2 b1", "a1", "b1"), 9, 8, 7, 3, 5), "t a2 b2 b1 a1"},
		"without, lines stay together":       {commits("t a2 b2", "a2 a1", "b2 b1", "a1", "b1"), "t b2 b1 a2 a1"},
		"ancestry comes before dates":        {dated(commits("b a", "a"), 1, 5), "b a"},
		"no parent looks newer than a child": {dated(commits("b a", "a", "c"), 1, 9, 5), "c b a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := names(lineage.Sort(tt.history)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
