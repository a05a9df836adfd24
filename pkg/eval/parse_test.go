package eval_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/eval"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, name string) *eval.Report {
	t.Helper()
	r, err := eval.Parse(read(t, name), "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pick(t *testing.T, r *eval.Report, task, metric, filter string) eval.Result {
	t.Helper()
	for _, res := range r.Results {
		if res.Task == task && res.Metric.Name == metric && res.Metric.Filter == filter {
			return res
		}
	}
	t.Fatalf("no %s of %s (%s) in %+v", metric, task, filter, r.Results)
	return eval.Result{}
}

func TestParseLMEval(t *testing.T) {
	r := parse(t, "lm-eval-0.4.json")
	if r.Format != eval.FormatLMEval {
		t.Errorf("format = %q", r.Format)
	}
	if got := len(r.Results); got != 9 {
		t.Errorf("%d results, want 9: 2 of arc, 2 of gsm8k, 3 of mmlu, 2 of wikitext", got)
	}
	want := eval.Result{
		Task: "gsm8k",
		Dataset: eval.Dataset{
			ID: "openai/gsm8k", Config: "main", Split: "test", Revision: "e53f048856ff4f594e959d75785d2c2d37b678ee",
		},
		Metric: eval.Metric{Name: "exact_match", Filter: "strict-match", Direction: eval.Higher, Unit: eval.Fraction},
		Value:  0.4177407126611069, Stderr: new(0.013584820638504821), N: 1319, Shots: new(5),
		Harness: eval.Harness{
			Name: "lm-evaluation-harness", Version: "0.4.9", Revision: "8bc4afff", TaskVersion: "3.0",
			Args: map[string]string{"backend": "hf", "dtype": "torch.bfloat16", "batch_size": "auto:4", "random_seed": "0", "fewshot_seed": "1234"},
		},
		Model: "support-1b", Hardware: "2 × NVIDIA H100 80GB HBM3", When: "2026-09-21T17:39:05Z",
	}
	if diff := cmp.Diff(want, pick(t, r, "gsm8k", "exact_match", "strict-match")); diff != "" {
		t.Errorf("gsm8k (-want +got):\n%s", diff)
	}
	group := pick(t, r, "mmlu", "accuracy", "")
	if group.Dataset.ID != "mmlu" || group.Value != 0.5958552912690499 || group.Shots != nil {
		t.Errorf("group = %+v", group)
	}
	perplexity := pick(t, r, "wikitext", "word_perplexity", "")
	if perplexity.Metric.Direction != eval.Lower || perplexity.Stderr != nil {
		t.Errorf("perplexity = %+v, want lower, and no standard error where the file has N/A", perplexity)
	}
	if perplexity.Dataset.ID != "wikitext_document_level" {
		t.Errorf("dataset %q: a path of the machine is not stated", perplexity.Dataset.ID)
	}
	if len(r.Skipped) != 2 {
		t.Errorf("skipped %q, want what is no number of the broken task", r.Skipped)
	}
	raw, err := r.Predicate()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"alice", "hf_secret", "/scratch"} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("the predicate tells %q", secret)
		}
	}
}

func TestParseLMEvalOld(t *testing.T) {
	r := parse(t, "lm-eval-0.3.json")
	want := []eval.Result{
		{
			Task: "lambada_openai", Dataset: eval.Dataset{ID: "lambada_openai"},
			Metric: eval.Metric{Name: "accuracy", Direction: eval.Higher, Unit: eval.Fraction},
			Value:  0.35396856200271687, Stderr: new(0.006662254900290991), Shots: new(0),
			Harness: eval.Harness{Name: "lm-evaluation-harness", TaskVersion: "0", Args: map[string]string{"backend": "hf-causal-experimental", "batch_size": "auto"}},
			Model:   "acme/support-560m",
		},
		{
			Task: "lambada_openai", Dataset: eval.Dataset{ID: "lambada_openai"},
			Metric: eval.Metric{Name: "perplexity", Direction: eval.Lower},
			Value:  28.67792043529687, Stderr: new(1.0838905590384336), Shots: new(0),
			Harness: eval.Harness{Name: "lm-evaluation-harness", TaskVersion: "0", Args: map[string]string{"backend": "hf-causal-experimental", "batch_size": "auto"}},
			Model:   "acme/support-560m",
		},
	}
	if diff := cmp.Diff(want, r.Results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseInspect(t *testing.T) {
	r := parse(t, "inspect.json") // as version 0.3.285 has written it, without most of its samples
	common := eval.Result{
		Task: "sums", Dataset: eval.Dataset{ID: "acme/sums"}, N: 10, Shots: new(3),
		Harness: eval.Harness{Name: "inspect", Version: "0.3.285", TaskVersion: "2", Args: map[string]string{"epochs": "2", "fewshot": "3", "temperature": "0.5"}},
		Model:   "mockllm/model", When: "2026-11-23T11:49:48Z",
	}
	includes, match := common, common
	includes.Metric = eval.Metric{Name: "accuracy", Filter: "includes", Direction: eval.Higher, Unit: eval.Fraction}
	includes.Value, includes.Stderr = 1, new(0.0)
	match.Metric = eval.Metric{Name: "accuracy", Filter: "match", Direction: eval.Higher, Unit: eval.Fraction}
	match.Value, match.Stderr = 0.7, new(0.15275252316519464)
	if diff := cmp.Diff([]eval.Result{match, includes}, r.Results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	archive := parse(t, "inspect.eval") // the same by another run, header.json and one sample of it
	if len(archive.Results) != 2 || archive.Results[0].Value != 0.7 || archive.Results[0].Harness.Version != "0.3.285" {
		t.Errorf("archive: %+v", archive.Results)
	}
	raw := []byte(`{"version":1,"status":"success","eval":{"task":"t","dataset":{"location":"/home/alice/secret/data.csv"},"model":"hf/acme/m"},
		"results":{"scorer":{"name":"match"},"metrics":{"accuracy":{"name":"accuracy","value":0.5},"bootstrap_std":{"name":"bootstrap_std","value":0.1}}}}`)
	old, err := eval.Parse(raw, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := old.Results[0]; got.Dataset.ID != "data.csv" || got.Model != "acme/m" || got.Value != 0.5 || len(old.Results) != 1 {
		t.Errorf("first version of the form: %+v", old.Results)
	}
}

func TestParseResults(t *testing.T) {
	r := parse(t, "eval-results.yaml")
	want := []eval.Result{
		{
			Task: "gsm8k", Dataset: eval.Dataset{ID: "openai/gsm8k", Revision: "e53f048856ff4f594e959d75785d2c2d37b678ee"},
			Metric: eval.Metric{Name: "score"}, Value: 41.77, When: "2026-09-21", Notes: "with tools",
			Source: eval.Source{Name: "acme leaderboard", URL: "https://huggingface.co/spaces/acme/leaderboard", User: "alice"},
		},
		{Task: "diamond", Dataset: eval.Dataset{ID: "Idavidrein/gpqa"}, Metric: eval.Metric{Name: "score"}, Value: 0.301},
	}
	if diff := cmp.Diff(want, r.Results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseCard(t *testing.T) {
	r := parse(t, "card.md")
	want := []eval.Result{
		{
			Task: "text-generation", Dataset: eval.Dataset{ID: "openai/gsm8k", Config: "main", Split: "test", Revision: "e53f0488"},
			Metric: eval.Metric{Name: "exact_match", Direction: eval.Higher, Unit: eval.Percent}, Value: 41.77, Model: "support-1b",
		},
		{
			Task: "automatic-speech-recognition", Dataset: eval.Dataset{ID: "common_voice", Config: "fr", Split: "test"},
			Metric: eval.Metric{Name: "wer", Direction: eval.Lower}, Value: 1.2, Model: "support-1b",
			Source: eval.Source{Name: "paper", URL: "https://example.com/paper"},
		},
	}
	if diff := cmp.Diff(want, r.Results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0], "20.0 ± 1.2") {
		t.Errorf("skipped = %q", r.Skipped)
	}
}

func TestParseRejects(t *testing.T) {
	tests := map[string]struct{ raw, want string }{
		"nothing":         {"", "not a form"},
		"text":            {"hello", "not a form"},
		"other JSON":      {`{"a":1}`, "not a form"},
		"not JSON":        {`{"results":`, "not a form"},
		"twice":           {`{"results":{},"results":{}}`, "not a form"},
		"no results":      {`{"results":{}}`, "no results"},
		"no number":       {`{"results":{"a":{"acc,none":"x"}}}`, "no results"},
		"results a list":  {`{"results":[]}`, "no results"},
		"archive":         {"PK\x03\x04", "zip"},
		"failed run":      {`{"eval":{"task":"t"},"status":"error","results":{"scores":[{"metrics":{"accuracy":{"value":1}}}]}}`, `status "error"`},
		"declared wrong":  {`{"eval":{"task":"t"},"status":"success","invalidated":true,"results":{"scores":[{"metrics":{"accuracy":{"value":1}}}]}}`, "invalid"},
		"card without":    {"---\nlicense: mit\n---\n", "no results"},
		"card broken":     {"---\na: [\n---\n", "malformed"},
		"no value":        {`{"results":[{"metric":{"name":"a"},"dataset":{"id":"d"},"stderr":-1,"value":1}]}`, "standard error"},
		"no metric":       {`{"results":[{"dataset":{"id":"d"},"value":1}]}`, "without a metric"},
		"no dataset":      {`{"results":[{"metric":{"name":"a"},"value":1}]}`, "neither"},
		"not a date":      {`{"results":[{"metric":{"name":"a"},"dataset":{"id":"d"},"value":1,"when":"yesterday"}]}`, "neither a date"},
		"result no list":  {"- {}\n", "needs dataset.id"},
		"lists of values": {`{"results":{"a":[]}}`, "malformed"},
		"value too large": {`{"results":[{"metric":{"name":"a"},"dataset":{"id":"d"},"value":1e400}]}`, "malformed"},
		"text too long":   {`{"results":[{"metric":{"name":"a"},"dataset":{"id":"` + strings.Repeat("d", 5000) + `"},"value":1}]}`, "a text of 5000 bytes"},
		"counts below 0":  {`{"results":[{"metric":{"name":"a"},"dataset":{"id":"d"},"value":1,"n":-1}]}`, "below zero"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := eval.Parse([]byte(tt.raw), "")
			if !errors.Is(err, eval.ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse error = %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestPredicate(t *testing.T) {
	r := parse(t, "lm-eval-0.4.json")
	r.Source = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	raw, err := r.Predicate()
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Predicate()
	if err != nil || string(again) != string(raw) {
		t.Errorf("another predicate of the same report: %v", err)
	}
	back, err := eval.ParsePredicate(raw)
	if err != nil {
		t.Fatal(err)
	}
	r.Skipped = nil
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	one, err := eval.ParsePredicate([]byte(`{"dataset": {"id": "mmlu"}, "metric": {"name": "accuracy"}, "value": 0.712, "source": {"name": "a board"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []eval.Result{{Dataset: eval.Dataset{ID: "mmlu"}, Metric: eval.Metric{Name: "accuracy"}, Value: 0.712, Source: eval.Source{Name: "a board"}}}
	if diff := cmp.Diff(want, one.Results); diff != "" {
		t.Errorf("one record (-want +got):\n%s", diff)
	}
	both := `{"dataset": {"id": "mmlu"}, "metric": {"name": "accuracy"}, "value": 0.9, "results": []}`
	if _, err := eval.ParsePredicate([]byte(both)); !errors.Is(err, eval.ErrMalformed) {
		t.Errorf("a record and a list in one: %v, want that it is refused", err)
	}
}

func TestNewMetric(t *testing.T) {
	tests := []struct {
		name  string
		value float64
		want  eval.Metric
	}{
		{"acc", 0.7, eval.Metric{Name: "accuracy", Direction: eval.Higher, Unit: eval.Fraction}},
		{"Accuracy", 71.2, eval.Metric{Name: "accuracy", Direction: eval.Higher, Unit: eval.Percent}},
		{"accuracy", 120, eval.Metric{Name: "accuracy", Direction: eval.Higher}},
		{"WER", 1.2, eval.Metric{Name: "wer", Direction: eval.Lower}},
		{"pass_at_10", 0.2, eval.Metric{Name: "pass@10", Direction: eval.Higher, Unit: eval.Fraction}},
		{"pass@0", 0.2, eval.Metric{Name: "pass@0"}},
		{"ROUGEL", 0.2, eval.Metric{Name: "rougeL", Direction: eval.Higher, Unit: eval.Fraction}},
		{"toxicity", 0.02, eval.Metric{Name: "toxicity", Direction: eval.Lower, Unit: eval.Fraction}},
		{"our_accuracy_v2", 0.7, eval.Metric{Name: "our_accuracy_v2"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, eval.NewMetric(tt.name, tt.value)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for _, name := range eval.Known() {
		if m := eval.NewMetric(name, -1); m.Name != name || m.Direction == eval.Unknown {
			t.Errorf("known metric %s is %+v", name, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"lm-eval-0.4.json", "lm-eval-0.3.json", "eval-results.yaml", "card.md", "inspect.json", "inspect.eval"} {
		f.Add(read(f, name))
	}
	f.Add([]byte(`{"results":[{"metric":{"name":"a"},"dataset":{"id":"d"},"value":1}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := eval.Parse(raw, "")
		if err != nil {
			if !errors.Is(err, eval.ErrMalformed) {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		p, err := r.Predicate()
		if err != nil {
			if !errors.Is(err, eval.ErrMalformed) {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		back, err := eval.ParsePredicate(p)
		if err != nil {
			t.Fatalf("what was stated is not read: %v", err)
		}
		if again, err := back.Predicate(); err != nil || string(again) != string(p) {
			t.Fatalf("stated again it is another: %v\n%s\n%s", err, p, again)
		}
	})
}
