package eval

import (
	"maps"
	"slices"
)

// Known lists the names of the metrics whose direction is known, sorted.
func Known() []string { return slices.Sorted(maps.Keys(metrics())) }
