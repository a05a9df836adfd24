package card

import (
	"regexp"
	"slices"
	"strings"
)

// words looks at the single words of the front matter.
func (l *linter) words() {
	m, top := l.card.Meta, max(l.card.top, 1)
	switch {
	case m.Task == "":
		l.add("task-missing", top, "no pipeline_tag: search and loaders do not know what the model is for")
	case !slices.Contains(Tasks(), m.Task):
		l.add("task-unknown", l.line("pipeline_tag"), "%s is no task that hubs know%s", quote(m.Task), meant(m.Task, Tasks()))
	}
	if len(m.Languages) == 0 && (m.Task == "" || ofLanguage(m.Task)) {
		l.add("language-missing", top, "no language: set language to codes of ISO 639, or to multilingual")
	}
	for _, code := range m.Languages {
		if !isLanguage(code) {
			l.add("language-unknown", l.line("language"), "%s is no code of a language", quote(code))
		}
	}
	if m.Library == "" {
		l.add("library-missing", top, "no library_name: whoever loads the model has to guess")
	}
	if len(m.Datasets) == 0 {
		l.add("datasets-missing", top, "no datasets: what the model has seen cannot be looked up")
	}
	known := knownKeys()
	for _, key := range l.card.matter.keys {
		if slices.Contains(known, key) {
			continue
		}
		if hint := meant(key, known); hint != "" {
			l.add("key-unknown", l.line(key), "no loader reads the key %s%s", quote(key), hint)
		}
	}
}

// Misspelt returns the key of front matter that another was probably meant to be;
// empty for one that is known, or is like none. Keys are whatever people like: one
// that is unknown is no mistake in itself.
func Misspelt(key string) string {
	known := knownKeys()
	if slices.Contains(known, key) {
		return ""
	}
	return nearest(key, known)
}

// language is the form of BCP 47.
var language = regexp.MustCompile(`^(?:[a-z]{2,3})(?:-[A-Za-z]{4})?(?:-(?:[A-Za-z]{2}|[0-9]{3}))?(?:-[A-Za-z0-9]{4,8})*$`)

func isLanguage(code string) bool {
	return code == "code" || code == "multilingual" || language.MatchString(code)
}

// meant asks whether the closest known word is meant, if one is close.
func meant(word string, known []string) string {
	best := nearest(word, known)
	if best == "" {
		return ""
	}
	return ": is " + best + " meant?"
}

// nearest is the known word that is closest to one that is not, if one is close.
func nearest(word string, known []string) string {
	if len(word) > maxQuoted {
		return ""
	}
	best, least := "", 3
	norm := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(word))
	for _, k := range known {
		if d := distance(norm, strings.ReplaceAll(k, "_", "-")); d < least && d*3 <= len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to add, drop or change from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// topics tells of what is missing, from the scores.
func (l *linter) topics(scores []SectionScore) {
	for _, s := range scores {
		if s.ID == "metadata" {
			continue
		}
		switch s.State {
		case SectionMissing:
			l.add(s.ID+"-missing", s.Line, "%s: %s", s.Title, s.Reason)
		case SectionPlaceholder:
			l.add("placeholder", s.Line, "%s: %s", s.Title, s.Reason)
		case SectionShort:
			l.add("section-short", s.Line, "%s: %s", s.Title, s.Reason)
		}
	}
}

// remoteImage finds images of other sites.
var remoteImage = regexp.MustCompile(`(?i)!\[[^\]\n]{0,200}\]\(\s{0,9}(?:https?:)?//[^)\s]{1,400}|<img[^>\n]{0,200}\ssrc\s{0,9}=\s{0,9}["']?(?:https?:)?//`)

func (l *linter) images(sections []Section) {
	n := 0
	for _, s := range sections {
		line := s.textLine
		for text := range strings.Lines(s.Text) {
			if n < maxFindings && remoteImage.MatchString(text) {
				n++
				l.add("image-remote", line, "an image is on another site: put it into the model's directory")
			}
			line++
		}
	}
}
