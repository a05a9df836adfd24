package card_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

const modelIndex = `---
model-index:
- name: tiny
  results:
  - task:
      type: text-generation
      name: Text generation
    dataset:
      type: acme/bench
      name: Bench
      config: en
      split: test
      revision: 5503434ddd753f426f4b38109466949a1217c2bb
    metrics:
    - type: accuracy
      value: 0.90
      name: Accuracy
      verified: true
      verifyToken: t
    - type: confusion
      value: [[1, 2], [3, 4]]
    - type: lacks a value
    source:
      name: Board
      url: https://example.org/board
  - task: {type: lacks a data set}
    metrics: [{type: f1, value: 1}]
  - not a result
- name: other
  results:
  - task: {type: fill-mask}
    dataset: {type: d, name: D}
    metrics: [{type: f1, value: 12, config: macro}]
---
`

func TestModelIndex(t *testing.T) {
	c := parse(t, modelIndex)
	bench := card.Dataset{
		ID: "acme/bench", Name: "Bench", Config: "en", Split: "test",
		Revision: "5503434ddd753f426f4b38109466949a1217c2bb",
	}
	board := card.Source{Name: "Board", URL: "https://example.org/board"}
	want := []card.Result{
		{
			Model: "tiny", Task: "text-generation", Dataset: bench, Metric: card.Metric{Type: "accuracy", Name: "Accuracy"},
			Value: "0.90", Source: board, Verified: true, VerifyToken: "t",
		},
		{
			Model: "tiny", Task: "text-generation", Dataset: bench, Metric: card.Metric{Type: "confusion"},
			Value: "[[1,2],[3,4]]", Source: board,
		},
		{
			Model: "other", Task: "fill-mask", Dataset: card.Dataset{ID: "d", Name: "D"},
			Metric: card.Metric{Type: "f1", Config: "macro"}, Value: "12",
		},
	}
	if diff := cmp.Diff(want, c.Meta.Results); diff != "" {
		t.Errorf("Results (-want +got):\n%s", diff)
	}
	if got, ok := c.Meta.Results[0].Number(); !ok || got != 0.9 {
		t.Errorf("Number = %v, %v, want 0.9, true", got, ok)
	}
	if _, ok := c.Meta.Results[1].Number(); ok {
		t.Error("a matrix is a number")
	}
}

func TestParseResults(t *testing.T) {
	got, err := card.ParseResults([]byte(`
- dataset:
    id: acme/bench
    task_id: gpqa_diamond
    revision: 5503434ddd753f426f4b38109466949a1217c2bb
  value: 20.90
  date: 2025-01-15
  source: {url: "https://example.org", name: Logs, user: alice}
  notes: "no tools"
  verifyToken: t
- dataset: {id: d, task_id: default}
  value: 1
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []card.Result{
		{
			Dataset: card.Dataset{ID: "acme/bench", Task: "gpqa_diamond", Revision: "5503434ddd753f426f4b38109466949a1217c2bb"},
			Value:   "20.90", Date: "2025-01-15", Notes: "no tools",
			Source:      card.Source{Name: "Logs", URL: "https://example.org", User: "alice"},
			VerifyToken: "t",
		},
		{Dataset: card.Dataset{ID: "d", Task: "default"}, Value: "1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseResults (-want +got):\n%s", diff)
	}
}

func TestParseResultsRejects(t *testing.T) {
	tests := map[string]struct{ yaml, want string }{
		"not a list": {"dataset: x\n", "parse results: not a list"},
		"empty":      {"", "parse results: not a list"},
		"no value":   {"- {dataset: {id: d, task_id: t}, value: 1}\n- {dataset: {id: d, task_id: t}}\n", "parse results: result 2: needs dataset.id, dataset.task_id and value"},
		"no task":    {"- {dataset: {id: d}, value: 1}\n", "parse results: result 1: needs dataset.id, dataset.task_id and value"},
		"twice":      {"- {value: 1, value: 2}\n", `parse results: line 1: key "value" is there twice`},
		"bomb":       {string("- &a [x,x]\n- [" + aliases(200) + "]\n"), "parse results: too many aliases"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := card.ParseResults([]byte(tt.yaml))
			if err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

func aliases(n int) string {
	var s strings.Builder
	for range n {
		s.WriteString("*a, ")
	}
	return s.String()
}
