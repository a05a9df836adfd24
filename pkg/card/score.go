package card

import (
	"fmt"
	"strings"
	"unicode"
)

// minWords is what a section needs to say something.
const minWords = 12

// What a [SectionScore] is.
const (
	SectionPresent     = "present"
	SectionShort       = "short"
	SectionPlaceholder = "placeholder"
	SectionMissing     = "missing"
)

// A SectionScore tells how complete a card is in one respect.
type SectionScore struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	State  string `json:"state"`
	Points int    `json:"points"`
	Most   int    `json:"most"` // the sum of all sections is 100
	Line   int    `json:"line"` // of the heading, in the README; 0 if there is none
	Words  int    `json:"words"`
	Reason string `json:"reason"` // why it has these points, in words
}

// A topic is what readers look for in a card.
type topic struct {
	id, title string
	most      int

	// headings are parts of headings, in small letters, that name it. A whole
	// heading stands between bars, without what is in brackets at its end and
	// without numbers and signs around it.
	headings []string

	// matter tells, in words, where the front matter says it; "" if it does not.
	matter func(c *Card) string
}

func topics() []topic {
	return []topic{
		{"description", "Description", 10, []string{"|overview|", "model description", "|introduction|", "|summary|", "model summary", "model details", "beschreibung", "模型介绍", "模型简介"}, nil},
		{"intended-use", "Intended use", 15, []string{"intended use", "|uses|", "|use|", "direct use", "downstream use", "use case", "applications", "out-of-scope", "out of scope", "what it is for", "einsatzzweck", "用途", "使用场景"}, nil},
		{"how-to-use", "How to use", 5, []string{"how to", "|usage|", "|usage with ", "get started", "getting started", "quickstart", "quick start", "|inference|", "|example", "使用方法", "快速开始", "使い方"}, nil},
		{"limitations", "Limitations", 15, []string{"limitation", "limits", "caveat", "known issue", "out-of-scope", "einschränkung", "limitaciones", "局限", "限制", "制限"}, nil},
		{"bias", "Bias and risks", 10, []string{"bias", "fairness", "ethic", "|risks|", "risks ", " risks", "safety", "verzerrung", "sesgo", "biais", "偏见", "风险", "バイアス"}, nil},
		{"training-data", "Training data", 10, []string{"training data", "|data|", "|dataset|", "|datasets|", "training set", "data and", "pretraining data", "trainingsdaten", "训练数据", "学習データ"}, nil},
		{"training-procedure", "Training procedure", 5, []string{"training procedure", "training details", "training regime", "training hyper", "hyperparameter", "|training|", "fine-tuning", "finetuning", "how it was trained", "训练过程", "学習手順"}, nil},
		{"evaluation", "Evaluation", 15, []string{"evaluation", "|results|", "benchmark", "performance", "auswertung", "评测", "评估", "評価"}, resultsIn},
		{"environment", "Environmental impact", 5, []string{"environment", "carbon", "emission", "energy", "co2", "umwelt", "环境"}, func(c *Card) string { return keyIn(c, "co2_eq_emissions") }},
		{"contact", "Contact and citation", 3, []string{"contact", "citation", "cite", "author", "maintainer", "bibtex", "引用"}, nil},
	}
}

// metaKeys are what the front matter is to say, and the points for each.
func metaKeys(c *Card) map[string]bool {
	m := c.Meta
	return map[string]bool{
		"license": m.SPDX() != "", "pipeline_tag": m.Task != "", "library_name": m.Library != "",
		"language": len(m.Languages) > 0 || m.Task != "" && !ofLanguage(m.Task), "datasets": len(m.Datasets) > 0, "tags": len(m.Tags) > 0,
	}
}

const metaPoints = 7

func keyIn(c *Card, key string) string {
	if c.matter.get(key).kind == nullKind {
		return ""
	}
	return key + " in the front matter"
}

func resultsIn(c *Card) string {
	if n := len(c.Meta.Results); n > 0 {
		return fmt.Sprintf("%d in model-index", n)
	}
	return ""
}

// isPlaceholder finds what templates leave for the author to replace.
func isPlaceholder(text string) bool {
	low := strings.ToLower(text)
	for _, s := range []string{"[more information needed]", "{{ ", "to be added", "to be completed", "lorem ipsum"} {
		if strings.Contains(low, s) {
			return true
		}
	}
	t := strings.Trim(strings.TrimSpace(low), "*_.[]()")
	return t == "todo" || t == "tbd" || t == "tba" || t == "n/a" || t == "coming soon"
}

// withoutPlaceholders counts the words of a text besides its placeholders.
func withoutPlaceholders(text string) int {
	var b strings.Builder
	for line := range strings.Lines(dropComments(text)) {
		if !isPlaceholder(line) {
			b.WriteString(line)
		}
	}
	return countWords(b.String())
}

// scores judges each topic.
func (c *Card) scores(sections []Section) []SectionScore {
	out := make([]SectionScore, 0, len(topics())+1)
	for _, t := range topics() {
		out = append(out, c.score(t, sections))
	}
	return append(out, c.metaScore())
}

func (c *Card) score(t topic, sections []Section) SectionScore {
	s := SectionScore{ID: t.id, Title: t.title, Most: t.most, State: SectionMissing, Reason: "there is none"}
	if t.matter != nil {
		if where := t.matter(c); where != "" {
			s.State, s.Points, s.Reason, s.Line = SectionPresent, t.most, where, 0
			return s
		}
	}
	placeholder := false
	for i, sec := range sections {
		if !t.names(sec.Title) {
			continue
		}
		n := 0
		for j, sub := range sections[i:] {
			if j > 0 && sub.Level <= sec.Level {
				break
			}
			n += withoutPlaceholders(sub.Text)
			placeholder = placeholder || isPlaceholder(sub.Text)
		}
		if s.Line == 0 || n > s.Words {
			s.Line, s.Words = sec.Line, n
		}
	}
	if t.id == "description" && s.Words < minWords {
		s.Words = max(s.Words, withoutPlaceholders(c.Summary()))
	}
	return s.judge(placeholder)
}

// judge gives the points for what was found.
func (s SectionScore) judge(placeholder bool) SectionScore {
	switch {
	case s.Words >= minWords || s.ID == "how-to-use" && s.Line > 0 && !placeholder || s.ID == "contact" && s.Words > 0:
		s.State, s.Points, s.Reason = SectionPresent, s.Most, fmt.Sprintf("%d words", s.Words)
	case placeholder && s.Words == 0:
		s.State, s.Reason = SectionPlaceholder, "a placeholder of the template"
	case s.Words > 0:
		s.State, s.Points, s.Reason = SectionShort, s.Most/2, fmt.Sprintf("%d words, fewer than %d", s.Words, minWords)
	case s.Line > 0:
		s.Reason = "a heading with nothing below it"
	}
	return s
}

// names tells whether a heading is about the topic.
func (t topic) names(heading string) bool {
	if heading == "" {
		return false
	}
	h := strings.ToLower(strings.Join(strings.Fields(heading), " "))
	bare, _, _ := strings.Cut(h, " (")
	bare = "|" + strings.TrimFunc(bare, func(r rune) bool { return !unicode.IsLetter(r) }) + "|"
	for _, part := range t.headings {
		if strings.Contains(h, part) || strings.Contains(bare, part) {
			return true
		}
	}
	return false
}

func (c *Card) metaScore() SectionScore {
	s := SectionScore{ID: "metadata", Title: "Front matter", Most: metaPoints, Line: c.top}
	there, missing := 0, []string{}
	keys := metaKeys(c)
	for _, key := range []string{"license", "pipeline_tag", "library_name", "language", "datasets", "tags"} {
		if keys[key] {
			there++
		} else {
			missing = append(missing, key)
		}
	}
	s.Points = metaPoints * there / len(keys)
	switch {
	case there == len(keys):
		s.State, s.Reason = SectionPresent, "licence, task, library, language, datasets and tags"
	case there == 0:
		s.State, s.Reason = SectionMissing, "it says none of licence, task, library, language, datasets and tags"
	default:
		s.State, s.Reason = SectionShort, "without "+strings.Join(missing, ", ")
	}
	return s
}

// Topic returns the Markdown below the first heading about a topic, one of the IDs
// of [SectionScore], with the headings inside it; empty if there is none, or only a
// placeholder.
func (c *Card) Topic(id string) string {
	sections, err := c.Sections()
	if err != nil {
		return ""
	}
	for _, t := range topics() {
		if t.id != id {
			continue
		}
		for i, sec := range sections {
			if text := t.below(sections[i:]); t.names(sec.Title) && withoutPlaceholders(text) > 0 {
				return strings.TrimSpace(text)
			}
		}
	}
	return ""
}

// below is the text of the first section with those inside it.
func (t topic) below(sections []Section) string {
	var b strings.Builder
	for j, sub := range sections {
		if j > 0 && sub.Level <= sections[0].Level {
			break
		}
		if j > 0 {
			b.WriteString(strings.Repeat("#", sub.Level) + " " + sub.Title + "\n\n")
		}
		b.WriteString(sub.Text)
	}
	return b.String()
}
