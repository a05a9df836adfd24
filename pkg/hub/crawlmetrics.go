package hub

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/index"
)

// indexedValue is the number that an index has for a result: of percentages
// hundredths, so that they compare with fractions.
func indexedValue(r eval.Result) float64 {
	if r.Metric.Unit == eval.Percent {
		return r.Value / 100
	}
	return r.Value
}

// A metricSource is where numbers are from that are believed alike.
type metricSource struct {
	class      Class
	repository string
}

func (a metricSource) compare(b metricSource) int {
	return cmp.Or(a.class.rank()-b.class.rank(), strings.Compare(a.repository, b.repository))
}

// recordMetrics are the numbers that a record has room for: first those of who is
// trusted, then by turns those of everybody else, so that nobody, be it the owner of
// the model, crowds out others by saying much. What one party says twice is taken once.
func recordMetrics(list []Evaluation) []index.Metric {
	by := map[metricSource][]index.Metric{}
	for _, e := range list {
		m := index.Metric{
			Name: e.Metric.Name, Dataset: e.Dataset.ID, Value: indexedValue(e.Result),
			Class: string(e.Class), Repository: e.Repository, Disputed: e.doubted(),
		}
		if e.Signer != nil {
			m.By = recordSigner(*e.Signer)
		}
		from := metricSource{e.Class, e.Repository}
		by[from] = append(by[from], m)
	}
	sources := slices.SortedFunc(maps.Keys(by), metricSource.compare)
	for _, from := range sources {
		slices.SortFunc(by[from], func(a, b index.Metric) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Dataset, b.Dataset), strings.Compare(a.By, b.By),
				cmp.Compare(a.Value, b.Value), strings.Compare(a.Class, b.Class))
		})
	}
	var out []index.Metric
	seen := map[index.Metric]bool{}
	take := func(m index.Metric) {
		same := m
		if same.By != "" {
			same.Repository = ""
		}
		if !seen[same] && len(out) < index.MaxList {
			seen[same] = true
			out = append(out, m)
		}
	}
	most := 0
	for _, from := range sources {
		if from.class != ClassTrusted {
			most = max(most, len(by[from]))
			continue
		}
		for _, m := range by[from] {
			take(m)
		}
	}
	for turn := range most {
		for _, from := range sources {
			if from.class != ClassTrusted && turn < len(by[from]) {
				take(by[from][turn])
			}
		}
	}
	return out
}
