// Package sarif reads of SARIF 2.1.0, in which scanners report, whether a run is
// the outcome of a scan that came to its end, and of what level its results are.
// What a report does not say is never read as good news: results that are not
// there are not the same as none, and a level that nobody knows is an error.
//
// The package keeps to what decides; texts and places of results are for whoever
// shows them. It reads no more than it is given, and never panics.
package sarif

import (
	"cmp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxRuleDepth bounds how many parts of a rule's id are left off to find the
// rule that it is a part of.
const maxRuleDepth = 16

// maxExtensions bounds what is searched for each result.
const maxExtensions = 256

// The levels of SARIF 2.1.0 that are named elsewhere.
const (
	None  = "none"
	Error = "error"

	defaultLevel = "warning" // of a rule and of a notification that name none
)

// levels returns those of SARIF 2.1.0, from the least on.
func levels() [4]string { return [...]string{None, "note", defaultLevel, Error} }

// worse returns the higher of two levels. One that nobody knows is an error.
func worse(a, b string) string {
	known := levels()
	for _, l := range []string{a, b} {
		if l != "" && !slices.Contains(known[:], l) {
			return Error
		}
	}
	if slices.Index(known[:], a) > slices.Index(known[:], b) {
		return a
	}
	return b
}

// A Run is what is read of a run in SARIF 2.1.0. It is for decoding JSON into.
type Run struct {
	Tool struct {
		Driver     Component   `json:"driver"`
		Extensions []Component `json:"extensions"`
	} `json:"tool"`
	Invocations []Invocation   `json:"invocations"`
	Results     *[]Result      `json:"results"`
	Elsewhere   jsontext.Value `json:"externalPropertyFileReferences"`
}

// A Component is a tool, or an extension of one, with the rules that it has.
type Component struct {
	Name  string `json:"name"`
	GUID  string `json:"guid"`
	Rules []Rule `json:"rules"`
}

// A Rule is what results are of. Properties hold, as some tools have it, a score.
type Rule struct {
	ID      string        `json:"id"`
	Default Configuration `json:"defaultConfiguration"`

	Properties jsontext.Value `json:"properties"`
}

// A Configuration of a rule has the level of its results.
type Configuration struct {
	Level string `json:"level"`
}

// An Invocation is a time that the tool ran.
type Invocation struct {
	Successful    *bool          `json:"executionSuccessful"`
	Execution     []Notification `json:"toolExecutionNotifications"`
	Configuration []Notification `json:"toolConfigurationNotifications"`
	Overrides     []struct {
		Descriptor    Reference     `json:"descriptor"`
		Configuration Configuration `json:"configuration"`
	} `json:"ruleConfigurationOverrides"`
}

// A Notification is what a tool tells of itself.
type Notification struct {
	Level string `json:"level"`
}

// A Result is one thing that was found, as far as that decides on its level.
type Result struct {
	RuleID    string    `json:"ruleId"`
	RuleIndex *int      `json:"ruleIndex"`
	Rule      Reference `json:"rule"`
	Kind      string    `json:"kind"`
	Level     string    `json:"level"`
}

// A Reference names a rule: by its place in a component, or by its id.
type Reference struct {
	ID        string `json:"id"`
	Index     *int   `json:"index"`
	Component *Place `json:"toolComponent"`
}

// A Place names an extension of the tool: by its place, or else by its guid
// or name.
type Place struct {
	Name  string `json:"name"`
	GUID  string `json:"guid"`
	Index *int   `json:"index"`
}

func (p *Place) in(extensions []Component) *Component {
	at := slices.IndexFunc(extensions, func(e Component) bool {
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

// Unfinished tells why the results of a run may be of a scan that saw nothing, or
// not all: they are not in the document, the tool says that it did not succeed or
// does not say that it did, or it met an error of its own. It is empty where the
// results are all there are, and reads after "a scanner".
func (run *Run) Unfinished() string {
	if len(run.Tool.Extensions) > maxExtensions {
		return "that has more extensions than are looked into"
	}
	if run.Results == nil || len(run.Elsewhere) > 0 {
		return "whose results are not there"
	}
	for _, i := range run.Invocations {
		if i.Successful == nil || !*i.Successful {
			return "that did not come to the end"
		}
		for _, n := range slices.Concat(i.Execution, i.Configuration) {
			if worse(cmp.Or(n.Level, defaultLevel), defaultLevel) == Error {
				return "that had an error"
			}
		}
	}
	return ""
}

// Rules are the rules of a run, and their levels by id. Of several with one
// id the worst counts.
type Rules struct {
	run    *Run
	levels map[string]string
	named  map[string]*Rule // the first of each id
}

// Rules returns what a run says of the rules that its results are of.
func (run *Run) Rules() Rules {
	s := Rules{run: run, levels: map[string]string{}, named: map[string]*Rule{}}
	for _, c := range run.components() {
		for i := range c.Rules {
			r := &c.Rules[i]
			if s.named[r.ID] == nil && r.ID != "" {
				s.named[r.ID] = r
			}
			s.levels[r.ID] = worse(s.levels[r.ID], cmp.Or(r.Default.Level, defaultLevel))
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

func (run *Run) components() []Component {
	return slices.Concat([]Component{run.Tool.Driver}, run.Tool.Extensions)
}

// at returns the rule at the place that a reference names; nil if there is none.
func (s Rules) at(ref Reference) *Rule {
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

func (r *Rule) id() string {
	if r == nil {
		return ""
	}
	return r.ID
}

// Name is that of the rule as the result has it; it may be empty.
func (r Result) Name() string { return cmp.Or(r.RuleID, r.Rule.ID) }

// Level is that of a result: its own, or the worst of the rules that it may be
// of; ok is false when none of them is there.
func (s Rules) Level(r Result) (level string, ok bool) {
	if r.Level != "" {
		return worse(r.Level, ""), true
	}
	if slices.Contains([]string{"pass", "informational", "notApplicable"}, r.Kind) {
		return None, true
	}
	ref, at := s.place(r)
	if ref.Index != nil && *ref.Index != -1 && at == nil {
		return "", false
	}
	if at != nil {
		level = worse(cmp.Or(at.Default.Level, defaultLevel), s.levels[at.ID])
	}
	for _, id := range []string{r.RuleID, r.Rule.ID} {
		level = worse(level, s.byID(id))
	}
	return level, level != ""
}

// place returns the place that a result names its rule by, and what is there.
func (s Rules) place(r Result) (Reference, *Rule) {
	ref := r.Rule
	if ref.Index == nil {
		ref.Index = r.RuleIndex
	}
	return ref, s.at(ref)
}

// Of returns the rule of a result, by its place or else by its id; nil where
// neither is in the run.
func (s Rules) Of(r Result) *Rule {
	if _, at := s.place(r); at != nil && cmp.Or(r.Name(), at.ID) == at.ID {
		return at
	}
	return s.named[r.Name()]
}

// byID looks for the rule with an id, or for that of which it is a part: "a/b" is
// a part of "a".
func (s Rules) byID(id string) string {
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
