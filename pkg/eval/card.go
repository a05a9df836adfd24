package eval

import (
	"github.com/modelreg/modelreg/pkg/card"
)

// score is the name of a metric that nobody names.
const score = "score"

// FromCard returns the results of a card, or of a file of evaluation results
// beside it, as far as they are numbers. Nobody has checked what a card claims.
func FromCard(claimed []card.Result) []Result {
	report := &Report{Results: []Result{}}
	for _, c := range claimed {
		report.claim(c)
	}
	return report.Results
}

// claim adds a result of a card, or why it is none.
func (r *Report) claim(c card.Result) {
	value, ok := c.Number()
	if !ok {
		r.skip("%s of %s: %q is no number", c.Metric.Type, c.Dataset.ID, clip(c.Value))
		return
	}
	res := Result{
		Task:    c.Task,
		Dataset: Dataset{ID: c.Dataset.ID, Config: c.Dataset.Config, Split: c.Dataset.Split, Revision: c.Dataset.Revision},
		Metric:  NewMetric(c.Metric.Type, value),
		Value:   value,
		Model:   c.Model,
		When:    when(c.Date),
		Source:  Source(c.Source),
		Notes:   c.Notes,
	}
	if c.Metric.Type == "" { // the benchmark says what is measured
		res.Task, res.Metric = c.Dataset.Task, Metric{Name: score}
	}
	r.add(res)
}

// add adds a result that can be stated.
func (r *Report) add(res Result) {
	if err := res.Check(); err != nil {
		r.skip("%s", err)
		return
	}
	if len(r.Results) == MaxResults {
		r.skip("more than %d results", MaxResults)
		return
	}
	r.Results = append(r.Results, res)
}
