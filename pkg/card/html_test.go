package card_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/card"
)

const rel = ` rel="nofollow noopener ugc"`

func TestHTML(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"empty":     {"", ""},
		"paragraph": {"a *b* **c** ~~d~~ `e<`", "<p>a <em>b</em> <strong>c</strong> <del>d</del> <code>e&lt;</code></p>\n"},
		"code":      {"```c++\nint a;\n```", "<pre><code class=\"language-c++\">int a;\n</code></pre>\n"},
		"table": {
			"|a|b|\n|:-:|-|\n|c|d\\|e|",
			"<table>\n<thead>\n<tr>\n<th align=\"center\">a</th>\n<th>b</th>\n</tr>\n</thead>\n" +
				"<tbody>\n<tr>\n<td align=\"center\">c</td>\n<td>d|e</td>\n</tr>\n</tbody>\n</table>\n",
		},
		"tasks":     {"- [x] a\n- [ ] b", "<ul>\n<li>☑ a</li>\n<li>☐ b</li>\n</ul>\n"},
		"autolinks": {"www.a.bc x@y.zz", `<p><a href="http://www.a.bc"` + rel + `>www.a.bc</a> <a href="mailto:x@y.zz"` + rel + ">x@y.zz</a></p>\n"},
		"heading":   {"## The *New* `Model` (v1.0)!", "<h2 id=\"user-content-the-new-model-v10\">The <em>New</em> <code>Model</code> (v1.0)!</h2>\n"},
		"headings of one name": {
			"# a\n# a\n# a-1\n# 模型 b",
			"<h1 id=\"user-content-a\">a</h1>\n<h1 id=\"user-content-a-1\">a</h1>\n" +
				"<h1 id=\"user-content-a-1-1\">a-1</h1>\n<h1 id=\"user-content-模型-b\">模型 b</h1>\n",
		},
		"heading without letters": {"# !", "<h1 id=\"user-content-section\">!</h1>\n"},
		"contents":                {"[a](#a) <a name=b></a>", `<p><a href="#user-content-a"` + rel + `>a</a> <a id="user-content-b"></a></p>` + "\n"},
		"prefix is not doubled":   {"[a](#user-content-a)", `<p><a href="#user-content-a"` + rel + ">a</a></p>\n"},
		"details":                 {"<details><summary>a</summary>\n\nb\n\n</details>", "<details><summary>a</summary>\n<p>b</p>\n</details>"},
		"details, open":           {"<details open>a</details>", `<details open="">a</details>`},
		"centred":                 {"<div align=\"center\">\n\n# a\n\n</div>", "<div align=\"center\">\n<h1 id=\"user-content-a\">a</h1>\n</div>"},
		"image with a size":       {"<img src=\"a.png\" width=\"50%\" height=20 alt=\"A & B\">", `<img width="50%" height="20" src="a.png" alt="A &amp; B" loading="lazy">`},
		"comment":                 {"a <!-- b --> c", "<p>a  c</p>\n"},
		"frame's fallback":        {"<iframe src=x>open *a*</iframe>", "open *a*"},
		"unknown element":         {"<font color=red>a</font> <x-b>c</x-b>", "<p>a c</p>\n"},
		"list left open":          {"<ul><li>a<li>b</ul>c", "<ul><li>a</li><li>b</li></ul>c"},
		"table left open":         {"<table><tr><td>a<td>b<tr><td>c</table>", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"},
		"crossed":                 {"<b>a<i>b</b>c</i>", "<p><b>a<i>b</i></b>c</p>\n"},
		"end of nothing":          {"a</div></b>", "<p>a</p>\n"},
		"link in a link":          {"<a href=\"/a\">b www.c.de</a>", `<p><a href="/a"` + rel + ">b www.c.de</a></p>\n"},
		"anchor left open":        {"<a name=x>\n\n[b](c)", `<a id="user-content-x">` + "\n<p></p></a><a href=\"c\"" + rel + ">b</a>\n"},
		"control characters":      {"a\x1b[31mb\u202ec&#x202e;d", "<p>a\\x1b[31mb\\u202ec\\u202ed</p>\n"},
		"not UTF-8":               {"a\xffb", "<p>a\ufffdb</p>\n"},
		"NUL":                     {"a\x00b", "<p>a\ufffdb</p>\n"},
		"right to left":           {"<p dir=rtl lang=ar>a</p>", `<p dir="rtl" lang="ar">a</p>`},
		"list from ten":           {"10. a", "<ol start=\"10\">\n<li>a</li>\n</ol>\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			checkHTML(t, tt.body, tt.want, card.HTMLOptions{})
		})
	}
}

func checkHTML(t *testing.T, body, want string, opts card.HTMLOptions) {
	t.Helper()
	got, err := parse(t, body).HTML(opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("HTML of %q (-want +got):\n%s", body, diff)
	}
	if bad := unsafeParts(got); bad != nil {
		t.Errorf("HTML lets through %q", bad)
	}
}

func TestHTMLLinks(t *testing.T) {
	const base = "/acme/tiny/blob/main/"
	tests := map[string]struct{ href, want string }{
		"web":             {"https://a.example/b?c=d#e", "https://a.example/b?c=d#e"},
		"no scheme":       {"//a.example/b", "https://a.example/b"},
		"backslashes":     {`\\a.example\b`, "https://a.example/b"},
		"mail":            {"mailto:a@b.example", "mailto:a@b.example"},
		"file":            {"docs/a.md", base + "docs/a.md"},
		"file, dots":      {"./docs/../a.md", base + "a.md"},
		"out of the card": {"../../../secret", base + "secret"},
		"dots, encoded":   {"%2e%2e/%2e%2e/secret", base + "secret"},
		"directory":       {"docs/", base + "docs/"},
		"with fragment":   {"docs/a.md#b", base + "docs/a.md#user-content-b"},
		"colon":           {"./a:b", base + "a:b"},
		"site":            {"/other/model", "/other/model"},
		"fragment":        {"#b", "#user-content-b"},
		"other scheme":    {"ftp://a.example/", ""},
		"script":          {"javascript:alert(1)", ""},
		"password":        {"https://a:b@c.example/", ""},
		"not a URL":       {"http://[", ""},
		"no host":         {"http:/b", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := "<p><a>x</a></p>\n"
			if tt.want != "" {
				want = `<p><a href="` + tt.want + `"` + rel + ">x</a></p>\n"
			}
			opts := card.HTMLOptions{BaseURL: base}
			checkHTML(t, `<a href="`+tt.href+`">x</a>`, want, opts)
		})
	}
}

func TestHTMLImages(t *testing.T) {
	files := map[string]string{
		"a.png":       "/raw/a.png",
		"img/é b.png": "/raw/img/%C3%A9%20b.png",
		"away.png":    "https://evil.example/away.png",
		"slash.png":   "//evil.example/slash.png",
		"script.png":  "javascript:alert(1)",
	}
	opts := card.HTMLOptions{ResolveImage: func(path string) string { return files[path] }}
	image := func(src string) string { return `<img src="` + src + `" alt="x" loading="lazy">` }
	tests := map[string]struct{ body, want string }{
		"of the artifact":        {"![x](a.png)", image("/raw/a.png")},
		"dots":                   {"![x](./img/../a.png)", image("/raw/a.png")},
		"from the top":           {"![x](/a.png)", image("/raw/a.png")},
		"query is dropped":       {"![x](a.png?raw=true)", image("/raw/a.png")},
		"other characters":       {"![x](img/é%20b.png)", image("/raw/img/%C3%A9%20b.png")},
		"not there":              {"![x](b.png)", "x"},
		"resolved to elsewhere":  {"![x](away.png)", "x"},
		"resolved to a host":     {"![x](slash.png)", "x"},
		"resolved to a script":   {"![x](script.png)", "x"},
		"of another site":        {"![x](https://a.example/b.png)", `<a href="https://a.example/b.png"` + rel + ">x</a>"},
		"without description":    {"![](https://a.example/b.png)", `<a href="https://a.example/b.png"` + rel + ">image at a.example</a>"},
		"inside a link":          {"[![x](https://a.example/b.svg)](https://c.example)", `<a href="https://c.example"` + rel + ">x</a>"},
		"data":                   {"![x](data:image/png;base64,AAAA)", "x"},
		"no source":              {"a <img alt=x>", "a x"},
		"inside a link, allowed": {"[![x](a.png)](b)", `<a href="b"` + rel + `>` + image("/raw/a.png") + "</a>"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			checkHTML(t, tt.body, "<p>"+tt.want+"</p>\n", opts)
		})
	}
	checkHTML(t, "![x](a%20b.png)", "<p>"+image("/acme/raw/a%20b.png")+"</p>\n", card.HTMLOptions{BaseURL: "/acme/raw/"})
}

func TestHTMLRefusesTooMuch(t *testing.T) {
	tests := map[string]string{
		"lines": strings.Repeat("\n", 1<<16+1),
		"links": "[a]: /" + strings.Repeat("u", 4000) + "\n\n" + strings.Repeat("[a] ", 10000),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, body).HTML(card.HTMLOptions{}); !errors.Is(err, card.ErrTooLarge) {
				t.Errorf("error = %v, want ErrTooLarge", err)
			}
		})
	}
}
