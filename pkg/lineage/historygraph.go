package lineage

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Graph draws a history with characters, as git log --graph does: a column for
// each line of development. The zero value is ready; commits are given to it in
// the order of [Sort].
type Graph struct {
	lanes []digest.Digest // the version that each column leads to
}

// A Drawing is a version in a graph.
type Drawing struct {
	// Line is what stands before the version's first line.
	Line string

	// Below are the lines that lead from it to the next version. Text that
	// belongs to the version may stand behind them.
	Below []string

	// Rest is what stands before further lines of text.
	Rest string
}

// Add draws the next version. All lines of a drawing are equally wide.
func (g *Graph) Add(c Commit) Drawing {
	at := slices.Index(g.lanes, c.Digest)
	if at < 0 {
		at = len(g.lanes)
		g.lanes = append(g.lanes, c.Digest)
	}
	before := len(g.lanes)
	d := Drawing{Line: g.commitLine(at, len(c.Parents))}
	if n := len(c.Parents); n > 1 {
		d.Below = append(d.Below, mergeLine(before, at, n))
	}
	g.lanes = slices.Replace(g.lanes, at, at+1, c.Parents...)
	wide := max(before, len(g.lanes))
	end := -1
	if len(c.Parents) == 0 {
		end = at
	}
	d.Below = append(d.Below, g.collapse(end)...)
	d.Rest = strings.Repeat("| ", len(g.lanes))
	pad(&d, 2*wide)
	return d
}

// commitLine is a star in the version's column, and what is to be said of more
// than two parents.
func (g *Graph) commitLine(at, parents int) string {
	line := strings.Repeat("| ", at) + "* "
	if parents > 2 {
		line = line[:len(line)-1] + strings.Repeat("-", 2*parents-5) + ". "
	}
	return line + strings.Repeat("| ", len(g.lanes)-at-1)
}

// mergeLine branches off the further parents, and moves what stands right of
// them.
func mergeLine(lanes, at, parents int) string {
	return strings.Repeat("| ", at) + "|" + strings.Repeat(`\ `, parents-1) + strings.Repeat(`\ `, lanes-at-1)
}

// A lane is a column on its way.
type lane struct{ at, to int }

// collapse joins columns that lead to the same version, and closes up to the
// one at end, if that is not negative, which has ended. Every line moves the
// columns that are not in their places by one.
func (g *Graph) collapse(end int) []string {
	var joined []digest.Digest
	var lanes []lane
	for i, d := range g.lanes {
		to := slices.Index(joined, d)
		if to < 0 {
			to = len(joined)
			joined = append(joined, d)
		}
		if end >= 0 && i >= end {
			i++
		}
		lanes = append(lanes, lane{i, to})
	}
	g.lanes = joined
	var lines []string
	for slices.ContainsFunc(lanes, func(l lane) bool { return l.at != l.to }) {
		lines = append(lines, moveLanes(lanes))
	}
	return lines
}

// moveLanes draws one line, in which lanes come closer to their places.
func moveLanes(lanes []lane) string {
	var row []byte
	for i := range lanes {
		l := &lanes[i]
		at, c := 2*l.at, byte('|')
		if l.at != l.to {
			at, c = at-1, '/'
			l.at--
		}
		for len(row) <= at {
			row = append(row, ' ')
		}
		row[at] = c
	}
	return string(row)
}

// pad makes the lines of a drawing equally wide.
func pad(d *Drawing, wide int) {
	for _, l := range append(slices.Clone(d.Below), d.Line, d.Rest) {
		wide = max(wide, len(l))
	}
	fill := func(s string) string { return s + strings.Repeat(" ", wide-len(s)) }
	d.Line, d.Rest = fill(d.Line), fill(d.Rest)
	for i := range d.Below {
		d.Below[i] = fill(d.Below[i])
	}
}
