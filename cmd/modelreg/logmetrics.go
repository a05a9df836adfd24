package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/modelreg/modelreg/pkg/hub"
)

// How many results are shown of a version.
const (
	entryMetrics   = 4
	onelineMetrics = 2
)

// headlines are the names of results, and how many versions of a history have one: what
// is shown first can be followed from version to version.
type headlines map[string]int

// headlinesOf counts the results of versions by their names, once for each.
func headlinesOf(entries []hub.HistoryEntry) headlines {
	h := make(headlines)
	for _, e := range entries {
		seen := make(map[string]bool)
		for _, ev := range e.Evaluations {
			if name := headlineName(ev); !seen[name] {
				seen[name] = true
				h[name]++
			}
		}
	}
	return h
}

// of are the first results of a version, at most so many lines, and how many more there
// are. What strangers wrote is not escaped.
func (h headlines) of(e hub.HistoryEntry, most int) []string {
	list := slices.Clone(e.Evaluations)
	slices.SortStableFunc(list, func(a, b hub.Evaluation) int {
		nameA, nameB := headlineName(a), headlineName(b)
		return cmp.Or(h[nameB]-h[nameA], cmp.Compare(nameA, nameB))
	})
	var out []string
	for i, ev := range list {
		if i == most {
			return append(out, fmt.Sprintf("%d more", len(list)-most))
		}
		out = append(out, fmt.Sprintf("%s %s (%s)", headlineName(ev), evalValue(ev.Result), evalClass(ev)))
	}
	return out
}

// headlineName is what was measured on what.
func headlineName(e hub.Evaluation) string {
	name := metricName(e.Result)
	if id := e.Dataset.ID; id != "" && id != e.Metric.Name {
		name += " " + id
	}
	return name
}
