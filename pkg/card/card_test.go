package card_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

func readTestdata(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, readme string) *card.Card {
	t.Helper()
	c, err := card.Parse([]byte(readme))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseSplits(t *testing.T) {
	tests := map[string]struct {
		readme       string
		matter, body string
		problem      string
	}{
		"both":                  {readme: "---\nlicense: mit\n---\n# A\n", matter: "license: mit\n", body: "# A\n"},
		"no front matter":       {readme: "# A\n", body: "# A\n"},
		"empty":                 {},
		"only front matter":     {readme: "---\na: b\n---", matter: "a: b\n"},
		"empty front matter":    {readme: "---\n---\nx", body: "x"},
		"blanks before":         {readme: "\n  \n---\na: b\n---\nx", matter: "a: b\n", body: "x"},
		"CRLF":                  {readme: "---\r\na: b\r\n---\r\nx\r\n", matter: "a: b\r\n", body: "x\r\n"},
		"byte order mark":       {readme: "\ufeff---\na: b\n---\nx", matter: "a: b\n", body: "x"},
		"mark, no front matter": {readme: "\ufeff# A", body: "# A"},
		"blanks after dashes":   {readme: "---  \na: b\n--- \nx", matter: "a: b\n", body: "x"},
		"dashes in the body":    {readme: "---\na: b\n---\nx\n---\ny", matter: "a: b\n", body: "x\n---\ny"},
		"dashes in text":        {readme: "---\na: |\n  b\n  --- c\n---\nx", matter: "a: |\n  b\n  --- c\n", body: "x"},
		"a rule":                {readme: "---\n\nSome: prose\n", body: "---\n\nSome: prose\n"},
		"longer rule":           {readme: "----\na: b\n----\n", body: "----\na: b\n----\n"},
		"never closed": {
			readme: "---\nlicense: mit\n# A\n", body: "---\nlicense: mit\n# A\n",
			problem: "front matter rejected: no closing line of three dashes",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := parse(t, tt.readme)
			if got := string(c.FrontMatter); got != tt.matter {
				t.Errorf("FrontMatter = %q, want %q", got, tt.matter)
			}
			if got := string(c.Body); got != tt.body {
				t.Errorf("Body = %q, want %q", got, tt.body)
			}
			if got := problem(c); got != tt.problem {
				t.Errorf("Problem = %q, want %q", got, tt.problem)
			}
		})
	}
}

func problem(c *card.Card) string {
	if c.Problem == nil {
		return ""
	}
	return c.Problem.Error()
}

func TestParseRejectsFrontMatter(t *testing.T) {
	tests := map[string]struct{ yaml, want string }{
		"same key twice":    {"license: mit\na: b\nlicense: apache-2.0\n", `line 4: key "license" is there twice`},
		"twice, inside":     {"a:\n  b: 1\n  \"b\": 2\n", `line 4: key "b" is there twice`},
		"two colons":        {"a: b\ntitle: a: b\n", "line 3: mapping values are not allowed in this context"},
		"text":              {"just text\n", "not keys with values"},
		"list":              {"- a\n- b\n", "not keys with values"},
		"local tag":         {"a: !mine b\n", `line 2: tag "!mine" is not allowed`},
		"python tag":        {"a: !!python/object/apply:os.system [id]\n", `line 2: tag "!!python/object/apply:os.system" is not allowed`},
		"binary":            {"a: !!binary aGk=\n", `line 2: tag "!!binary" is not allowed`},
		"key is a list":     {"? [a]\n: b\n", "line 2: a key must be text"},
		"two documents":     {"a: b\n...\nc: d\n", "line 4: more than one document"},
		"aliases":           {"a: &a x\nb: [" + strings.Repeat("*a, ", 101) + "]\n", "too many aliases"},
		"unknown alias":     {"a: *b\n", "line 2: unknown anchor 'b' referenced"},
		"alias in itself":   {"a: &a [*a]\n", "line 2: nested too deep"},
		"nested":            {"a: " + strings.Repeat("[", 17) + strings.Repeat("]", 17) + "\n", "line 2: nested too deep"},
		"too large":         {"a: " + strings.Repeat("x", 64<<10) + "\n", "larger than 64 KiB"},
		"large by aliases":  {"a: &a " + strings.Repeat("x", 20<<10) + "\nb: [" + strings.Repeat("*a, ", 60) + "]\n", "line 2: too large when its aliases are expanded"},
		"not UTF-8":         {"a: \xff\n", "not UTF-8"},
		"control character": {"a: \x1b[31m\n", "control characters are not allowed (value: 27)"},
		"tab as indent":     {"a:\n\tb: c\n", "line 3: found character that cannot start any token"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := parse(t, "---\n"+tt.yaml+"---\nbody\n")
			if got, want := problem(c), "front matter rejected: "+tt.want; got != want {
				t.Errorf("Problem = %q, want %q", got, want)
			}
			if _, ok := errors.AsType[*card.FrontMatterError](c.Problem); !ok {
				t.Errorf("Problem is a %T", c.Problem)
			}
			if diff := cmp.Diff(card.Metadata{}, c.Meta); diff != "" {
				t.Errorf("Meta of rejected front matter (-want +got):\n%s", diff)
			}
			if got := string(c.JSON()); got != "{}" {
				t.Errorf("JSON = %s, want {}", got)
			}
			if !bytes.Equal(c.FrontMatter, []byte(tt.yaml)) || string(c.Body) != "body\n" {
				t.Errorf("parts = %q, %q", c.FrontMatter, c.Body)
			}
		})
	}
}

func TestParseRefusesLargeCard(t *testing.T) {
	if _, err := card.Parse(make([]byte, card.MaxBytes)); err != nil {
		t.Errorf("Parse of MaxBytes: %v", err)
	}
	if _, err := card.Parse(make([]byte, card.MaxBytes+1)); !errors.Is(err, card.ErrTooLarge) {
		t.Errorf("Parse of MaxBytes+1: error = %v, want ErrTooLarge", err)
	}
}
