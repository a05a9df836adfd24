package card_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

const annotated = `---
# what it is
license: mit   # ask legal
"language":   # by share
- en
# the second
- de

tags: [a, "b, c"]
base_model: org/base
x-unknown: {deep: [1, 2.50]}   # ours
text: |
  # no comment
  last

# the end
---

# Body
`

func TestRewrite(t *testing.T) {
	tests := map[string]struct {
		edits    []string // "unset KEY" too
		old, new string   // what is replaced in annotated
	}{
		"scalar, comment kept":     {[]string{"license=apache-2.0"}, "license: mit   #", "license: apache-2.0   #"},
		"same":                     {[]string{"license=mit", "language+=en", "tags-=z"}, "", ""},
		"member of a block list":   {[]string{"language+=fr"}, "- de\n", "- de\n- fr\n"},
		"two members":              {[]string{"language+=fr,no"}, "- de\n", "- de\n- fr\n- \"no\"\n"},
		"member removed":           {[]string{"language-=en"}, "- en\n", ""},
		"last member removed":      {[]string{"language-=de"}, "# the second\n- de\n", "# the second\n"},
		"member of a flow list":    {[]string{"tags+=d"}, `[a, "b, c"]`, `[a, "b, c", d]`},
		"list in place of a value": {[]string{"base_model+=org/other"}, "base_model: org/base\n", "base_model:\n- org/base\n- org/other\n"},
		"value in place of a list": {[]string{"tags=new"}, `[a, "b, c"]`, `[new]`},
		"unset":                    {[]string{"unset x-unknown"}, "x-unknown: {deep: [1, 2.50]}   # ours\n", ""},
		"unset a block":            {[]string{"unset text"}, "text: |\n  # no comment\n  last\n", ""},
		"text with a colon":        {[]string{"model_name=A: b"}, "  last\n", "  last\nmodel_name: \"A: b\"\n"},
		"a number as text":         {[]string{"model_name=1.10"}, "  last\n", "  last\nmodel_name: \"1.10\"\n"},
		"a number":                 {[]string{"co2=1.10", "inference=false"}, "  last\n", "  last\nco2: 1.10\ninference: false\n"},
		"a new list":               {[]string{"datasets=a,b"}, "  last\n", "  last\ndatasets:\n- a\n- b\n"},
		"a mapping":                {[]string{"co2_eq_emissions={emissions: 3, source: meter}"}, "  last\n", "  last\nco2_eq_emissions: {emissions: 3, source: meter}\n"},
		"a mapping replaced":       {[]string{"x-unknown=1"}, "{deep: [1, 2.50]}", "1"},
		"block text replaced":      {[]string{"text=short"}, "text: |\n  # no comment\n  last\n", "text: short\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var edits []card.Edit
			for _, s := range tt.edits {
				edits = append(edits, parseEdit(t, s))
			}
			for _, crlf := range []bool{false, true} {
				in, want := []byte(annotated), bytes.Replace([]byte(annotated), []byte(tt.old), []byte(tt.new), 1)
				if crlf {
					in, want = bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n")), bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))
				}
				got, err := card.Rewrite(in, edits...)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("CRLF %v: %s", crlf, diff)
				}
			}
		})
	}
}

func parseEdit(t *testing.T, s string) card.Edit {
	t.Helper()
	if key, ok := bytes.CutPrefix([]byte(s), []byte("unset ")); ok {
		return card.Edit{Key: string(key), Op: card.Unset}
	}
	e, err := card.ParseEdit(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRewriteMakesFrontMatter(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "---\nlicense: mit\n---\n",
		"# Body\r\n":           "---\r\nlicense: mit\r\n---\r\n# Body\r\n",
		"\ufeff# Body\n":       "\ufeff---\nlicense: mit\n---\n# Body\n",
		"---\n---\nx":          "---\nlicense: mit\n---\nx",
		"---\n# note\n---\nx":  "---\nlicense: mit\n# note\n---\nx",
		"\n\n---\na: 1\n---\n": "\n\n---\na: 1\nlicense: mit\n---\n",
	} {
		got, err := card.Rewrite([]byte(in), card.Edit{Key: "license", Value: "mit"})
		if err != nil || string(got) != want {
			t.Errorf("Rewrite(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

// What cannot be edited alone is not edited.
func TestRewriteRefuses(t *testing.T) {
	tests := map[string]struct {
		matter string
		edit   card.Edit
	}{
		"an anchor that is used":    {"license: &l mit\nother: *l\n", card.Edit{Key: "license", Value: "isc"}},
		"a merged key":              {"a: &a {license: mit}\n<<: *a\n", card.Edit{Key: "license", Op: card.Unset}},
		"comments inside":           {"tags:\n- a # one\n- b\n", card.Edit{Key: "tags", Value: "c"}},
		"all on one line":           {"{license: mit}\n", card.Edit{Key: "license", Value: "isc"}},
		"broken":                    {"license: [\n", card.Edit{Key: "license", Value: "isc"}},
		"a list":                    {"- a\n", card.Edit{Key: "license", Value: "isc"}},
		"several lines":             {"a: 1\n", card.Edit{Key: "license", Value: "isc\nmit: x"}},
		"a key with a line":         {"a: 1\n", card.Edit{Key: "x\ny", Value: "isc"}},
		"no key":                    {"a: 1\n", card.Edit{Value: "isc"}},
		"member of a mapping":       {"a: {b: 1}\n", card.Edit{Key: "a", Op: card.Add, Value: "isc"}},
		"broken list":               {"a: 1\n", card.Edit{Key: "b", Value: "[x"}},
		"end of the document":       {"a: 1\n...\n", card.Edit{Key: "b", Value: "x"}},
		"never closed front matter": {"", card.Edit{Key: "b", Value: "x"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			readme := "---\n" + tt.matter + "---\n"
			if tt.matter == "" {
				readme = "---\na: 1\n"
			}
			got, err := card.Rewrite([]byte(readme), tt.edit)
			if !errors.Is(err, card.ErrEdit) || got != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	for _, s := range []string{"", "a", "=b", "+=b", "a="} {
		if _, err := card.ParseEdit(s); !errors.Is(err, card.ErrEdit) {
			t.Errorf("ParseEdit(%q): %v", s, err)
		}
	}
}

// Whatever is edited, the body and the other keys stay, and the key says what was
// asked for.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte(annotated), "license", "apache-2.0", 0)
	f.Add([]byte(annotated), "language", "fr", 1)
	f.Add([]byte(annotated), "tags", "a", 2)
	f.Add([]byte("---\na:\n  - b\n  # c\n  - d\n---\n"), "a", "b", 2)
	f.Add([]byte("---\n? a\n: b\n---\n"), "a", "c", 0)
	f.Fuzz(func(t *testing.T, readme []byte, key, val string, op int) {
		before, err := card.Parse(readme)
		if err != nil {
			return
		}
		out, err := card.Rewrite(readme, card.Edit{Key: key, Op: card.Op(max(op, 0) % 4), Value: val})
		if err != nil {
			if !errors.Is(err, card.ErrEdit) {
				t.Errorf("error %v", err)
			}
			return
		}
		after, err := card.Parse(out)
		if err != nil || after.Problem != nil {
			t.Fatalf("%v, %v: %q", err, after.Problem, out)
		}
		if !bytes.Equal(before.Body, after.Body) {
			t.Errorf("the body of %q became %q", before.Body, after.Body)
		}
		if op := max(op, 0) % 4; key == "pipeline_tag" && op == 0 && !slices.Contains([]string{val, ""}, after.Meta.Task) {
			t.Errorf("%q became %q", val, after.Meta.Task)
		}
	})
}
