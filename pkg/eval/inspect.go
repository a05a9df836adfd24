package eval

import (
	"archive/zip"
	"bytes"
	"cmp"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

// inspectLog is a log of Inspect, as far as it is about results. The samples,
// which are most of it, are passed over.
type inspectLog struct {
	Status  string         `json:"status"`
	Eval    inspectEval    `json:"eval"`
	Results inspectResults `json:"results"`
	Stats   struct {
		Completed string `json:"completed_at"`
	} `json:"stats"`
	Plan struct {
		Config map[string]jsontext.Value `json:"config"`
	} `json:"plan"`
	Invalidated bool `json:"invalidated"`
}

type inspectEval struct {
	Created     string                    `json:"created"`
	Task        string                    `json:"task"`
	TaskVersion jsontext.Value            `json:"task_version"`
	TaskArgs    map[string]jsontext.Value `json:"task_args"`
	Dataset     struct {
		Name     string `json:"name"`
		Location string `json:"location"`
	} `json:"dataset"`
	Model    string                    `json:"model"`
	Config   map[string]jsontext.Value `json:"config"`
	Packages map[string]string         `json:"packages"`
	Revision struct {
		Commit string `json:"commit"`
	} `json:"revision"`
}

type inspectResults struct {
	Completed int64          `json:"completed_samples"`
	Scores    []inspectScore `json:"scores"`

	// The first version of the form had one score.
	Scorer  jsontext.Value           `json:"scorer"`
	Metrics map[string]inspectMetric `json:"metrics"`
}

type inspectScore struct {
	Name    string                   `json:"name"`
	Reducer string                   `json:"reducer"`
	Scored  *int64                   `json:"scored_samples"`
	Metrics map[string]inspectMetric `json:"metrics"`
}

type inspectMetric struct {
	Name  string         `json:"name"`
	Value jsontext.Value `json:"value"`
}

func parseInspect(raw []byte) (*Report, error) {
	raw, err := inspectHeader(raw)
	if err != nil {
		return nil, err
	}
	var f inspectLog
	if err := unmarshal(tolerant(raw), &f); err != nil {
		return nil, err
	}
	if f.Status != "success" {
		return nil, malformed("a log of a run with the status %q: only one that succeeded has results", clip(f.Status))
	}
	if f.Invalidated {
		return nil, malformed("a log of a run that was declared invalid")
	}
	r := &Report{}
	common := f.common()
	scores := f.Results.Scores
	if len(scores) == 0 && len(f.Results.Metrics) > 0 {
		scores = []inspectScore{{Metrics: f.Results.Metrics}}
	}
	for _, s := range scores {
		s.add(r, common)
	}
	return r, nil
}

const (
	maxHeader = 32 << 20 // bytes of the header in an archive
	zipZstd   = 93       // the compression method of newer archives
)

// inspectHeader returns the JSON of a log: of an archive (.eval) the one file that
// holds the log without its samples.
func inspectHeader(raw []byte) ([]byte, error) {
	if !bytes.HasPrefix(raw, []byte("PK")) {
		return raw, nil
	}
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, malformed("%v", err)
	}
	z.RegisterDecompressor(zipZstd, zstd.ZipDecompressor(zstd.WithDecoderMaxMemory(maxHeader), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1)))
	for _, f := range z.File {
		if f.Name != "header.json" {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return nil, malformed("header.json: %v", err)
		}
		defer in.Close()
		header, err := io.ReadAll(io.LimitReader(in, maxHeader+1))
		if err != nil {
			return nil, malformed("header.json: %v", err)
		}
		if len(header) > maxHeader {
			return nil, malformed("header.json of more than %d bytes", maxHeader)
		}
		return header, nil
	}
	return nil, malformed("an archive without header.json: only a log of a run that ended has one")
}

// common is what all results of a log share.
func (f *inspectLog) common() Result {
	res := Result{
		Task:    f.Eval.Task,
		Dataset: Dataset{ID: f.Eval.dataset(), Split: text(f.Eval.TaskArgs["split"])},
		N:       max(f.Results.Completed, 0),
		Harness: Harness{
			Name: "inspect", Version: f.Eval.Packages["inspect_ai"], Revision: f.Eval.Revision.Commit,
			TaskVersion: text(f.Eval.TaskVersion), Args: map[string]string{},
		},
		Model: inspectModel(f.Eval.Model),
		When:  cmp.Or(when(f.Stats.Completed), when(f.Eval.Created)),
	}
	args := res.Harness.Args
	for _, from := range []map[string]jsontext.Value{f.Eval.TaskArgs, f.Plan.Config, f.Eval.Config} {
		for _, name := range []string{"limit", "epochs", "epochs_reducer", "message_limit", "token_limit", "time_limit", "temperature", "top_p", "max_tokens", "seed", "cot", "fewshot"} {
			setting(args, name, from[name])
		}
	}
	res.Shots = shotsIn(f.Eval.TaskArgs["fewshot"])
	return res
}

// dataset names the dataset: by its place on a hub if it has one there, and never
// by a path of the machine.
func (e *inspectEval) dataset() string {
	if strings.Count(e.Dataset.Location, "/") == 1 && withoutDirectories(e.Dataset.Location) == e.Dataset.Location {
		return e.Dataset.Location
	}
	return withoutDirectories(cmp.Or(e.Dataset.Name, e.Dataset.Location, e.Task))
}

// inspectModel is the model without who serves it: "hf/org/model" and
// "vllm/org/model" are the same model.
func inspectModel(s string) string {
	if provider, name, ok := strings.Cut(s, "/"); ok && slices.Contains([]string{"hf", "vllm", "ollama", "llama-cpp-python", "sglang", "transformer_lens"}, provider) {
		return modelName(name)
	}
	return modelName(s)
}

// add adds the metrics of a score. The standard error is a metric of its own,
// beside the one that it is of.
func (s inspectScore) add(r *Report, common Result) {
	if s.Scored != nil {
		common.N = max(*s.Scored, 0)
	}
	common.Metric.Filter = s.Name
	if s.Reducer != "" && s.Reducer != "mean" {
		common.Metric.Filter += "/" + s.Reducer
	}
	for _, key := range slices.Sorted(maps.Keys(s.Metrics)) {
		m := s.Metrics[key]
		name := cmp.Or(m.Name, key)
		if isStderr(key) || isStderr(name) || spread(name) {
			continue
		}
		value, ok := number(m.Value)
		if !ok {
			r.skip("%s: %s is no number", clip(common.Task), clip(name))
			continue
		}
		res := common
		filter := common.Metric.Filter
		res.Value, res.Metric = value, NewMetric(inspectName(name), value)
		res.Metric.Filter = filter
		if se, ok := s.stderrOf(name); ok {
			res.Stderr = &se
		}
		r.add(res)
	}
}

// inspectName is the name of a metric without the package that it is from.
func inspectName(name string) string {
	if at := strings.LastIndexByte(name, '/'); at >= 0 {
		return name[at+1:]
	}
	return name
}

func isStderr(name string) bool {
	name = inspectName(name)
	return name == "stderr" || name == "bootstrap_stderr" || strings.HasSuffix(name, "_stderr")
}

// spread tells metrics that say how values lie around another metric.
func spread(name string) bool {
	return slices.Contains([]string{"std", "var", "bootstrap_std"}, inspectName(name))
}

// stderrOf is the standard error of a metric, if there is no doubt which it is
// of: Inspect's "stderr" is that of the mean, which accuracy and mean are.
func (s inspectScore) stderrOf(name string) (float64, bool) {
	if base := inspectName(name); base != "accuracy" && base != "mean" {
		return 0, false
	}
	for _, key := range []string{"stderr", "bootstrap_stderr", "inspect_ai/stderr"} {
		if se, ok := number(s.Metrics[key].Value); ok && se >= 0 {
			return se, true
		}
	}
	return 0, false
}
