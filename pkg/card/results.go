package card

import (
	"errors"
	"fmt"
	"strconv"
)

// A Result is one measured number. It comes from the model-index of a card or
// from a file of evaluation results beside it, see [ParseResults].
type Result struct {
	Model   string // the name in the model-index; empty from files of results
	Task    string // type of the task, such as text-generation
	Dataset Dataset
	Metric  Metric

	// Value is the number as written. Where the card has something else than
	// a scalar it is that as JSON.
	Value string

	Date     string // as written
	Notes    string
	Source   Source
	Verified bool // what the card claims; nobody has checked it

	// VerifyToken is the proof that the source of the result gave with it.
	VerifyToken string
}

// Dataset tells what a [Result] was measured on.
type Dataset struct {
	ID       string // identifier on a hub: dataset.type, or dataset.id
	Name     string // for people; empty from files of results
	Task     string // dataset.task_id
	Config   string
	Split    string
	Revision string
}

// Metric tells what a [Result] measures. It is the zero value where the
// dataset's task says so, as in files of results.
type Metric struct {
	Type   string
	Name   string
	Config string
}

// Source tells where a [Result] was published.
type Source struct {
	Name string
	URL  string
	User string
}

// Number returns the value as a number, and whether it is one.
func (r Result) Number() (float64, bool) {
	f, err := strconv.ParseFloat(r.Value, 64)
	return f, err == nil
}

// ParseResults reads a file of evaluation results (.eval_results/*.yaml), a
// list of results in YAML. A result without dataset.id, dataset.task_id or
// value is an error that counts it from 1.
func ParseResults(src []byte) ([]Result, error) {
	v, err := decode(src)
	if err != nil {
		return nil, fmt.Errorf("parse results: %w", err)
	}
	if v.kind != sequenceKind {
		return nil, errors.New("parse results: not a list")
	}
	out := make([]Result, 0, min(len(v.items), maxValues))
	for i, item := range v.items {
		r := evalResult(item)
		if r.Dataset.ID == "" || r.Dataset.Task == "" || r.Value == "" {
			return nil, fmt.Errorf("parse results: result %d: needs dataset.id, dataset.task_id and value", i+1)
		}
		out = append(out, r)
	}
	return out, nil
}

func evalResult(v value) Result {
	d := v.get("dataset")
	return Result{
		Dataset:     Dataset{ID: d.get("id").string(), Task: d.get("task_id").string(), Revision: d.get("revision").string()},
		Value:       v.get("value").raw(),
		Date:        v.get("date").string(),
		Notes:       v.get("notes").string(),
		Source:      source(v.get("source")),
		VerifyToken: v.get("verifyToken").string(),
	}
}

// modelIndex flattens model-index: models have results, and results metrics.
func modelIndex(v value) []Result {
	var out []Result
	for _, model := range v.items {
		for _, r := range model.get("results").items {
			for _, m := range r.get("metrics").items {
				res := indexResult(r, m)
				res.Model = model.get("name").string()
				if res.Task == "" || res.Dataset.ID == "" || res.Dataset.Name == "" || res.Metric.Type == "" || res.Value == "" {
					continue
				}
				if len(out) == maxValues {
					return out
				}
				out = append(out, res)
			}
		}
	}
	return out
}

func indexResult(r, m value) Result {
	d := r.get("dataset")
	return Result{
		Task: r.get("task").get("type").string(),
		Dataset: Dataset{
			ID:       d.get("type").string(),
			Name:     d.get("name").string(),
			Config:   d.get("config").string(),
			Split:    d.get("split").string(),
			Revision: d.get("revision").string(),
		},
		Metric:      Metric{Type: m.get("type").string(), Name: m.get("name").string(), Config: m.get("config").string()},
		Value:       m.get("value").raw(),
		Source:      source(r.get("source")),
		Verified:    m.get("verified").text == "true",
		VerifyToken: m.get("verifyToken").string(),
	}
}

func source(v value) Source {
	return Source{Name: v.get("name").string(), URL: v.get("url").string(), User: v.get("user").string()}
}

// raw returns the text of a scalar and the JSON of anything else.
func (v value) raw() string {
	switch v.kind {
	case sequenceKind, mappingKind:
		return string(appendJSON(nil, v))
	case nullKind, textKind, numberKind, booleanKind:
	}
	return v.text
}
