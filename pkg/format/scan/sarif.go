package scan

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/sarif"
)

// sarifSchema is where the schema of SARIF 2.1.0 with its corrections lies.
const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// A Tool is the program that a SARIF document says it is from.
type Tool struct {
	Name    string
	Version string
	URI     string // of its home
}

// The parts of SARIF 2.1.0 that are written and read here.
type (
	sarifLog struct {
		Schema  string     `json:"$schema,omitempty"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations,omitempty"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]any    `json:"properties,omitempty"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri,omitempty"`
		Rules          []sarifRule `json:"rules,omitempty"`
	}
	sarifRule struct {
		ID                   string         `json:"id"`
		ShortDescription     *sarifText     `json:"shortDescription,omitempty"`
		DefaultConfiguration *sarifLevel    `json:"defaultConfiguration,omitempty"`
		Properties           map[string]any `json:"properties,omitempty"`
	}
	sarifLevel struct {
		Level string `json:"level,omitempty"`
	}
	sarifText struct {
		Text string `json:"text,omitempty"`
		ID   string `json:"id,omitempty"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool `json:"executionSuccessful"`
	}
	sarifResult struct {
		RuleID     string          `json:"ruleId,omitempty"`
		Level      string          `json:"level,omitempty"`
		Message    sarifText       `json:"message"`
		Locations  []sarifLocation `json:"locations,omitempty"`
		Properties map[string]any  `json:"properties,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation *sarifPhysical `json:"physicalLocation,omitempty"`
	}
	sarifPhysical struct {
		ArtifactLocation *sarifArtifact `json:"artifactLocation,omitempty"`
		Region           *sarifRegion   `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri,omitempty"`
	}
	sarifRegion struct {
		ByteOffset *int64 `json:"byteOffset,omitempty"`
	}
)

// levels are what SARIF calls the severities.
var levels = map[Severity]string{None: "none", Low: "note", Medium: "warning", High: "error", Critical: "error"}

// scores are the severities as numbers, for those who sort by them.
var scores = map[Severity]string{None: "0.0", Low: "3.0", Medium: "5.0", High: "8.0", Critical: "9.5"}

// SARIF returns the report as a SARIF 2.1.0 document of one run of tool. Paths
// become relative URIs; the offset of a finding is in the file or the unpacked
// member that its path names.
func (r *Report) SARIF(tool Tool) ([]byte, error) {
	run := sarifRun{
		Tool:        sarifTool{sarifDriver{Name: tool.Name, Version: tool.Version, InformationURI: tool.URI}},
		Invocations: []sarifInvocation{{ExecutionSuccessful: true}},
		Results:     []sarifResult{},
		Properties:  map[string]any{"verdict": string(r.Verdict), "files": r.Files},
	}
	named := make(map[string]bool)
	for _, f := range r.Findings {
		if !named[f.Rule] {
			named[f.Rule] = true
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(f))
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Rule, Level: levels[f.Severity], Message: sarifText{Text: f.Message},
			Locations: []sarifLocation{{&sarifPhysical{
				ArtifactLocation: &sarifArtifact{URI: escapePath(f.Path)},
				Region:           &sarifRegion{ByteOffset: &f.Offset},
			}}},
			Properties: map[string]any{"severity": string(f.Severity)},
		})
	}
	raw, err := json.Marshal(sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}}, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("encode SARIF: %w", err)
	}
	return raw, nil
}

// sarifRuleOf describes the rule of a finding. Those of other scanners have no
// description here.
func sarifRuleOf(f Finding) sarifRule {
	out := sarifRule{ID: f.Rule}
	if rule, ok := ruleOf(f.Rule); ok {
		out.ShortDescription = &sarifText{Text: rule.Meaning}
		out.DefaultConfiguration = &sarifLevel{Level: levels[rule.Severity]}
		out.Properties = map[string]any{"security-severity": scores[rule.Severity]}
	}
	return out
}

// escapePath makes a relative URI of a path.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	uri := strings.Join(parts, "/")
	if first, _, _ := strings.Cut(uri, "/"); strings.Contains(first, ":") {
		return "./" + uri // else it would be a scheme
	}
	return uri
}

// The limits of a SARIF document that is read.
const (
	MaxSARIF        = 16 << 20
	maxSARIFResults = 10_000
)

// ErrSARIF is wrapped by errors about a document that is no SARIF, or says that
// the scan it is of did not succeed.
var ErrSARIF = errors.New("no result of a scan")

// ParseSARIF reads what another scanner, called name, found. file tells which
// file a URI stands for, and false for one that nobody asked about. Rules get
// the name before them: "name:rule". A result without a level has that of its
// rule, or is a warning; one of a level that nobody knows is an error; results
// that say that all is well are left out. A document whose results are not all in
// it, or that tells of an error of the scanner's own, is an [ErrSARIF].
func ParseSARIF(raw []byte, name string, file func(uri string) (string, bool)) ([]Finding, error) {
	if len(raw) > MaxSARIF {
		return nil, fmt.Errorf("read SARIF: %d bytes, more than %d: %w", len(raw), MaxSARIF, ErrSARIF)
	}
	var doc struct {
		Version string           `json:"version"`
		Runs    []jsontext.Value `json:"runs"`
		Inline  jsontext.Value   `json:"inlineExternalProperties"` // results could be there
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read SARIF: %w: %w", ErrSARIF, err)
	}
	if doc.Version != "2.1.0" || len(doc.Runs) == 0 || len(doc.Inline) > 0 {
		return nil, fmt.Errorf("read SARIF: version %.20q with %d runs, or results beside them: %w", doc.Version, len(doc.Runs), ErrSARIF)
	}
	findings := []Finding{}
	for _, raw := range doc.Runs {
		more, err := findingsOf(raw, name, file)
		if err != nil {
			return nil, fmt.Errorf("read SARIF: %w: %w", err, ErrSARIF)
		}
		if findings = append(findings, more...); len(findings) > maxSARIFResults {
			return nil, fmt.Errorf("read SARIF: more than %d results: %w", maxSARIFResults, ErrSARIF)
		}
	}
	return findings, nil
}

// findingsOf makes findings of a run: whether it is one, and of what levels its
// results are, says package sarif, by which policies go too.
func findingsOf(raw jsontext.Value, name string, file func(string) (string, bool)) ([]Finding, error) {
	var run sarif.Run
	if err := json.Unmarshal(raw, &run); err != nil {
		return nil, err
	}
	if problem := run.Unfinished(); problem != "" {
		return nil, errors.New("of a scanner " + problem)
	}
	if n := len(*run.Results); n > 8*maxSARIFResults { // those that say that all is well too
		return nil, fmt.Errorf("%d results, more than %d", n, 8*maxSARIFResults)
	}
	var shown sarifRun
	if err := json.Unmarshal(raw, &shown); err != nil {
		return nil, err
	}
	var findings []Finding
	rules := run.Rules()
	for i, res := range *run.Results {
		level, known := rules.Level(res)
		if known && level == sarif.None && !slices.Contains([]string{"", "fail", "open", "review"}, res.Kind) {
			continue // it says that all is well
		}
		if len(findings) == maxSARIFResults {
			return nil, fmt.Errorf("more than %d results", maxSARIFResults)
		}
		f, err := shown.Results[i].finding(file)
		if err != nil {
			return nil, err
		}
		rule, id := rules.Of(res), res.Name()
		if rule != nil {
			id = rule.ID
		}
		f.Rule, f.Severity = name+":"+printable(cmp.Or(id, "finding")), severityOf(level, shown.Results[i], rule)
		findings = append(findings, f)
	}
	return findings, nil
}

// finding is what a result says of itself, and where.
func (res sarifResult) finding(file func(string) (string, bool)) (Finding, error) {
	f := Finding{Message: printable(res.Message.Text)}
	if f.Message == "" {
		f.Message = printable("reported without words " + res.Message.ID)
	}
	for _, l := range res.Locations {
		if l.PhysicalLocation == nil || l.PhysicalLocation.ArtifactLocation == nil {
			continue
		}
		path, ok := file(l.PhysicalLocation.ArtifactLocation.URI)
		if !ok {
			return f, fmt.Errorf("a result about %.200q, which is no file that was asked about", l.PhysicalLocation.ArtifactLocation.URI)
		}
		f.Path = path
		if region := l.PhysicalLocation.Region; region != nil && region.ByteOffset != nil {
			f.Offset = max(*region.ByteOffset, 0)
		}
		break
	}
	return f, nil
}

// severityOf takes the worst of what is said: a level, or a score of ten. A
// result of no known level is a warning.
func severityOf(level string, res sarifResult, rule *sarif.Rule) Severity {
	s := Medium
	switch level {
	case sarif.Error:
		s = High
	case "note":
		s = Low
	case sarif.None:
		s = None
	}
	all := []map[string]any{res.Properties, nil}
	if rule != nil && len(rule.Properties) > 0 {
		_ = json.Unmarshal(rule.Properties, &all[1]) // what is no object has no score
	}
	for _, properties := range all {
		text, _ := properties["security-severity"].(string)
		score, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case score >= 9:
			return Critical
		case score >= 7 && s.rank() < High.rank():
			s = High
		case score >= 4 && s.rank() < Medium.rank():
			s = Medium
		}
	}
	return s
}

// rank orders severities.
func (s Severity) rank() int { return slices.Index([]Severity{None, Low, Medium, High, Critical}, s) }

// AtLeast tells whether s matters as much as other, or more.
func (s Severity) AtLeast(other Severity) bool { return s.rank() >= other.rank() }

// Verdict is what a file with a finding of another scanner is at best. Findings
// of this package have that in their [Rule].
func (s Severity) Verdict() Verdict {
	switch s {
	case High, Critical:
		return Dangerous
	case Medium:
		return Unknown
	}
	return Safe
}
