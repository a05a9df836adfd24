package card

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// LintOptions adjusts [Card.Lint]. With the zero value only the card itself is
// believed.
type LintOptions struct {
	// Pinned, if not nil, tells whether something besides the card says which
	// bytes a base model is: an annotation of the version, say.
	Pinned func(base string) bool
}

// A Finding is something that a rule says of a card.
type Finding struct {
	Rule    string `json:"rule"`
	Level   Level  `json:"level"`
	Line    int    `json:"line"` // in the README, from 1; 0 if it is about no line
	Message string `json:"message"`
}

// A Report is what [Card.Lint] found.
type Report struct {
	Score    int            `json:"score"` // how complete the card is, of 100
	Sections []SectionScore `json:"sections"`
	Findings []Finding      `json:"findings"` // by line
}

// Worst tells whether a finding has at least the level.
func (r *Report) Worst(least Level) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level.AtLeast(least) })
}

// Lint holds the card against [Rules] and tells how complete it is, section by
// section. The error wraps [ErrTooLarge] where [Card.HTML]'s would.
func (c *Card) Lint(opts LintOptions) (*Report, error) {
	sections, err := c.Sections()
	if err != nil {
		return nil, err
	}
	l := linter{card: c, opts: opts}
	if c.Problem != nil {
		l.add("front-matter", l.problemLine(), "%s", strings.TrimPrefix(c.Problem.Error(), "front matter rejected: "))
	} else {
		l.licenses()
		l.bases()
		l.results()
		l.words()
	}
	scores := c.scores(sections)
	l.topics(scores)
	l.images(sections)
	slices.SortStableFunc(l.found, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	r := &Report{Sections: scores, Findings: l.found}
	for _, s := range scores {
		r.Score += s.Points
	}
	return r, nil
}

// A linter collects findings.
type linter struct {
	card  *Card
	opts  LintOptions
	found []Finding
}

func (l *linter) add(rule string, line int, format string, args ...any) {
	l.found = append(l.found, Finding{Rule: rule, Level: ruleOf(rule).Level, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (l *linter) problemLine() int {
	if e, ok := l.card.Problem.(*FrontMatterError); ok && e.Line > 0 { //nolint:errorlint // it is set to nothing else
		return e.Line
	}
	return max(l.card.top, 1)
}

// line is where a key stands, or the front matter begins.
func (l *linter) line(key string) int {
	n := l.card.top
	for line := range strings.Lines(string(l.card.FrontMatter)) {
		n++
		name, _, ok := strings.Cut(line, ":")
		if ok && strings.Trim(strings.TrimRight(name, " "), `"'`) == key {
			return n
		}
	}
	return max(l.card.top, 1)
}

func (l *linter) licenses() {
	m := l.card.Meta
	if len(m.Licenses) == 0 {
		l.add("license-missing", max(l.card.top, 1), "no licence: nobody knows what they may do with the model; set license")
	}
	at := l.line("license")
	for _, id := range m.Licenses {
		if id == "other" {
			if m.LicenseName == "" {
				l.add("license-name", at, "the licence is \"other\" and has no license_name")
			}
			if m.LicenseLink == "" {
				l.add("license-link", at, "the licence is \"other\" and has no license_link to its text")
			}
			continue
		}
		if id == "unknown" {
			l.add("license-missing", at, "the licence is \"unknown\": nobody knows what they may do with the model")
			continue
		}
		spdx, err := SPDX(id)
		switch {
		case err != nil:
			l.add("license-unknown", at, "%s", strings.TrimPrefix(err.Error(), ErrLicense.Error()+": "))
		case slices.Contains([]string{"bsd", "cc", "gpl", "lgpl", "gfdl", "openrail"}, strings.ToLower(id)):
			l.add("license-family", at, "%s is a family of licences: name the one that it is", quote(id))
		case strings.Contains(spdxList, "\n-"+spdx+"\n"):
			l.add("license-deprecated", at, "SPDX has deprecated %s%s", spdx, successor(spdx))
		}
	}
}

// successor names what a deprecated identifier is today.
func successor(id string) string {
	if _, ok := listed(id+"-only", false); ok {
		return ": " + id + "-only or " + id + "-or-later say which is meant"
	}
	return ""
}

// pinned is what a reference ends in that says which bytes it names.
var pinned = regexp.MustCompile(`@(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|[0-9a-f]{40}|[0-9a-f]{64})$`)

// Pins are the base models that the card names by digest or commit: as base_model
// itself, or beside it as modelreg.base_model, which loaders do not read.
func (c *Card) Pins() []string {
	var out []string
	for _, s := range append(slices.Clone(c.Meta.BaseModels), c.matter.get("modelreg").get("base_model").strings()...) {
		if pinned.MatchString(s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (l *linter) bases() {
	m, at := l.card.Meta, l.line("base_model")
	pins := l.card.Pins()
	for _, base := range m.BaseModels {
		known := pinned.MatchString(base) || l.opts.Pinned != nil && l.opts.Pinned(base) || len(pins) > 0 && len(pins) == len(m.BaseModels)
		for _, p := range pins {
			name, _, _ := strings.Cut(p, "@")
			known = known || name == base || strings.HasSuffix(name, "/"+base) || strings.HasSuffix(name, ":"+base)
		}
		if !known {
			l.add("base-unpinned", at, "base model %s can be anything by tomorrow: push with --base REF@sha256:…, or set modelreg.base_model", quote(base))
		}
	}
	switch m.BaseRelation {
	case "", "finetune", "adapter", "quantized", "merge":
		if m.BaseRelation != "" && len(m.BaseModels) == 0 {
			l.add("base-relation", l.line("base_model_relation"), "base_model_relation without base_model")
		}
	default:
		l.add("base-relation", l.line("base_model_relation"), "%s is none of finetune, adapter, quantized, merge", quote(m.BaseRelation))
	}
}

func (l *linter) results() {
	at := l.line("model-index")
	for i, missing := range invalidResults(l.card.matter.get("model-index")) {
		if i == maxFindings {
			break
		}
		l.add("result-invalid", at, "%s", missing)
	}
	unpinned := map[string]bool{}
	for _, r := range l.card.Meta.Results {
		if _, ok := r.Number(); !ok && len(unpinned) < maxFindings {
			l.add("result-invalid", at, "the value of %s on %s is no number: %s", quote(r.Metric.Type), quote(r.Dataset.ID), quote(r.Value))
		}
		if r.Dataset.Revision == "" && !unpinned[r.Dataset.ID] && len(unpinned) < maxFindings {
			unpinned[r.Dataset.ID] = true
			l.add("result-revision", at, "results on %s do not name the dataset's revision", quote(r.Dataset.ID))
		}
	}
}

// maxFindings bounds the findings of one kind.
const maxFindings = 20

// invalidResults tells which entries of a model-index lack what they must have.
func invalidResults(index value) []string {
	var out []string
	if index.kind != nullKind && index.kind != sequenceKind {
		return []string{"model-index is no list"}
	}
	for _, model := range index.items {
		for i, result := range model.get("results").items {
			need := []struct {
				path string
				v    value
			}{
				{"task.type", result.get("task").get("type")},
				{"dataset.type", result.get("dataset").get("type")},
				{"dataset.name", result.get("dataset").get("name")},
				{"metrics", result.get("metrics")},
			}
			for j, metric := range result.get("metrics").items {
				path := fmt.Sprintf("metrics[%d]", j)
				need = append(need, []struct {
					path string
					v    value
				}{{path + ".type", metric.get("type")}, {path + ".value", metric.get("value")}}...)
			}
			for _, n := range need {
				if n.v.kind == nullKind && len(out) < maxFindings {
					out = append(out, fmt.Sprintf("result %d of model-index lacks %s", i+1, n.path))
				}
			}
		}
	}
	return out
}
