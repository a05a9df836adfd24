package eval

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lmEval is a file of results of the Language Model Evaluation Harness. Names of
// metrics have been "acc" and "acc_stderr", and since version 0.4
// "acc,FILTER" and "acc_stderr,FILTER".
type lmEval struct {
	Results   map[string]map[string]jsontext.Value `json:"results"`
	Groups    map[string]map[string]jsontext.Value `json:"groups"`
	Versions  map[string]jsontext.Value            `json:"versions"`
	Configs   map[string]lmTask                    `json:"configs"`
	Shots     map[string]jsontext.Value            `json:"n-shot"`
	Samples   map[string]lmSamples                 `json:"n-samples"`
	Higher    map[string]map[string]*bool          `json:"higher_is_better"`
	Config    lmConfig                             `json:"config"`
	GitHash   jsontext.Value                       `json:"git_hash"`
	Date      jsontext.Value                       `json:"date"`
	Env       jsontext.Value                       `json:"pretty_env_info"`
	Version   jsontext.Value                       `json:"lm_eval_version"`
	ModelName jsontext.Value                       `json:"model_name"`
	Template  jsontext.Value                       `json:"chat_template_sha"`
}

type lmTask struct {
	Path       jsontext.Value `json:"dataset_path"`
	Name       jsontext.Value `json:"dataset_name"`
	Test       jsontext.Value `json:"test_split"`
	Validation jsontext.Value `json:"validation_split"`
	Training   jsontext.Value `json:"training_split"`
	Kwargs     jsontext.Value `json:"dataset_kwargs"`
	Shots      jsontext.Value `json:"num_fewshot"`
}

type lmSamples struct {
	Effective jsontext.Value `json:"effective"`
}

type lmConfig struct {
	Backend    jsontext.Value `json:"model"`
	ModelArgs  jsontext.Value `json:"model_args"`
	DType      jsontext.Value `json:"model_dtype"`
	ModelSHA   jsontext.Value `json:"model_sha"`
	Shots      jsontext.Value `json:"num_fewshot"`
	BatchSize  jsontext.Value `json:"batch_size"`
	Limit      jsontext.Value `json:"limit"`
	GenKwargs  jsontext.Value `json:"gen_kwargs"`
	RandomSeed jsontext.Value `json:"random_seed"`
	FewSeed    jsontext.Value `json:"fewshot_seed"`
}

func parseLMEval(raw []byte) (*Report, error) {
	var f lmEval
	if err := unmarshal(tolerant(raw), &f); err != nil {
		return nil, err
	}
	r := &Report{}
	common := f.common()
	for _, task := range slices.Sorted(maps.Keys(f.Results)) {
		f.task(r, common, task, f.Results[task])
	}
	for _, group := range slices.Sorted(maps.Keys(f.Groups)) {
		if _, there := f.Results[group]; !there {
			f.task(r, common, group, f.Groups[group])
		}
	}
	return r, nil
}

// common is what all results of a file share.
func (f *lmEval) common() Result {
	res := Result{
		Harness:  Harness{Name: "lm-evaluation-harness", Version: text(f.Version), Revision: text(f.GitHash), Args: f.Config.args()},
		Model:    modelName(cmp.Or(text(f.ModelName), f.Config.model())),
		Hardware: gpus(text(f.Env)),
	}
	if sha := text(f.Template); sha != "" {
		res.Harness.Args["chat_template_sha"] = sha
	}
	if at, ok := number(f.Date); ok && at > 0 && at < math.MaxUint32 {
		res.When = time.Unix(int64(at), 0).UTC().Format(time.RFC3339)
	}
	return res
}

// args are the settings that change what comes out. Those of the model may hold
// paths and credentials, and stay out.
func (c *lmConfig) args() map[string]string {
	args := map[string]string{}
	for name, raw := range map[string]jsontext.Value{
		"backend": c.Backend, "dtype": c.DType, "model_sha": c.ModelSHA, "batch_size": c.BatchSize, "limit": c.Limit,
		"gen_kwargs": c.GenKwargs, "random_seed": c.RandomSeed, "fewshot_seed": c.FewSeed,
	} {
		setting(args, name, raw)
	}
	return args
}

// setting keeps a setting of a harness, unless there is none or it is too long.
func setting(args map[string]string, name string, raw jsontext.Value) {
	if s := text(raw); s != "" && len(s) <= maxText {
		args[name] = s
	}
}

// shotsIn is how many examples stood in the prompt; nil where that is not said.
func shotsIn(raw jsontext.Value) *int {
	n, ok := count(raw)
	if !ok {
		return nil
	}
	return new(int(n))
}

// model is the name of the model in the arguments, as the harness finds it.
func (c *lmConfig) model() string {
	var named map[string]jsontext.Value
	if c.ModelArgs.Kind() == '{' && json.Unmarshal(c.ModelArgs, &named) == nil {
		return cmp.Or(text(named["peft"]), text(named["pretrained"]), text(named["model"]))
	}
	for _, key := range []string{"peft=", "pretrained=", "model="} {
		for arg := range strings.SplitSeq(text(c.ModelArgs), ",") {
			if name, ok := strings.CutPrefix(arg, key); ok {
				return name
			}
		}
	}
	return ""
}

// task adds the results of one task or group.
func (f *lmEval) task(r *Report, common Result, task string, values map[string]jsontext.Value) {
	common.Task, common.Dataset = task, f.dataset(task)
	common.Harness.TaskVersion = text(f.Versions[task])
	for _, raw := range []jsontext.Value{f.Shots[task], f.Configs[task].Shots, f.Config.Shots} {
		common.Shots = cmp.Or(common.Shots, shotsIn(raw))
	}
	common.N, _ = count(f.Samples[task].Effective)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, filter, _ := strings.Cut(key, ",")
		if strings.HasSuffix(name, "_stderr") || slices.Contains([]string{"alias", "name", "sample_len", "sample_count", "samples"}, key) {
			continue
		}
		value, ok := number(values[key])
		if !ok {
			r.skip("%s: %s is no number", clip(task), clip(key))
			continue
		}
		res := common
		res.Value, res.Metric = value, f.metric(task, name, value)
		if filter != "none" {
			res.Metric.Filter = filter
		}
		res.Stderr = stderr(values, name, filter)
		r.add(res)
	}
}

// stderr is the standard error beside a metric.
func stderr(values map[string]jsontext.Value, name, filter string) *float64 {
	key := name + "_stderr"
	if filter != "" {
		key += "," + filter
	}
	if se, ok := number(values[key]); ok && se >= 0 {
		return &se
	}
	return nil
}

// metric is what is known of a metric, and what the file says of it: the harness
// knows of each which values are better.
func (f *lmEval) metric(task, name string, value float64) Metric {
	m := NewMetric(name, value)
	switch higher, told := f.Higher[task][name]; {
	case told && higher == nil:
		m.Direction = Unknown
	case told && *higher:
		m.Direction = Higher
	case told:
		m.Direction = Lower
	}
	return m
}

func (f *lmEval) dataset(task string) Dataset {
	c, ok := f.Configs[task]
	if !ok || text(c.Path) == "" {
		return Dataset{ID: task}
	}
	d := Dataset{
		ID:     withoutDirectories(text(c.Path)),
		Config: text(c.Name),
		Split:  cmp.Or(text(c.Test), text(c.Validation), text(c.Training)),
	}
	var kwargs struct {
		Revision jsontext.Value `json:"revision"`
	}
	if c.Kwargs.Kind() == '{' && json.Unmarshal(c.Kwargs, &kwargs) == nil {
		d.Revision = text(kwargs.Revision)
	}
	return d
}

// gpus are the names of the graphics processors in what PyTorch says about a
// machine, with how many there are of each.
func gpus(env string) string {
	var names []string
	n := map[string]int{}
	for line := range strings.Lines(env) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "GPU models and configuration: ")
		index, name, ok := strings.Cut(strings.TrimPrefix(line, "GPU "), ": ")
		if _, err := strconv.ParseUint(index, 10, 16); !ok || err != nil || !strings.HasPrefix(line, "GPU ") {
			continue
		}
		if n[name]++; n[name] == 1 {
			names = append(names, name)
		}
	}
	const most = 8
	for i, name := range names {
		if n[name] > 1 {
			names[i] = strconv.Itoa(n[name]) + " × " + name
		}
	}
	return strings.Join(names[:min(most, len(names))], ", ")
}

// text is a string or the digits of a number; an object or a list as JSON, and
// nothing for null.
func text(raw jsontext.Value) string {
	switch raw.Kind() {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return ""
		}
		return s
	case 'n':
		return ""
	}
	return string(raw)
}

func number(raw jsontext.Value) (float64, bool) {
	if raw.Kind() != '0' {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil && finite(f)
}

// count is a whole number that is not negative.
func count(raw jsontext.Value) (int64, bool) {
	f, ok := number(raw)
	if !ok || f < 0 || f > 1<<53 || f != math.Trunc(f) {
		return 0, false
	}
	return int64(f), true
}
