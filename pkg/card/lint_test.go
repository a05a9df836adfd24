package card_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// complete is a card that nothing can be said of.
const complete = `---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-classification
tags: [support]
datasets: [acme/tickets]
base_model: acme/base
base_model_relation: finetune
modelreg:
  base_model: hub.example/acme/base` + digest + `
co2_eq_emissions: 3
model-index:
- name: Support
  results:
  - task: {type: text-classification}
    dataset: {type: acme/tickets, name: Tickets, revision: v3}
    metrics: [{type: f1, value: 0.9}]
---
# Support

It sorts the letters that customers write to a shop by what they are about.

## Intended use
For shops that get letters in English and want them on the right desk at once.
## How to use
    run it
## Limitations
Letters of more than five hundred words are cut, and irony is taken at its word, always.
## Bias
Letters by people who write English as a second language are sorted wrongly twice as often.
## Training data
Twenty thousand letters of three shops from the years 2019 to 2024, read by two people each.
## Training procedure
Three epochs with AdamW at 2e-5 on one card, the best of five seeds was kept in the end.
## Contact
ada@acme.example
`

func lint(t *testing.T, readme string, opts card.LintOptions) *card.Report {
	t.Helper()
	c, err := card.Parse([]byte(readme))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Lint(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// brief is findings as "rule:line".
func brief(r *card.Report) []string {
	out := []string{}
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s:%d", f.Rule, f.Line))
	}
	return out
}

func TestLintComplete(t *testing.T) {
	r := lint(t, complete, card.LintOptions{})
	if diff := cmp.Diff([]string{}, brief(r)); diff != "" || r.Score != 100 {
		t.Errorf("score %d: %s", r.Score, diff)
	}
	if r.Worst(card.LevelInfo) {
		t.Error("a finding where there is none")
	}
}

// Each rule, by what has to be wrong with a complete card, and where it is told.
func TestLintRules(t *testing.T) {
	tests := map[string]struct {
		old, new string
		want     []string
	}{
		"front matter":       {"language: en", "language: [en", []string{"front-matter:3"}},
		"no licence":         {"license: apache-2.0\n", "", []string{"license-missing:1"}},
		"unknown licence":    {"license: apache-2.0", "license: apache2", []string{"license-unknown:3"}},
		"licence unknown":    {"license: apache-2.0", "license: unknown", []string{"license-missing:3"}},
		"other":              {"license: apache-2.0", "license: other", []string{"license-name:3", "license-link:3"}},
		"family":             {"license: apache-2.0", "license: cc", []string{"license-family:3"}},
		"deprecated":         {"license: apache-2.0", "license: gpl-3.0", []string{"license-deprecated:3"}},
		"llama":              {"license: apache-2.0", "license: llama3.1", []string{}},
		"base unpinned":      {"modelreg:\n  base_model: hub.example/acme/base" + digest + "\n", "", []string{"base-unpinned:8"}},
		"base of another":    {"hub.example/acme/base" + digest, "[a" + digest + ", b" + digest + "]", []string{"base-unpinned:8"}},
		"base by commit":     {"base_model: acme/base", "base_model: acme/base@0123456789abcdef0123456789abcdef01234567", []string{}},
		"relation":           {"finetune", "fine-tuned", []string{"base-relation:9"}},
		"relation, no base":  {"base_model: acme/base\n", "", []string{"base-relation:8"}},
		"no task":            {"pipeline_tag: text-classification\n", "", []string{"task-missing:1"}},
		"unknown task":       {"pipeline_tag: text-classification", "pipeline_tag: text-clasification", []string{"task-unknown:5"}},
		"no language":        {"language: en\n", "", []string{"language-missing:1"}},
		"no such language":   {"language: en", "language: English", []string{"language-unknown:2"}},
		"no library":         {"library_name: transformers\n", "", []string{"library-missing:1"}},
		"misspelt":           {"library_name", "libary-name", []string{"library-missing:1", "key-unknown:4"}},
		"a key of one's own": {"tags:", "acme_internal: 1\ntags:", []string{}},
		"no datasets":        {"datasets: [acme/tickets]\n", "", []string{"datasets-missing:1"}},
		"result, revision":   {", revision: v3", "", []string{"result-revision:13"}},
		"result, no name":    {"name: Tickets, ", "", []string{"evaluation-missing:0", "result-invalid:13"}},
		"result, no number":  {"value: 0.9", "value: good", []string{"result-invalid:13"}},
		"no environment":     {"co2_eq_emissions: 3\n", "", []string{"environment-missing:0"}},
		"no limitations":     {"## Limitations\n", "\n", []string{"limitations-missing:0"}},
		"empty bias":         {"## Bias\n", "## Bias\n## Colours\n", []string{"bias-missing:30"}},
		"placeholder":        {"Letters of more than five hundred words are cut, and irony is taken at its word, always.", "[More Information Needed]", []string{"placeholder:28"}},
		"short":              {"Letters of more than five hundred words are cut, and irony is taken at its word, always.", "Many.", []string{"section-short:28"}},
		"remote image":       {"ada@acme.example", "ada\n\n![x](https://evil.example/x.png)", []string{"image-remote:39"}},
		"underlined heading": {"## Contact\n", "\nContact\n-------\n![x](//evil.example/x.png) ", []string{"image-remote:39"}},
		"code is no heading": {"## Limitations\n", "```\n## Limitations\n```\n", []string{"limitations-missing:0"}},
	}
	told := map[string]bool{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(complete, tt.old) {
				t.Fatal("nothing to replace")
			}
			r := lint(t, strings.Replace(complete, tt.old, tt.new, 1), card.LintOptions{})
			got := slices.DeleteFunc(brief(r), func(s string) bool { return name == "front matter" && !strings.HasPrefix(s, "front") })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%+v", diff, r.Findings)
			}
			for _, f := range r.Findings {
				told[f.Rule] = true
			}
		})
	}
	for _, f := range lint(t, "", card.LintOptions{}).Findings {
		told[f.Rule] = true
	}
	for _, rule := range card.Rules() {
		if !told[rule.ID] {
			t.Errorf("nothing here breaks rule %s", rule.ID)
		}
	}
}

// Headings as authors write them.
func TestSectionHeadings(t *testing.T) {
	for heading, want := range map[string]string{
		"Usage (Sentence-Transformers)": "how-to-use", "🚀 Usage": "how-to-use", "Usage:": "how-to-use",
		"Usage with vLLM": "how-to-use", "2. Results": "evaluation", "Uses (direct)": "intended-use", "Data 📚": "training-data",
		"Usage statistics": "", "Model usage policy": "",
	} {
		text := "# M\n\n## " + heading + "\n\n" + strings.Repeat("A sentence of six words here. ", 4)
		got := ""
		for _, s := range lint(t, text, card.LintOptions{}).Sections {
			if s.Line == 3 && s.ID != "metadata" {
				got = s.ID
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", heading, got, want)
		}
	}
}

func TestLintPinnedElsewhere(t *testing.T) {
	readme := strings.Replace(complete, "modelreg:\n  base_model: hub.example/acme/base"+digest+"\n", "", 1)
	r := lint(t, readme, card.LintOptions{Pinned: func(base string) bool { return base == "acme/base" }})
	if len(r.Findings) > 0 {
		t.Errorf("findings %+v", r.Findings)
	}
}

func TestLintEmpty(t *testing.T) {
	r := lint(t, "", card.LintOptions{})
	if r.Score != 0 || !r.Worst(card.LevelError) {
		t.Errorf("score %d, findings %v", r.Score, brief(r))
	}
	most := 0
	for _, s := range r.Sections {
		most += s.Most
		if s.State != card.SectionMissing || s.Reason == "" {
			t.Errorf("section %+v", s)
		}
	}
	if most != 100 {
		t.Errorf("the sections have %d points", most)
	}
}

// The documentation has each rule, with its level and what it is about.
func TestRulesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "cards.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range card.Rules() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", r.ID, r.Level, r.Summary))
	}
	var got []string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| `") && (strings.Contains(line, "| error |") || strings.Contains(line, "| warn |") || strings.Contains(line, "| info |")) {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// So is each section, with its points.
func TestSectionsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "cards.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range lint(t, "", card.LintOptions{}).Sections {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^\| %s(: [^|]+)? \| %d \|$`, s.Title, s.Most)).Match(doc) {
			t.Errorf("docs/cards.md does not say that %s has %d points", s.Title, s.Most)
		}
	}
}

// Whatever a card says, linting it ends, and points into it.
func FuzzLint(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte("---\nmodel-index: [{results: [{metrics: [1]}]}]\n---\n# a\n\nb\n---\n> # c\n"))
	f.Fuzz(func(t *testing.T, readme []byte) {
		c, err := card.Parse(readme)
		if err != nil {
			return
		}
		r, err := c.Lint(card.LintOptions{})
		if err != nil {
			return
		}
		lines := strings.Count(string(readme), "\n") + 1
		for _, finding := range r.Findings {
			if finding.Line < 0 || finding.Line > lines || finding.Message == "" {
				t.Errorf("%+v of %d lines", finding, lines)
			}
		}
		if r.Score < 0 || r.Score > 100 {
			t.Errorf("score %d", r.Score)
		}
	})
}
