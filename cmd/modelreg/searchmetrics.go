package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/index"
)

// maxAskedMetrics bounds the numbers that are shown of one find.
const maxAskedMetrics = 4

// askedMetrics are the numbers of a find that the query asks for, and whose word each
// is.
func askedMetrics(q index.Query, metrics []index.Metric) []string {
	var list []string
	for _, m := range metrics {
		if !asksForMetric(q, m) {
			continue
		}
		if len(list) == maxAskedMetrics {
			return append(list, "…")
		}
		name := m.Name
		if m.Dataset != "" && m.Dataset != m.Name {
			name += " " + m.Dataset
		}
		by := m.Class
		if m.By != "" {
			by += " " + m.By
		}
		if m.Repository != "" {
			by += " in " + m.Repository
		}
		if m.Disputed {
			by += ", disputed"
		}
		list = append(list, fmt.Sprintf("%s %.6g (%s)", name, m.Value, by))
	}
	return list
}

// asksForMetric tells whether a query names a metric, or what it was measured on.
func asksForMetric(q index.Query, m index.Metric) bool {
	return slices.ContainsFunc(q.Terms, func(t index.Term) bool {
		if t.Not || t.Key != "metric" && t.Key != "measured" || t.Key == "measured" && m.Class != "trusted" {
			return false
		}
		return slices.ContainsFunc(t.Values, func(v index.Value) bool {
			return v.Text == strings.ToLower(m.Name) || v.Text == strings.ToLower(m.Dataset)
		})
	})
}
