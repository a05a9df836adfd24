package diff

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	contextLines = 3   // around a change of lines
	contextWords = 6   // around a change of words
	maxLines     = 400 // of all hunks of one text
	maxWords     = 400 // runs of one section
)

// A TextChange is how a text changed, line by line.
type TextChange struct {
	Added   int    `json:"added"`   // lines
	Removed int    `json:"removed"` // lines
	Hunks   []Hunk `json:"hunks"`

	// Truncated says that there are more hunks than are listed.
	Truncated bool `json:"truncated,omitempty"`
}

// A Hunk is lines of a text that changed, with some around them that did not.
type Hunk struct {
	From  int      `json:"from"`  // the first line in the old text, from 1
	To    int      `json:"to"`    // likewise in the new one
	Lines []string `json:"lines"` // each after "+", "-" or " "
}

// Text compares two texts by their lines. It returns nil if they are the same.
func Text(from, to string) *TextChange {
	if from == to {
		return nil
	}
	a, b := splitLines(from), splitLines(to)
	edits := script(a, b)
	c := &TextChange{Hunks: []Hunk{}}
	lines := 0
	for i := 0; i < len(edits); {
		j := i + 1
		for j < len(edits) && edits[j].a0-edits[j-1].a1 <= 2*contextLines {
			j++
		}
		for _, e := range edits[i:j] {
			c.Added, c.Removed = c.Added+e.b1-e.b0, c.Removed+e.a1-e.a0
		}
		if h := hunk(a, b, edits[i:j]); lines+len(h.Lines) <= maxLines || len(c.Hunks) == 0 {
			if room := maxLines - lines; len(h.Lines) > room {
				h.Lines, c.Truncated = h.Lines[:room], true
			}
			lines += len(h.Lines)
			c.Hunks = append(c.Hunks, h)
		} else {
			c.Truncated = true
		}
		i = j
	}
	return c
}

// hunk writes edits that lie close together.
func hunk(a, b []string, edits []edit) Hunk {
	at := max(edits[0].a0-contextLines, 0)
	h := Hunk{From: at + 1, To: edits[0].b0 - (edits[0].a0 - at) + 1}
	for _, e := range edits {
		for ; at < e.a0; at++ {
			h.Lines = append(h.Lines, " "+a[at])
		}
		for ; at < e.a1; at++ {
			h.Lines = append(h.Lines, "-"+a[at])
		}
		for _, line := range b[e.b0:e.b1] {
			h.Lines = append(h.Lines, "+"+line)
		}
	}
	for end := min(at+contextLines, len(a)); at < end; at++ {
		h.Lines = append(h.Lines, " "+a[at])
	}
	return h
}

// splitLines cuts a text into lines without their ends. What ends differently
// differs, so that a text without a last line end is another one.
func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	} else {
		lines[len(lines)-1] += " (no line end)"
	}
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\n")
	}
	return lines
}

// A Word is a run of words in a text that changed.
type Word struct {
	Op   string `json:"op"`   // "=", "-" or "+"
	Text string `json:"text"` // "…" alone stands for words that did not change
}

// Words compares two texts word by word. It returns nil if they are the same.
// Of more than 400 runs the rest is left out.
func Words(from, to string) []Word {
	if from == to {
		return nil
	}
	a, b := splitWords(from), splitWords(to)
	var words []Word
	add := func(op string, text []string) {
		if len(text) > 0 {
			words = append(words, Word{op, strings.Join(text, "")})
		}
	}
	at := 0
	for _, e := range smooth(a, script(a, b)) {
		for _, run := range around(a[at:e.a0], at == 0) {
			add("=", run)
		}
		add("-", a[e.a0:e.a1])
		add("+", b[e.b0:e.b1])
		at = e.a1
		if len(words) >= maxWords {
			return append(words, Word{"=", ellipsis})
		}
	}
	if rest := a[at:]; len(rest) > 2*contextWords {
		add("=", rest[:2*contextWords])
		add("=", []string{ellipsis})
	} else {
		add("=", rest)
	}
	return words
}

const ellipsis = "…"

// around cuts what lies between two changes down to what is next to them.
func around(same []string, first bool) [][]string {
	const each = 2 * contextWords // a word and the space behind it
	switch {
	case len(same) <= 2*each:
		return [][]string{same}
	case first:
		return [][]string{{ellipsis}, same[len(same)-each:]}
	}
	return [][]string{same[:each], {ellipsis}, same[len(same)-each:]}
}

// smooth joins edits with nothing but a space between them: "old new" for "a b"
// reads better as one change than as two.
func smooth(a []string, edits []edit) []edit {
	var out []edit
	for _, e := range edits {
		n := len(out)
		if n > 0 && strings.TrimSpace(strings.Join(a[out[n-1].a1:e.a0], "")) == "" {
			out[n-1].a1, out[n-1].b1 = e.a1, e.b1
			continue
		}
		out = append(out, e)
	}
	return out
}

// splitWords cuts a text into words, spaces and single marks.
func splitWords(s string) []string {
	var out []string
	class := func(r rune) int {
		switch {
		case unicode.IsSpace(r):
			return 0
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '_':
			return 1
		}
		return 2
	}
	begin, last := 0, -1
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		c := class(r)
		if i > begin && (c != last || c == 2) {
			out = append(out, s[begin:i])
			begin = i
		}
		last = c
		i += n
	}
	if begin < len(s) {
		out = append(out, s[begin:])
	}
	return out
}
