package card_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/modelreg/modelreg/pkg/card"
)

var sgr = regexp.MustCompile(`\x1b\[[0-9;]*m`)

func render(t *testing.T, body string, opts card.TextOptions) string {
	t.Helper()
	var b strings.Builder
	if err := parse(t, body).Text(&b, opts); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"empty":          {"", ""},
		"headings":       {"# A\n## B *c*\ntext", "# A\n\n## B c\n\ntext\n"},
		"paragraphs":     {"a\nb\n\nc  \nd", "a b\n\nc\nd\n"},
		"wrapped":        {"aaaa bbbb cccc dddd eeee ffff gggg", "aaaa bbbb cccc dddd eeee ffff\ngggg\n"},
		"long word":      {"a " + strings.Repeat("b", 40) + " c", "a\n" + strings.Repeat("b", 40) + "\nc\n"},
		"wide":           {strings.Repeat("模型", 10), strings.Repeat("模型", 7) + "模\n" + "型" + strings.Repeat("模型", 2) + "\n"},
		"wide and not":   {"模型 model 模型卡 card 模型", "模型 model 模型卡 card 模型\n"},
		"code":           {"```go\nx := 1\n\n\ty // " + strings.Repeat("z", 40) + "\n```", "    x := 1\n\n        y // " + strings.Repeat("z", 40) + "\n"},
		"code span":      {"use `a b`", "use `a b`\n"},
		"link":           {"see [docs](https://a.example/b)", "see docs (https://a.example/b)\n"},
		"autolink":       {"https://a.example/b x@y.zz", "https://a.example/b x@y.zz\n"},
		"link in page":   {"[a](#b) <a name=c>d</a>", "a d\n"},
		"image":          {"![a chart](c.png) ![](d.png)", "[image: a chart] [image:\nd.png]\n"},
		"foreign image":  {"![b](https://a.example)", "b (https://a.example)\n"},
		"rule":           {"a\n\n---\n\nb", "a\n\n" + strings.Repeat("─", 30) + "\n\nb\n"},
		"quote":          {"a\n\n> b\n> c\n>\n> d\n\ne", "a\n\n│ b c\n│\n│ d\n\ne\n"},
		"quote, wrapped": {"> aaaa bbbb cccc dddd eeee ffff", "│ aaaa bbbb cccc dddd eeee\n│ ffff\n"},
		"list": {
			"a\n- b\n- c\n  - d\n  - aaaa bbbb cccc dddd eeee ffff\n\ne",
			"a\n\n- b\n- c\n  - d\n  - aaaa bbbb cccc dddd eeee\n    ffff\n\ne\n",
		},
		"numbers":       {"9. a\n10. b\n    c", "9. a\n10. b c\n"},
		"loose list":    {"- a\n\n  b\n\n- c", "- a\n\n  b\n\n- c\n"},
		"empty item":    {"- a\n-\n- c", "- a\n-\n- c\n"},
		"tasks":         {"- [x] a\n- [ ] b", "- ☑ a\n- ☐ b\n"},
		"code in list":  {"- a\n\n  ```\n  b\n  ```", "- a\n\n      b\n"},
		"table":         {"|name|n|\n|-|-:|\n|a|1|\n|模型|22|", "name   n\n────  ──\na      1\n模型  22\n"},
		"centred":       {"|name|n|\n|:-:|-|\n|a|1|", "name  n\n────  ─\n a    1\n"},
		"table, tight":  {"|a|b|\n|-|-|\n|aaaa bbbb cccc dddd|eeee ffff gggg hhhh|", "a               b\n──────────────  ──────────────\naaaa bbbb cccc  eeee ffff gggg\ndddd            hhhh\n"},
		"table, broad":  {"|a|b|c|d|e|f|\n|-|-|-|-|-|-|\n|1|2|3|4|5|6|\n|7||||||", "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\n\na: 7\n"},
		"HTML table":    {"<table><caption>C</caption><tr><th>a<td>b<tr><td colspan=2><ul><li>c<li>d</ul></table>", "C\na    b\n───  ─\n- c\n- d\n"},
		"nested table":  {"<table><tr><td>a<table><tr><td>b<td>c</table></table>", "a\nb\nc\n"},
		"HTML":          {"<div align=center>\n<b>a</b><br>b <i>c</i>\n</div>\n\n<details><summary>d</summary>\n\ne\n\n</details>", "a\nb c\n\nd\n\ne\n"},
		"definitions":   {"<dl><dt>a<dd>b</dl>", "a\n    b\n"},
		"scripts go":    {"a <script>b</script> c", "a c\n"},
		"entities":      {"&lt;b&gt; &amp; &#65;", "<b> & A\n"},
		"escapes":       {"a\x1b]0;t\x07\x9b31m\u202eb\u2028c&#27;[2J\x7f", "a\\x1b]0;t\\x07\ufffd31m\\u202eb\\u2028c\\x1b[2J\\x7f\n"},
		"escapes, code": {"    a\x1b[31m\u2066", "    a\\x1b[31m\\u2066\n"},
		"escapes, URL":  {"[a](https://b.example/\u202e)", "a\n(https://b.example/%E2%80%AE)\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := render(t, tt.body, card.TextOptions{Width: 30})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextInColor(t *testing.T) {
	body := "# A\n\nb **c** *d* `e` ~~f~~ [g h](https://i.example) and a tail\n\n```\nj\n```\n"
	got := render(t, body, card.TextOptions{Width: 20, Color: true})
	want := "\x1b[1m# A\x1b[0m\n\n" +
		"b \x1b[1mc\x1b[0m \x1b[3md\x1b[0m \x1b[36me\x1b[0m \x1b[9mf\x1b[0m \x1b[4mg h\x1b[0m\n" +
		"(https://i.example)\nand a tail\n\n" +
		"    \x1b[36mj\x1b[0m\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Text (-want +got):\n%s", diff)
	}
}

func TestTextFitsItsWidth(t *testing.T) {
	words := strings.Repeat("some words, 一些文字, ", 20)
	body := words + "\n\n- " + words + "\n  - " + words + "\n\n> " + words +
		"\n\n|a|b|c|\n|-|-|-|\n|" + words + "|x|" + words + "|\n"
	for _, width := range []int{40, 53, 80, 200, 0, 1000} {
		limit := width
		switch width {
		case 0:
			limit = 80
		case 1000:
			limit = 400
		}
		for line := range strings.Lines(render(t, body, card.TextOptions{Width: width})) {
			if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); w > limit {
				t.Errorf("width %d: line of %d columns: %q", width, w, line)
			}
		}
	}
}

func TestTextReportsWriter(t *testing.T) {
	want := errors.New("disk full")
	if err := parse(t, "a").Text(failing{want}, card.TextOptions{}); !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}

type failing struct{ err error }

func (w failing) Write([]byte) (int, error) { return 0, w.err }

func TestSummary(t *testing.T) {
	long := strings.Repeat("word ", 100)
	tests := map[string]struct{ body, want string }{
		"empty":         {"", ""},
		"first":         {"# Title\n\nA *small*\nmodel & more.\n\nSecond.", "A small model & more."},
		"badges":        {"[![licence](https://a.example/b.svg)](https://c.example) ![x](y.png)\n\nA small model.", "A small model."},
		"row of links":  {"[Paper](https://a.example) | [Code](https://b.example)\n\nA small model.", "A small model."},
		"link in prose": {"A [small](https://a.example) model.", "A small model."},
		"centred HTML":  {"<div align=center><img src=a.png>\n<h1>T</h1>\n</div>\n\n<p align=center>A small model.</p>", "A small model."},
		"not prose":     {"> [!NOTE]\n> quoted\n\n- listed item\n\n|a table|\n|-|\n\n```\nsome code\n```\n\n<details><summary>More text</summary></details>\n\nA small model.", "A small model."},
		"comment":       {"<!-- generated, do not edit -->\n\nA small model.", "A small model."},
		"placeholder":   {"[More Information Needed]\n\nTODO\n\nA small model.", "A small model."},
		"control":       {"A small\x1b[31m model.", `A small\x1b[31m model.`},
		"long":          {long, strings.TrimSpace(strings.Repeat("word ", 59)) + "…"},
		"long word":     {strings.Repeat("é", 301), strings.Repeat("é", 299) + "…"},
		"exactly":       {strings.Repeat("é", 300), strings.Repeat("é", 300)},
		"nothing":       {"# Title\n\n- a\n- b\n", ""},
		"large body":    {"A small model.\n\n" + strings.Repeat("x y z\n", 100_000), "A small model."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parse(t, tt.body).Summary()); diff != "" {
				t.Errorf("Summary (-want +got):\n%s", diff)
			}
		})
	}
}
