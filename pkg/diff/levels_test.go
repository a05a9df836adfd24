package diff_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/eval"
)

func TestConfig(t *testing.T) {
	m := &maker{t: t}
	tokens := func(n int, added ...string) string {
		var vocab []string
		for i := range n {
			vocab = append(vocab, fmt.Sprintf(`"t%d":%d`, i, i))
		}
		var list []string
		for _, a := range added {
			list = append(list, fmt.Sprintf(`{"id":0,"content":%q}`, a))
		}
		return fmt.Sprintf(`{"added_tokens":[%s],"normalizer":null,"model":{"type":"BPE","vocab":{%s},"merges":["a b",["c","d"]]}}`, strings.Join(list, ","), strings.Join(vocab, ","))
	}
	from := []diff.File{
		m.text("config.json", `{"rope_theta":10000.0}`), m.text("generation_config.json", `{}`), m.text("tokenizer.json", tokens(5, "<s>")),
		m.text("chat_template.jinja", "a\nb\n"), m.text("model.safetensors.index.json", `{"weight_map":{"a":"b"}}`), m.text("old.json", "{}"),
	}
	to := []diff.File{
		m.text("config.json", `{"rope_theta":500000}`), m.text("generation_config.json", `{ }`), m.text("tokenizer.json", tokens(7, "<s>", "<|x|>")),
		m.text("chat_template.jinja", "a\nc\n"), m.text("model.safetensors.index.json", `{"weight_map":{"a":"c"}}`), m.text("new.json", "[]"),
	}
	a := diff.Side{Files: from, Config: []byte(`{"descriptor":{"name":"a"},"config":{"paramSize":"1B"},"modelfs":{"diffIds":["x"]}}`)}
	b := diff.Side{Files: to, Config: []byte(`{"descriptor":{"name":"a"},"config":{"paramSize":"2B"},"modelfs":{"diffIds":["y"]}}`)}
	res, err := diff.Compare(t.Context(), a, b, diff.Options{Levels: diff.Levels{Config: true}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range res.Config {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", c.File, c.Path, c.Op, c.From, c.To))
		if c.Text != nil {
			line += fmt.Sprintf(" +%d-%d", c.Text.Added, c.Text.Removed)
		}
		got = append(got, line)
	}
	want := []string{
		"config.json rope_theta changed 10000 500000",
		`(model config) config.paramSize changed "1B" "2B"`,
		"chat_template.jinja  changed +1-1",
		"new.json  added",
		"old.json  removed",
		"tokenizer.json vocabulary changed 5 7",
		"tokenizer.json vocabulary.new changed 0 2",
		`tokenizer.json added_tokens added  "<|x|>"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCard(t *testing.T) {
	m := &maker{t: t}
	from := m.text("README.md", `---
license: mit
language: en
tags: [a, b]
extra: {x: 1}
---
Before.

# M

## Uses

`+"```sh\n# not a heading\n```"+`

It is good at English.

## Gone

x
## Uses

again
`)
	to := m.text("README.md", `---
license: apache-2.0
language: [en, de]
tags: [b, a]
extra: {x: 2}
datasets: [d]
---
Before.

# M

## Uses

`+"```sh\n# not a heading\n```"+`

It is good at German.
## Uses

again

### New

text
`)
	res := compare(t, []diff.File{from}, []diff.File{to}, diff.Options{Levels: diff.Levels{Card: true}})
	var got []string
	for _, c := range res.Card {
		var line strings.Builder
		line.WriteString(fmt.Sprintf("%s%s %s %s%s +%v -%v", c.Field, c.Section, c.Op, c.From, c.To, c.Added, c.Removed))
		for _, w := range c.Words {
			if w.Op != "=" {
				line.WriteString(" " + w.Op + strings.TrimSpace(w.Text))
			}
		}
		got = append(got, line.String())
	}
	want := []string{
		"datasets added  +[d] -[]",
		"extra.x changed 12 +[] -[]",
		"language changed  +[de] -[]",
		`license changed "mit""apache-2.0" +[] -[]`,
		"M / Uses changed  +[] -[] -English +German",
		"M / Uses / New added  +[] -[] +text",
		"M / Gone removed  +[] -[] -x",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	t.Run("one that came later", func(t *testing.T) {
		later, err := diff.Compare(t.Context(), diff.Side{Files: []diff.File{from}}, diff.Side{Files: []diff.File{from}, Card: []byte("---\nlicense: mit\n---\n")}, diff.Options{Levels: diff.Levels{Card: true}})
		if err != nil || len(later.Card) == 0 {
			t.Errorf("card = %+v, %v", later, err)
		}
	})
}

// TestSectionsAreBounded checks that a title above many others costs what it is
// shown as, and that nothing is lost where there are too many.
func TestSectionsAreBounded(t *testing.T) {
	card := "# " + strings.Repeat("A", 300_000) + "\n" + strings.Repeat("## n\n", 60_000)
	levels := diff.Options{Levels: diff.Levels{Card: true}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	res, err := diff.Compare(t.Context(), diff.Side{Card: []byte(card)}, diff.Side{Card: []byte(card + "the last word\n")}, levels)
	runtime.ReadMemStats(&after)
	if err != nil || len(res.Card) != 1 || res.Card[0].Op != diff.Changed || len(res.Card[0].Section) > 1000 {
		t.Errorf("Compare = %d changes, %v, want the one of the last section", len(res.Card), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 200<<20 {
		t.Errorf("%d MiB were allocated for a card of 0.6 MB", used>>20)
	}
}

func metric(name string, value, stderr float64, by string) diff.Metric {
	r := eval.FromCard([]card.Result{{Task: "qa", Dataset: card.Dataset{ID: "d", Revision: "1"}, Metric: card.Metric{Type: name}, Value: fmt.Sprint(value)}})
	if stderr > 0 {
		r[0].Stderr = &stderr
	}
	return diff.Metric{Result: r[0], By: by}
}

func TestMetrics(t *testing.T) {
	a := diff.Side{Metrics: []diff.Metric{metric("accuracy", 0.5, 0.01, "card"), metric("perplexity", 10, 0, "card"), metric("f1", 0.5, 0.1, ""), metric("gone", 1, 0, "")}}
	b := diff.Side{Metrics: []diff.Metric{metric("accuracy", 0.6, 0.01, "publisher"), metric("perplexity", 12, 0, "card"), metric("f1", 0.51, 0.1, ""), metric("come", 1, 0, "")}}
	res, err := diff.Compare(t.Context(), a, b, diff.Options{Levels: diff.Levels{Metrics: true}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range res.Metrics {
		line := m.Metric + " " + m.Verdict + " " + m.FromBy + ">" + m.ToBy
		if m.Significant != nil {
			line += fmt.Sprintf(" significant %v", *m.Significant)
		}
		got = append(got, line)
	}
	want := []string{"accuracy better card>publisher significant true", "come added >", "f1 better > significant false", "gone removed >", "perplexity worse card>card"}
	if d := cmp.Diff(want, got); d != "" || !res.Different {
		t.Error(d)
	}
}

// Whatever tells two measurements apart, a report of them shows.
func TestMetricsAreToldApart(t *testing.T) {
	variant := func(change func(*eval.Result)) diff.Metric {
		m := metric("exact_match", 0.5, 0.01, "")
		change(&m.Result)
		return m
	}
	side := diff.Side{Metrics: []diff.Metric{
		variant(func(r *eval.Result) { r.Metric.Filter = "strict-match" }),
		variant(func(r *eval.Result) { r.Metric.Filter = "flexible-extract" }),
		variant(func(r *eval.Result) { r.Dataset.Config = "main" }),
		variant(func(r *eval.Result) { r.Dataset.Split = "validation" }),
		variant(func(r *eval.Result) { r.Dataset.Revision = strings.Repeat("2", 40) }),
	}}
	res, err := diff.Compare(t.Context(), side, diff.Side{}, diff.Options{Levels: diff.Levels{Metrics: true}})
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string]string{"Markdown": res.Markdown(false), "HTML": res.HTML(false)} {
		for _, want := range []string{
			"exact_match (strict-match)", "exact_match (flexible-extract)", "qa / d@1 / main", "qa / d@1 / validation", "qa / d@222222222222222",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not have %q:\n%s", form, want, text)
			}
		}
	}
}

func TestTrust(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	a := diff.Side{Trust: []diff.Evidence{
		{Kind: "signature", By: "ci", Verified: true, Digest: "1"},
		{Kind: "attestation", Type: "scan", By: "ci", Created: day(1), Digest: "2"},
		{Kind: "attestation", Type: "scan", By: "ci", Created: day(2), Digest: "3"},
		{Kind: "attestation", Type: "review", By: "ann", Digest: "4"},
	}}
	b := diff.Side{Trust: []diff.Evidence{
		{Kind: "signature", By: "ci", Digest: "5"},
		{Kind: "attestation", Type: "scan", By: "ci", Created: day(9), Digest: "6"},
		{Kind: "attestation", Type: "review", By: "bob", Digest: "7"},
	}}
	res, err := diff.Compare(t.Context(), a, b, diff.Options{Levels: diff.Levels{Trust: true}})
	if err != nil {
		t.Fatal(err)
	}
	tr := res.Trust
	if len(tr.Gained) != 1 || tr.Gained[0].By != "bob" || len(tr.Lost) != 1 || tr.Lost[0].By != "ann" ||
		len(tr.Changed) != 1 || tr.Changed[0].To.Digest != "5" ||
		len(tr.Kept) != 1 || !tr.Kept[0].From.Created.Equal(day(2)) || !tr.Kept[0].To.Created.Equal(day(9)) {
		t.Errorf("trust = %+v", tr)
	}
	t.Run("of a directory nothing is known", func(t *testing.T) {
		res, err := diff.Compare(t.Context(), a, diff.Side{}, diff.Options{})
		if err != nil || res.Trust != nil {
			t.Errorf("trust = %+v, %v", res.Trust, err)
		}
	})
}

// All that comes from versions stands in code.
func TestMarkdown(t *testing.T) {
	m := &maker{t: t}
	evil := "@all <script>|`` ![x](http://e) \x1b[31m\u202e"
	from := []diff.File{m.text("a.md", "one\n"), m.text(evil+".py", "x\n"), m.text("config.json", "{}"), m.text("README.md", "# T\nold\n")}
	to := []diff.File{m.text("a.md", "```\n</details>\n"), m.text("b.py", "y\n"), m.text("config.json", fmt.Sprintf(`{%s:1}`, quote(t, evil))), m.text("README.md", "# T\n"+evil+"\n"), m.weights("w.safetensors", tensor(evil, 4, 1))}
	res := compare(t, from, to, diff.Options{Levels: diff.All})
	got := res.Markdown(false)
	for line := range strings.SplitSeq(got, "\n") {
		if strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("%q has control characters", line)
		}
		if outside := strip(line); !strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "-") && (strings.Contains(outside, "@all") || strings.Contains(outside, "<script") || strings.Contains(outside, "![x]")) {
			t.Errorf("%q shows text outside of code", line)
		}
	}
	if !strings.Contains(got, "````diff\n") {
		t.Errorf("a text with a fence is not fenced by more:\n%s", got)
	}
	if stat := res.Markdown(true); strings.Contains(stat, "<details>") || !strings.Contains(stat, "**Tensors**") {
		t.Errorf("stat = %s", stat)
	}
}

// Whatever versions hold, a page has no other elements than a comparison needs, and
// no attributes but classes and scopes.
func TestHTML(t *testing.T) {
	m := &maker{t: t}
	evil := "<script>alert(1)</script> &lt; \" onclick='x' \x1b[31m\u202e"
	from := []diff.File{m.text("a.md", "one\n"), m.text(evil+".py", "x\n"), m.text("config.json", "{}"), m.text("README.md", "# T\nold\n")}
	to := []diff.File{m.text("a.md", evil+"\n</pre>\n"), m.text("b.py", "y\n"), m.text("config.json", fmt.Sprintf(`{%s:1}`, quote(t, evil))), m.text("README.md", "# T\n"+evil+"\n"), m.weights("w.safetensors", tensor(evil, 4, 1))}
	res := compare(t, from, to, diff.Options{Levels: diff.All})
	got := res.HTML(false)
	element := regexp.MustCompile(`</?(?:section|h2|table|tr|th|td|details|summary|pre|code|span|p)(?: class="diff(?:-added|-removed)?"| scope="(?:row|col)")?>`)
	if rest := element.ReplaceAllString(got, ""); strings.ContainsAny(rest, "<>\x1b\u202e") {
		t.Errorf("other elements, or what is not seen:\n%s", rest)
	}
	for _, want := range []string{"&lt;script&gt;", `<span class="diff-added">+&lt;/pre&gt;</span>`, "<summary>Tensors</summary>", `\u202e`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if stat := res.HTML(true); strings.Contains(stat, "<details>") || !strings.Contains(stat, ">Tensors</th>") {
		t.Errorf("stat = %s", stat)
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// strip removes what stands in code, by the rule of CommonMark: a run of
// backquotes opens, one of the same length closes.
func strip(line string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(line, '`')
		if i < 0 {
			return out.String() + line
		}
		out.WriteString(line[:i])
		n := len(line[i:]) - len(strings.TrimLeft(line[i:], "`"))
		rest := line[i+n:]
		end := -1
		for j := 0; j < len(rest); {
			if rest[j] != '`' {
				j++
				continue
			}
			k := len(rest[j:]) - len(strings.TrimLeft(rest[j:], "`"))
			if k == n {
				end = j + k
				break
			}
			j += k
		}
		if end < 0 {
			return out.String() + line[i:]
		}
		line = rest[end:]
	}
}

// A result has JSON with all keys, whatever is in it.
func TestResultJSON(t *testing.T) {
	raw, err := json.Marshal(compare(t, nil, nil, diff.Options{Levels: diff.All}))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"files":{`, `"config":[]`, `"tensors":{`, `"card":[]`, `"metrics":[]`, `"different":false`} {
		if !strings.Contains(string(raw), key) {
			t.Errorf("%s is not in %s", key, raw)
		}
	}
}
