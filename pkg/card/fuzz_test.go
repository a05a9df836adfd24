package card_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/modelreg/modelreg/pkg/card"
)

func addSeeds(f *testing.F) {
	files, err := filepath.Glob("testdata/hostile/*/README.md")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, body := range vectors {
		f.Add([]byte("---\nlicense: mit\n---\n" + body))
	}
	f.Add([]byte(modelIndex))
	f.Add([]byte("\ufeff\r\n---\r\na: &a [1.10, 0x1F, .nan, 2024-01-02]\r\nb: {<<: *a}\r\n---\r\n| a |\n|-|\n| b |\n"))
}

// FuzzParse checks that a card's parts are parts of the README, in order and
// with nothing but delimiters between them, that front matter is either
// explained or JSON, and that messages are safe to print.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, readme []byte) {
		c, err := card.Parse(readme)
		if err != nil {
			if !errors.Is(err, card.ErrTooLarge) {
				t.Fatalf("Parse: %v", err)
			}
			return
		}
		head, ok := bytes.CutSuffix(readme, c.Body)
		if !ok {
			t.Fatalf("body %q does not end the README", c.Body)
		}
		if before, after, ok := bytes.Cut(head, append([]byte("\n"), c.FrontMatter...)); c.FrontMatter != nil &&
			(!ok || delimiters(string(before)) != "---" || delimiters(string(after)) != "---") {
			t.Errorf("front matter %q and body %q are not those of %q", c.FrontMatter, c.Body, readme)
		}
		if c.FrontMatter == nil && delimiters(string(head)) != "" {
			t.Errorf("%q is lost", head)
		}
		if !json.Valid(c.JSON()) {
			t.Errorf("JSON = %q", c.JSON())
		}
		if c.Problem != nil && (string(c.JSON()) != "{}" || strings.ContainsFunc(c.Problem.Error(), commands)) {
			t.Errorf("Problem = %q, JSON = %s", c.Problem, c.JSON())
		}
	})
}

// delimiters returns what is left of the text around front matter.
func delimiters(s string) string {
	return strings.Trim(strings.TrimPrefix(s, "\ufeff"), " \t\r\n")
}

// FuzzHTML checks that whatever a body is, its page has nothing in it that
// runs, fetches, submits or tears the page, and its text and summary nothing
// that a terminal obeys.
func FuzzHTML(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &card.Card{Body: body}
		page, err := c.HTML(card.HTMLOptions{BaseURL: "/a/b/"})
		if err != nil {
			if !errors.Is(err, card.ErrTooLarge) {
				t.Fatalf("HTML: %v", err)
			}
			return
		}
		// The parser of the check gives up on elements nested too deep.
		if bad := unsafeParts(page); bad != nil {
			t.Errorf("HTML lets through %q in %q", bad, page)
		}
		for _, color := range []bool{false, true} {
			var text bytes.Buffer
			if err := c.Text(&text, card.TextOptions{Width: 30, Color: color}); err != nil {
				t.Fatalf("Text: %v", err)
			}
			s := text.String()
			if color {
				s = sgr.ReplaceAllString(s, "")
			}
			if strings.ContainsFunc(s, commands) || !utf8.ValidString(s) {
				t.Errorf("Text lets through %q", s)
			}
		}
		if s := c.Summary(); strings.ContainsFunc(s, commands) || utf8.RuneCountInString(s) > 300 || strings.Contains(s, "\n") {
			t.Errorf("Summary = %q", s)
		}
	})
}

// FuzzParseResults checks that results that parse are complete.
func FuzzParseResults(f *testing.F) {
	f.Add([]byte("- dataset: {id: d, task_id: t}\n  value: 0.5\n  source: {url: x}\n"))
	f.Add([]byte("- &a {dataset: {id: d, task_id: t}, value: [1]}\n- *a\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		results, err := card.ParseResults(src)
		if err != nil {
			if results != nil {
				t.Errorf("results %v beside error %v", results, err)
			}
			return
		}
		for _, r := range results {
			if r.Dataset.ID == "" || r.Dataset.Task == "" || r.Value == "" {
				t.Errorf("incomplete result %+v", r)
			}
		}
	})
}
