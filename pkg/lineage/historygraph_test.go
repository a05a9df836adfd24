package lineage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/lineage"
)

// commits reads a history: in each line a version, and then its parents.
func commits(lines ...string) []lineage.Commit {
	var list []lineage.Commit
	for _, l := range lines {
		words := strings.Fields(l)
		c := lineage.Commit{Digest: named(words[0]), Message: words[0]}
		for _, p := range words[1:] {
			c.Parents = append(c.Parents, named(p))
		}
		list = append(list, c)
	}
	return list
}

func named(name string) digest.Digest { return digest.FromString(name) }

func draw(list []lineage.Commit) string {
	var g lineage.Graph
	var b strings.Builder
	line := func(s string) { b.WriteString(strings.TrimRight(s, " ") + "\n") }
	for _, c := range list {
		d := g.Add(c)
		line(d.Line + c.Message)
		for _, l := range d.Below {
			line(l)
		}
	}
	return b.String()
}

func TestGraph(t *testing.T) {
	tests := map[string]struct {
		history []lineage.Commit
		want    string
	}{
		"a line": {commits("c b", "b a", "a"), `
* c
* b
* a
`},
		"a merge": {commits("m a b", "b r", "a r", "r"), `
*   m
|\
| * b
* | a
|/
* r
`},
		"two tips": {commits("b r", "a r", "r"), `
* b
| * a
|/
* r
`},
		"two roots": {commits("b", "a"), `
* b
* a
`},
		"a root beside a line": {commits("m a b", "b", "a"), `
*   m
|\
| * b
* a
`},
		"a merge left of a line": {commits("x r", "m a b", "b r", "a r", "r"), `
* x
| *   m
| |\
| | * b
| |/
|/|
| * a
|/
* r
`},
		"a merge with a line on its right": {commits("t m x", "m a b", "b r", "a r", "x r", "r"), `
*   t
|\
* |   m
|\ \
| * | b
* | | a
|/ /
| * x
|/
* r
`},
		"a criss-cross": {commits("m a b", "n a b", "b r", "a r", "r"), `
*   m
|\
| | *   n
| | |\
| |/ /
|/|/
| * b
* | a
|/
* r
`},
		"three parents": {commits("m a b c", "c r", "b r", "a r", "r"), `
*-.   m
|\ \
| | * c
| * | b
| |/
* | a
|/
* r
`},
		"a parent that is a neighbour": {commits("y x m", "x m", "m r", "r"), `
*   y
|\
* | x
|/
* m
* r
`},
		"nobody is lost": {commits("a gone", "b"), `
* a
| * b
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), draw(tt.history)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
