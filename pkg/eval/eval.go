// Package eval holds measurements of models in one shape: what was measured
// ([Metric]), on what ([Dataset]), with what ([Harness]), and what came out
// ([Result]).
//
// [Parse] reads the files that people have: the model-index of a card, files of
// .eval_results, the results of the Language Model Evaluation Harness, and
// logs of Inspect. [Compare] joins the results of two
// models and says which differences mean something. A [Report] is what one run
// has measured; as JSON it is the predicate of an in-toto statement of type
// [PredicateType], with which anybody can vouch for a result and anybody else
// can check who did.
//
// Nothing is guessed. A metric that is not known has no direction, so that no
// difference of it is better or worse; a number whose unit is not sure has none;
// a standard error that is not there makes no difference significant.
//
// Everything that is read comes from strangers. Sizes, counts and the length of
// texts are bounded by the constants of this package, documents in which a name
// comes twice are refused, and texts may hold any character: whoever shows them
// escapes them. Package eval opens no file, has no clock and no state; its
// functions may be called from several goroutines.
package eval

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// PredicateType is the type of in-toto statements whose predicate is a [Report].
const PredicateType = "https://modelreg.dev/eval/v1"

// Bounds of what is read.
const (
	// MaxBytes is the size of the largest file of results, in bytes. Logs that
	// hold every sample are large.
	MaxBytes = 256 << 20

	// MaxPredicateBytes is the size of the largest predicate, in bytes.
	MaxPredicateBytes = 4 << 20

	// MaxResults is how many results one run may have.
	MaxResults = 10_000

	maxText = 4 << 10 // bytes of one text
	maxArgs = 100     // arguments of a harness
)

// ErrMalformed is wrapped by errors about a file or a predicate that cannot be
// read as what it is taken for, or is larger than this package reads.
var ErrMalformed = errors.New("malformed evaluation results")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// A Report is what one run of a harness, or one file, has measured of one model.
type Report struct {
	// Format is what it was read from: one of the Format constants, or empty
	// for results that somebody typed.
	Format Format `json:"format,omitempty"`

	// Source is the digest of the file that it was read from.
	Source string `json:"source,omitempty"`

	Results []Result `json:"results"`

	// Skipped tells what a file holds that is no result, such as a metric
	// without a number. It is no part of the predicate.
	Skipped []string `json:"-"`
}

// A Result is one measured number.
type Result struct {
	// Task is what the harness calls what was to be done, such as "gsm8k";
	// of a card the kind of task, such as "text-generation".
	Task    string  `json:"task,omitempty"`
	Dataset Dataset `json:"dataset"`
	Metric  Metric  `json:"metric"`
	Value   float64 `json:"value"`

	// Stderr is the standard error of Value; nil if it is not known.
	Stderr *float64 `json:"stderr,omitzero"`

	// N is on how many samples it was measured; 0 if it is not known.
	N int64 `json:"n,omitzero"`

	// Shots is how many examples stood in the prompt; nil if it is not known.
	Shots *int `json:"shots,omitzero"`

	Harness Harness `json:"harness,omitzero"`

	// Model is what the harness calls the model. It may be the name of another
	// one: only the statement's subject says which version was measured.
	Model string `json:"model,omitempty"`

	// Hardware is what it ran on, in words.
	Hardware string `json:"hardware,omitempty"`

	// When it was measured: a time as in RFC 3339, or a date.
	When string `json:"when,omitempty"`

	// Traces is where the answers of the model are, a URL or a digest.
	Traces string `json:"traces,omitempty"`

	Source Source `json:"source,omitzero"`
	Notes  string `json:"notes,omitempty"`
}

// Dataset tells what a [Result] was measured on.
type Dataset struct {
	ID string `json:"id,omitempty"` // on a hub, or the harness's name for it

	// Revision and Digest tell which state of it; each may be empty.
	Revision string `json:"revision,omitempty"`
	Digest   string `json:"digest,omitempty"`

	Config string `json:"config,omitempty"`
	Split  string `json:"split,omitempty"`
}

// State is the digest of a dataset, or else its revision.
func (d Dataset) State() string {
	if d.Digest != "" {
		return d.Digest
	}
	return d.Revision
}

// Metric tells what a [Result] measures.
type Metric struct {
	// Name is one of [Known] where it is known, otherwise as written.
	Name string `json:"name"`

	// Filter is how answers were taken from what the model wrote, where a
	// harness has several ways, such as "strict-match".
	Filter string `json:"filter,omitempty"`

	Direction Direction `json:"direction,omitempty"`
	Unit      Unit      `json:"unit,omitempty"`
}

// Harness tells what measured.
type Harness struct {
	Name     string `json:"name,omitempty"`
	Version  string `json:"version,omitempty"`
	Revision string `json:"revision,omitempty"` // commit of its source

	// TaskVersion is the version of the task's definition.
	TaskVersion string `json:"taskVersion,omitempty"`

	// Args are settings that change what comes out.
	Args map[string]string `json:"args,omitempty"`
}

// Source tells where a [Result] was published.
type Source struct {
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
	User string `json:"user,omitempty"`
}

// Check tells why a result cannot be stated: it has no metric or no number, or a
// text is too long.
func (r *Result) Check() error {
	if r.Metric.Name == "" {
		return malformed("a result without a metric")
	}
	if r.Task == "" && r.Dataset.ID == "" {
		return malformed("%s: neither a task nor a dataset", r.Metric.Name)
	}
	if !finite(r.Value) || r.Stderr != nil && (!finite(*r.Stderr) || *r.Stderr < 0) {
		return malformed("%s: its value or standard error is no number", r.Metric.Name)
	}
	if r.N < 0 || r.Shots != nil && *r.Shots < 0 {
		return malformed("%s: a count below zero", r.Metric.Name)
	}
	if len(r.Harness.Args) > maxArgs {
		return malformed("%s: %d arguments of a harness, more than %d", r.Metric.Name, len(r.Harness.Args), maxArgs)
	}
	if r.When != "" && when(r.When) == "" {
		return malformed("%s: %q is neither a date nor a time", r.Metric.Name, clip(r.When))
	}
	for _, s := range r.texts() {
		if len(s) > maxText || !utf8.ValidString(s) {
			return malformed("%s: a text of %d bytes, more than %d, or not UTF-8", clip(r.Metric.Name), len(s), maxText)
		}
	}
	return nil
}

func (r *Result) texts() []string {
	list := []string{
		r.Task, r.Dataset.ID, r.Dataset.Revision, r.Dataset.Digest, r.Dataset.Config, r.Dataset.Split,
		r.Metric.Name, r.Metric.Filter, string(r.Metric.Direction), string(r.Metric.Unit),
		r.Harness.Name, r.Harness.Version, r.Harness.Revision, r.Harness.TaskVersion,
		r.Model, r.Hardware, r.When, r.Traces, r.Source.Name, r.Source.URL, r.Source.User, r.Notes,
	}
	for k, v := range r.Harness.Args {
		list = append(list, k, v)
	}
	return list
}

// clip cuts a text for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// when returns a date or a time in one form, or nothing.
func when(s string) string {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC().Format(time.RFC3339)
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.Format(time.DateOnly)
	}
	return ""
}

// Predicate returns a report as the predicate of a statement: the same bytes for
// the same report.
func (r *Report) Predicate() ([]byte, error) {
	if len(r.Results) == 0 {
		return nil, malformed("no results")
	}
	if len(r.Results) > MaxResults {
		return nil, malformed("%d results, more than %d", len(r.Results), MaxResults)
	}
	for i := range r.Results {
		if err := r.Results[i].Check(); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(r, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode results: %w", err)
	}
	if len(raw) > MaxPredicateBytes {
		return nil, malformed("a predicate of %d bytes, more than %d", len(raw), MaxPredicateBytes)
	}
	return raw, nil
}

// ParsePredicate reads the predicate of a statement: a report, or one result
// alone, which has a metric where a report has results. What a metric is known to be is not added to what it says.
func ParsePredicate(raw []byte) (*Report, error) {
	if len(raw) > MaxPredicateBytes {
		return nil, malformed("a predicate of %d bytes, more than %d", len(raw), MaxPredicateBytes)
	}
	var p struct {
		Metric  jsontext.Value `json:"metric"`
		Results jsontext.Value `json:"results"`
	}
	if err := unmarshal(raw, &p); err != nil {
		return nil, err
	}
	report := &Report{}
	switch {
	case len(p.Metric) == 0:
		if err := unmarshal(raw, report); err != nil {
			return nil, err
		}
	case len(p.Results) > 0:
		return nil, malformed("a predicate is a report or one result, and no metric stands beside results")
	default:
		report.Results = make([]Result, 1)
		if err := unmarshal(raw, &report.Results[0]); err != nil {
			return nil, err
		}
	}
	if len(report.Results) > MaxResults {
		return nil, malformed("%d results, more than %d", len(report.Results), MaxResults)
	}
	for i := range report.Results {
		if err := report.Results[i].Check(); err != nil {
			return nil, fmt.Errorf("result %d: %w", i+1, err)
		}
	}
	return report, nil
}

func unmarshal(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return malformed("%v", err)
	}
	return nil
}
