package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/sarif"
	"github.com/modelreg/modelreg/pkg/signing"
)

// stated returns the statements of one type by all authorities of the document.
func (j *judge) stated(types ...string) []signing.Attestation {
	return j.statedIn(func(e Evidence) []signing.Attestation { return e.Attestations }, types)
}

// against returns those that can only count against the version.
func (j *judge) against(types ...string) []signing.Attestation {
	return j.statedIn(func(e Evidence) []signing.Attestation { return e.Chosen }, types)
}

func (j *judge) statedIn(part func(e Evidence) []signing.Attestation, types []string) []signing.Attestation {
	var out []signing.Attestation
	for i := range j.doc.Authorities {
		for _, at := range part(j.evidence(&j.doc.Authorities[i])) {
			if slices.Contains(types, at.Type) {
				out = append(out, at)
			}
		}
	}
	return out
}

// statementsOf goes through what is asked of attestations.
func (j *judge) statementsOf(m Model) {
	if m.Scan != nil {
		j.scan(*m.Scan)
	}
	for _, e := range m.Evaluation {
		j.evaluation(e)
	}
	if m.Tests {
		j.tests()
	}
	if len(m.Builders) > 0 {
		j.provenance(m)
	}
	if m.ProvenanceInputs {
		j.provenanceInputs()
	}
}

// scan lets the newest report decide; of several of one time the worst.
func (j *judge) scan(s Scan) {
	wanted := "a clean report of a scanner, not older than " + span(s.MaxAge) + ", attested by one of the authorities"
	all := j.stated(TypeScan)
	if len(all) == 0 {
		j.add(RuleScan, false, "no report that counts is visible", wanted)
		return
	}
	newest := newestScan(all)
	j.statements = append(j.statements, all...)
	if newest.finished.IsZero() {
		j.add(RuleScan, false, "a report "+newest.problem, wanted)
		return
	}
	fresh, text := j.age(newest.finished, s.MaxAge)
	if newest.problem != "" {
		text += ", " + newest.problem
	}
	ok := fresh && newest.problem == ""
	if chosen := newestScan(j.against(TypeScan)); chosen.problem != "" {
		ok, text = false, text+"; of what the index lists, a report "+chosen.problem
	}
	j.add(RuleScan, ok, "a report of "+text, wanted)
}

// newestScan is the report that decides, without a problem if there is none.
func newestScan(all []signing.Attestation) scanReport {
	var newest scanReport
	for i, at := range all {
		if r := readScan(at.Raw); i == 0 || r.compare(newest) > 0 {
			newest = r
		}
	}
	return newest
}

// A scanReport is what matters of one. The problem is empty if it is clean.
type scanReport struct {
	finished time.Time
	problem  string
}

// compare puts the report that decides last: one of which it cannot be told what
// it is older than, then the newest, then one with a problem.
func (r scanReport) compare(o scanReport) int {
	return cmp.Or(cmp.Compare(btoi(r.finished.IsZero()), btoi(o.finished.IsZero())),
		r.finished.Compare(o.finished), cmp.Compare(btoi(r.problem != ""), btoi(o.problem != "")))
}

// vulnPredicate is cosign's form of a scanner's report.
type vulnPredicate struct {
	Scanner struct {
		URI    string         `json:"uri"`
		Result jsontext.Value `json:"result"`
	} `json:"scanner"`
	Metadata struct {
		ScanFinishedOn time.Time `json:"scanFinishedOn"`
	} `json:"metadata"`
}

func readScan(raw jsontext.Value) scanReport {
	var p vulnPredicate
	if err := json.Unmarshal(raw, &p); err != nil || p.Metadata.ScanFinishedOn.IsZero() {
		return scanReport{problem: "that cannot be read"}
	}
	var result struct {
		Verdict string           `json:"verdict"`
		Runs    []jsontext.Value `json:"runs"`
		Inline  jsontext.Value   `json:"inlineExternalProperties"` // of SARIF: results could be there
	}
	r := scanReport{finished: p.Metadata.ScanFinishedOn}
	err := json.Unmarshal(p.Scanner.Result, &result)
	switch {
	case err != nil:
		r.problem = "with a result that cannot be read"
	case result.Verdict != "" && result.Verdict != "safe":
		r.problem = "which says " + result.Verdict
	case result.Verdict == "" && len(result.Runs) == 0 || len(result.Inline) > 0:
		r.problem = "with a result of an unknown form"
	default:
		r.problem = readRuns(result.Runs)
	}
	return r
}

// readRuns finds what a scanner reports as an error, or what cannot be told from
// one: a report is clean when it is known to be.
func readRuns(runs []jsontext.Value) string {
	for _, raw := range runs {
		var run sarif.Run
		if err := json.Unmarshal(raw, &run); err != nil {
			return "with a result that cannot be read"
		}
		if problem := run.Unfinished(); problem != "" {
			return "of a scanner " + problem
		}
		rules := run.Rules()
		for _, r := range *run.Results {
			level, known := rules.Level(r)
			switch {
			case !known:
				return "which has a result of no known level, " + or(r.Name(), "without a name")
			case level == sarif.Error:
				return "which has the error " + or(r.Name(), "without a name")
			}
		}
	}
	return ""
}

// evalRecord is one result of an evaluation.
type evalRecord struct {
	Task    string `json:"task"`
	Dataset struct {
		ID string `json:"id"`
	} `json:"dataset"`
	Metric struct {
		Name   string `json:"name"`
		Filter string `json:"filter"`
		Unit   string `json:"unit"`
	} `json:"metric"`
	Value *float64 `json:"value"`
}

// evaluation asks that every trusted result of the metric is within the bounds,
// so that one result cannot be shown and another one kept quiet by whoever has
// both.
func (j *judge) evaluation(e Evaluation) {
	found, used, ok := e.results(j.stated(TypeEvaluation))
	j.statements = append(j.statements, used...)
	more, _, none := e.results(j.against(TypeEvaluation))
	j.add(RuleEvaluation, ok && none && len(found) > 0, e.name()+" "+or(listed(append(found, more...)), "in no result that counts"), e.wanted())
}

// results are those of the metric, and the statements that have them. It is ok
// if all are within the bounds.
func (e Evaluation) results(all []signing.Attestation) (found []string, used []signing.Attestation, ok bool) {
	ok = true
	for _, at := range all {
		records, err := readEvaluation(at.Raw)
		if err != nil {
			ok, found = false, append(found, "a result that cannot be read")
			continue
		}
		before := len(found)
		for _, r := range records {
			if !e.asksFor(r) {
				continue
			}
			if r.Value == nil {
				ok, found = false, append(found, "no value")
				continue
			}
			value := e.inUnit(r)
			ok = ok && (e.Min == nil || value >= *e.Min) && (e.Max == nil || value <= *e.Max)
			found = append(found, fmt.Sprintf("%v", value))
		}
		if len(found) > before {
			used = append(used, at)
		}
	}
	return found, used, ok
}

// asksFor tells whether a result is one of those that are bounded.
func (e Evaluation) asksFor(r evalRecord) bool {
	is := func(wanted, has string) bool { return wanted == "" || wanted == has }
	return r.Metric.Name == e.Metric && is(e.Filter, r.Metric.Filter) && is(e.Task, r.Task) && is(e.Dataset, r.Dataset.ID)
}

// inUnit is the value of a result in the unit of the bounds, so that 45 percent is
// not above 0.7: bounds of which one is above 1 are percentages. A result that
// does not state its unit is compared as it is.
func (e Evaluation) inUnit(r evalRecord) float64 {
	percent := false
	for _, bound := range []*float64{e.Min, e.Max} {
		percent = percent || bound != nil && math.Abs(*bound) > 1
	}
	switch {
	case r.Metric.Unit == "percent" && !percent:
		return *r.Value / 100
	case r.Metric.Unit == "fraction" && percent:
		return *r.Value * 100
	}
	return *r.Value
}

func (e Evaluation) name() string {
	name := e.Metric
	if e.Filter != "" {
		name += " (" + e.Filter + ")"
	}
	if e.Task != "" {
		name += " of " + e.Task
	}
	if e.Dataset != "" {
		name += " on " + e.Dataset
	}
	return name
}

func (e Evaluation) wanted() string {
	var bounds []string
	if e.Min != nil {
		bounds = append(bounds, fmt.Sprintf("at least %v", *e.Min))
	}
	if e.Max != nil {
		bounds = append(bounds, fmt.Sprintf("at most %v", *e.Max))
	}
	return e.name() + " " + strings.Join(bounds, " and ") + ", attested by one of the authorities"
}

// readEvaluation reads one record, or a list of them.
func readEvaluation(raw jsontext.Value) ([]evalRecord, error) {
	var p struct {
		evalRecord `json:",inline"`
		Results    []evalRecord `json:"results"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	if p.Metric.Name != "" {
		return append(p.Results, p.evalRecord), nil
	}
	return p.Results, nil
}

// tests asks that every trusted test result says that all went well.
func (j *judge) tests() {
	all := j.stated(TypeTests)
	j.statements = append(j.statements, all...)
	var found []string
	ok := len(all) > 0
	for _, at := range append(all, j.against(TypeTests)...) {
		var p struct {
			Result string `json:"result"`
		}
		err := json.Unmarshal(at.Raw, &p)
		ok = ok && err == nil && p.Result == "PASSED"
		found = append(found, or(p.Result, "a result that cannot be read"))
	}
	j.add(RuleTests, ok, or(listed(found), "no test result that counts is visible"), "PASSED, attested by one of the authorities")
}

// provenance asks for one statement by an allowed builder.
func (j *judge) provenance(m Model) {
	var found []string
	ok := false
	for _, at := range j.stated(TypeProvenance, typeProvenance02) {
		id := builder(at)
		found = append(found, or(id, "provenance without a builder"))
		if id != "" && matchesAny(m.globs.builders, id) {
			ok = true
			j.statements = append(j.statements, at)
		}
	}
	j.add(RuleProvenance, ok, or(listed(found), "no provenance that counts is visible"), "provenance of the builder "+listed(m.Builders)+", attested by one of the authorities")
}

// provenanceInputs asks that all provenances, of which there must be one, name the
// same as the version does. One that nobody has compared is not known to.
func (j *judge) provenanceInputs() {
	all := j.stated(TypeProvenance)
	j.statements = append(j.statements, all...)
	var bad []string
	for _, at := range all {
		differences, compared := j.facts.Differences[digest.FromBytes(at.Raw)]
		if !compared {
			differences = []string{"a provenance that cannot be read"}
		}
		bad = append(bad, differences...)
	}
	found := "nothing that differs"
	if len(all) == 0 {
		found = "no provenance that counts is visible"
	}
	j.add(RuleInputs, len(all) > 0 && len(bad) == 0, or(listed(bad), found),
		"provenance that names what the version says that it was made of and nothing else, attested by one of the authorities")
}

func builder(at signing.Attestation) string {
	type party struct {
		ID string `json:"id"`
	}
	var p struct {
		Builder    party `json:"builder"`
		RunDetails struct {
			Builder party `json:"builder"`
		} `json:"runDetails"`
	}
	if err := json.Unmarshal(at.Raw, &p); err != nil {
		return ""
	}
	if at.Type == typeProvenance02 {
		return p.Builder.ID
	}
	return p.RunDetails.Builder.ID
}

// statusPredicate says what became of a version.
type statusPredicate struct {
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	Since       time.Time `json:"since"`
	Replacement string    `json:"replacement"`
}

// status lets the newest statement decide, if anybody asks; of an index and what
// was chosen from it, the worse.
func (j *judge) status(m Model) {
	if !m.asksStatus() {
		return
	}
	newest := j.newestStatus(j.stated(TypeStatus))
	if chosen := j.newestStatus(j.against(TypeStatus)); chosen.State > newest.State { // in the order of the alphabet
		newest = chosen
	}
	switch newest.State {
	case "yanked":
		reaction := m.Yanked
		if reaction == Unset {
			reaction = Refuse
			if j.facts.Pinned {
				reaction = Warn
			}
		}
		j.react(RuleYanked, reaction, newest)
	case "deprecated":
		reaction := m.Deprecated
		if reaction == Unset {
			reaction = Warn
		}
		j.react(RuleDeprecated, reaction, newest)
	}
}

// newestStatus is the status that decides; its state is empty if there is none.
func (j *judge) newestStatus(all []signing.Attestation) statusPredicate {
	var newest statusPredicate
	for _, at := range all {
		var p statusPredicate
		if err := json.Unmarshal(at.Raw, &p); err != nil || !slices.Contains([]string{"active", "deprecated", "yanked"}, p.State) {
			// Somebody trusted has something to say, and it is not known what.
			p = statusPredicate{State: "yanked", Reason: "a status that cannot be read", Since: j.facts.Now}
		}
		if newest.State == "" || p.Since.After(newest.Since) || p.Since.Equal(newest.Since) && p.State > newest.State {
			newest = p
		}
	}
	return newest
}

func (j *judge) react(rule string, reaction Reaction, s statusPredicate) {
	r := Result{Rule: rule, OK: reaction == Allow, Effect: effectRefuse, Found: "it was " + s.State, Wanted: "a version that is not " + s.State}
	if s.Reason != "" {
		r.Found += ": " + s.Reason
	}
	if s.Replacement != "" {
		r.Wanted += ", such as " + s.Replacement
	}
	if reaction == Warn || j.doc.Warn {
		r.Effect = effectWarn
	}
	j.note(r)
}
