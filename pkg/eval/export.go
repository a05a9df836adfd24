package eval

import (
	"cmp"
	"fmt"

	"go.yaml.in/yaml/v4"
)

// The shape of model-index, as the card format has it.
type (
	indexModel struct {
		Name    string        `yaml:"name"`
		Results []indexResult `yaml:"results"`
	}
	indexResult struct {
		Task    indexTask     `yaml:"task"`
		Dataset indexDataset  `yaml:"dataset"`
		Metrics []indexMetric `yaml:"metrics"`
		Source  *indexSource  `yaml:"source,omitempty"`
	}
	indexTask struct {
		Type string `yaml:"type"`
		Name string `yaml:"name,omitempty"`
	}
	indexDataset struct {
		Type     string            `yaml:"type"`
		Name     string            `yaml:"name"`
		Config   string            `yaml:"config,omitempty"`
		Split    string            `yaml:"split,omitempty"`
		Revision string            `yaml:"revision,omitempty"`
		Args     map[string]string `yaml:"args,omitempty"`
	}
	indexMetric struct {
		Type  string         `yaml:"type"`
		Value float64        `yaml:"value"`
		Name  string         `yaml:"name,omitempty"`
		Args  map[string]any `yaml:"args,omitempty"`
	}
	indexSource struct {
		Name string `yaml:"name,omitempty"`
		URL  string `yaml:"url"`
	}
)

// ModelIndex writes results as the model-index of a card, a document of YAML with
// that one key. What a card has no place for stands in the arguments of a metric;
// who vouches for a result is lost, since a card is the word of whoever wrote it.
//
// Task is the type of the task of results that do not say theirs, as the card's
// pipeline_tag has it. A card must name one: empty is written as "other".
func ModelIndex(model, task string, results []Result) ([]byte, error) {
	m := indexModel{Name: model, Results: []indexResult{}}
	at := map[indexKey]int{}
	for _, r := range results {
		r.Task, r.Dataset.ID = cmp.Or(r.Task, task, "other"), cmp.Or(r.Dataset.ID, r.Task)
		key := indexKey{r.Task, r.Dataset, r.Source}
		i, ok := at[key]
		if !ok {
			i = len(m.Results)
			at[key] = i
			m.Results = append(m.Results, indexOf(r))
		}
		m.Results[i].Metrics = append(m.Results[i].Metrics, metricOf(r))
	}
	raw, err := yaml.Marshal(map[string][]indexModel{"model-index": {m}})
	if err != nil {
		return nil, fmt.Errorf("write model-index: %w", err)
	}
	return raw, nil
}

// indexKey is what results share that stand together.
type indexKey struct {
	task    string
	dataset Dataset
	source  Source
}

func indexOf(r Result) indexResult {
	res := indexResult{
		Task:    indexTask{Type: r.Task},
		Dataset: indexDataset{Type: r.Dataset.ID, Name: r.Dataset.ID, Config: r.Dataset.Config, Split: r.Dataset.Split, Revision: r.Dataset.Revision},
	}
	if r.Dataset.Digest != "" {
		res.Dataset.Args = map[string]string{"digest": r.Dataset.Digest}
	}
	if r.Source.URL != "" {
		res.Source = &indexSource{Name: r.Source.Name, URL: r.Source.URL}
	}
	return res
}

func metricOf(r Result) indexMetric {
	args := map[string]any{}
	add := func(name, value string) {
		if value != "" {
			args[name] = value
		}
	}
	add("filter", r.Metric.Filter)
	add("unit", string(r.Metric.Unit))
	add("harness", r.Harness.Name)
	add("harness_version", r.Harness.Version)
	add("task_version", r.Harness.TaskVersion)
	add("date", r.When)
	if r.Stderr != nil {
		args["stderr"] = *r.Stderr
	}
	if r.N > 0 {
		args["n"] = r.N
	}
	if r.Shots != nil {
		args["num_few_shot"] = *r.Shots
	}
	return indexMetric{Type: r.Metric.Name, Value: r.Value, Args: args}
}
