package policy

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxRuleDepth bounds how many parts of a rule's id are left off to find the
// rule that it is a part of.
const maxRuleDepth = 16

// sarifLevels are those of SARIF 2.1.0, from the least on.
var sarifLevels = []string{"none", "note", "warning", "error"}

const (
	sarifError   = "error"
	sarifDefault = "warning" // of a rule and of a notification that name none
)

// worse returns the higher of two levels. One that nobody knows is an error.
func worse(a, b string) string {
	for _, l := range []string{a, b} {
		if l != "" && !slices.Contains(sarifLevels, l) {
			return sarifError
		}
	}
	if slices.Index(sarifLevels, a) > slices.Index(sarifLevels, b) {
		return a
	}
	return b
}

// sarifRun is what is read of a run in SARIF 2.1.0.
type sarifRun struct {
	Tool struct {
		Driver     sarifComponent   `json:"driver"`
		Extensions []sarifComponent `json:"extensions"`
	} `json:"tool"`
	Invocations []sarifInvocation `json:"invocations"`
	Results     *[]sarifResult    `json:"results"`
	Elsewhere   jsontext.Value    `json:"externalPropertyFileReferences"`
}

type sarifComponent struct {
	Name  string      `json:"name"`
	GUID  string      `json:"guid"`
	Rules []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID      string             `json:"id"`
	Default sarifConfiguration `json:"defaultConfiguration"`
}

type sarifConfiguration struct {
	Level string `json:"level"`
}

type sarifInvocation struct {
	Successful    *bool               `json:"executionSuccessful"`
	Execution     []sarifNotification `json:"toolExecutionNotifications"`
	Configuration []sarifNotification `json:"toolConfigurationNotifications"`
	Overrides     []struct {
		Descriptor    sarifReference     `json:"descriptor"`
		Configuration sarifConfiguration `json:"configuration"`
	} `json:"ruleConfigurationOverrides"`
}

type sarifNotification struct {
	Level string `json:"level"`
}

type sarifResult struct {
	RuleID    string         `json:"ruleId"`
	RuleIndex *int           `json:"ruleIndex"`
	Rule      sarifReference `json:"rule"`
	Kind      string         `json:"kind"`
	Level     string         `json:"level"`
}

// A sarifReference names a rule: by its place in a component, or by its id.
type sarifReference struct {
	ID        string      `json:"id"`
	Index     *int        `json:"index"`
	Component *sarifPlace `json:"toolComponent"`
}

// A sarifPlace names an extension of the tool: by its place, or else by its guid
// or name.
type sarifPlace struct {
	Name  string `json:"name"`
	GUID  string `json:"guid"`
	Index *int   `json:"index"`
}

func (p *sarifPlace) in(extensions []sarifComponent) *sarifComponent {
	at := slices.IndexFunc(extensions, func(e sarifComponent) bool {
		if p.GUID != "" {
			return p.GUID == e.GUID
		}
		return p.Name == e.Name
	})
	if p.Index != nil {
		at = *p.Index
	}
	if at < 0 || at >= len(extensions) {
		return nil
	}
	return &extensions[at]
}

// readRuns finds what a scanner reports as an error, or what cannot be told from
// one: a report is clean when it is known to be.
func readRuns(runs []jsontext.Value) string {
	for _, raw := range runs {
		var run sarifRun
		if err := json.Unmarshal(raw, &run); err != nil {
			return "with a result that cannot be read"
		}
		if problem := run.problem(); problem != "" {
			return problem
		}
	}
	return ""
}

func (run *sarifRun) problem() string {
	if run.Results == nil || len(run.Elsewhere) > 0 {
		return "of a scanner whose results are not there"
	}
	for _, i := range run.Invocations {
		if i.Successful != nil && !*i.Successful {
			return "of a scanner that did not come to the end"
		}
		for _, n := range slices.Concat(i.Execution, i.Configuration) {
			if worse(or(n.Level, sarifDefault), sarifDefault) == sarifError {
				return "of a scanner that had an error"
			}
		}
	}
	rules := run.rules()
	for _, r := range *run.Results {
		level, known := rules.level(r)
		switch {
		case !known:
			return "which has a result of no known level, " + or(r.name(), "without a name")
		case level == sarifError:
			return "which has the error " + or(r.name(), "without a name")
		}
	}
	return ""
}

// sarifRules are the rules of a run, and their levels by id. Of several with one
// id the worst counts.
type sarifRules struct {
	run    *sarifRun
	levels map[string]string
}

func (run *sarifRun) rules() sarifRules {
	s := sarifRules{run: run, levels: map[string]string{}}
	for _, c := range append([]sarifComponent{run.Tool.Driver}, run.Tool.Extensions...) {
		for _, r := range c.Rules {
			s.levels[r.ID] = worse(s.levels[r.ID], or(r.Default.Level, sarifDefault))
		}
	}
	for _, i := range run.Invocations {
		for _, o := range i.Overrides {
			if o.Configuration.Level == "" {
				continue
			}
			for _, id := range []string{o.Descriptor.ID, s.at(o.Descriptor).id()} {
				s.levels[id] = worse(s.levels[id], o.Configuration.Level)
			}
		}
	}
	return s
}

// at returns the rule at the place that a reference names; nil if there is none.
func (s sarifRules) at(ref sarifReference) *sarifRule {
	if ref.Index == nil {
		return nil
	}
	in := &s.run.Tool.Driver
	if ref.Component != nil {
		in = ref.Component.in(s.run.Tool.Extensions)
	}
	if in == nil || *ref.Index < 0 || *ref.Index >= len(in.Rules) {
		return nil
	}
	return &in.Rules[*ref.Index]
}

func (r *sarifRule) id() string {
	if r == nil {
		return ""
	}
	return r.ID
}

func (r sarifResult) name() string { return or(r.RuleID, r.Rule.ID) }

// level is that of a result: its own, or the worst of the rules that it may be
// of; ok is false when none of them is there.
func (s sarifRules) level(r sarifResult) (level string, ok bool) {
	if r.Level != "" {
		return worse(r.Level, ""), true
	}
	if slices.Contains([]string{"pass", "informational", "notApplicable"}, r.Kind) {
		return "none", true
	}
	ref := r.Rule
	if ref.Index == nil {
		ref.Index = r.RuleIndex
	}
	at := s.at(ref)
	if ref.Index != nil && *ref.Index != -1 && at == nil {
		return "", false
	}
	if at != nil {
		level = worse(or(at.Default.Level, sarifDefault), s.levels[at.ID])
	}
	for _, id := range []string{r.RuleID, r.Rule.ID} {
		level = worse(level, s.byID(id))
	}
	return level, level != ""
}

// byID looks for the rule with an id, or for that of which it is a part: "a/b" is
// a part of "a".
func (s sarifRules) byID(id string) string {
	for range maxRuleDepth {
		if level := s.levels[id]; level != "" && id != "" {
			return level
		}
		at := strings.LastIndexByte(id, '/')
		if at < 0 {
			break
		}
		id = id[:at]
	}
	return ""
}
