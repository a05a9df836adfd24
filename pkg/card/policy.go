package card

import (
	"regexp"

	"github.com/microcosm-cc/bluemonday"
)

// elements are the ones a card may use, each with whether it is void. No
// other element reaches a page: none that runs, fetches, navigates, submits,
// imitates a control or is parsed by rules of its own.
var elements = map[string]bool{
	"a": false, "abbr": false, "b": false, "blockquote": false, "br": true, "caption": false,
	"center": false, "cite": false, "code": false, "col": true, "colgroup": false, "dd": false,
	"del": false, "details": false, "dfn": false, "div": false, "dl": false, "dt": false,
	"em": false, "figcaption": false, "figure": false, "h1": false, "h2": false, "h3": false,
	"h4": false, "h5": false, "h6": false, "hr": true, "i": false, "img": true, "ins": false,
	"kbd": false, "li": false, "mark": false, "ol": false, "p": false, "pre": false, "q": false,
	"rp": false, "rt": false, "ruby": false, "s": false, "samp": false, "small": false,
	"span": false, "strong": false, "sub": false, "summary": false, "sup": false, "table": false,
	"tbody": false, "td": false, "tfoot": false, "th": false, "thead": false, "tr": false,
	"tt": false, "u": false, "ul": false, "var": false, "wbr": true,
}

// Values of attributes. Everything in them is decided here.
var (
	alignValue = regexp.MustCompile(`^(?i:left|center|right|justify)$`)
	sizeValue  = regexp.MustCompile(`^[0-9]{1,4}(?:px|%)?$`)
	spanValue  = regexp.MustCompile(`^[0-9]{1,3}$`)
	startValue = regexp.MustCompile(`^-?[0-9]{1,9}$`)
	listValue  = regexp.MustCompile(`^[1aAiI]$`)
	dirValue   = regexp.MustCompile(`^(?i:ltr|rtl|auto)$`)
	langValue  = regexp.MustCompile(`^[A-Za-z0-9-]{1,35}$`)
	openValue  = regexp.MustCompile(`^(?i:open)?$`)
	lazyValue  = regexp.MustCompile(`^lazy$`)
	relValue   = regexp.MustCompile(`^` + linkRel + `$`)
	titleValue = regexp.MustCompile(`^[^\x00-\x08\x0b\x0c\x0e-\x1f]{0,1000}$`)
	classValue = regexp.MustCompile(`^language-[A-Za-z0-9_+#.-]{1,40}$`)
	idValue    = regexp.MustCompile(`^` + idPrefix + `[^\s"'<>&]{1,250}$`)

	// imageValue is a path below the page or the site: no scheme, no host,
	// and nothing that a browser would read as one.
	imageValue = regexp.MustCompile(`^/?` + pathByte + `+(?:/(?:` + pathByte + `|:)*)*(?:\?(?:` + pathByte + `|[:/])*)?$`)
)

const (
	// idPrefix keeps what a card names apart from what the page and its
	// scripts name.
	idPrefix = "user-content-"
	linkRel  = "nofollow noopener ugc"
	pathByte = `[A-Za-z0-9_%.~!$&'()*+,;=@-]`
)

// newPolicy returns what the last stage of [Card.HTML] lets through. It does
// not trust the stages before it.
func newPolicy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	for name := range elements {
		p.AllowElements(name)
		p.AllowNoAttrs().OnElements(name)
	}
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)

	p.AllowAttrs("id").Matching(idValue).Globally()
	p.AllowAttrs("dir").Matching(dirValue).Globally()
	p.AllowAttrs("lang").Matching(langValue).Globally()
	p.AllowAttrs("title").Matching(titleValue).OnElements("a", "abbr", "img", "dfn")
	p.AllowAttrs("href").OnElements("a")
	p.AllowAttrs("rel").Matching(relValue).OnElements("a")
	p.AllowAttrs("class").Matching(classValue).OnElements("code", "pre")
	p.AllowAttrs("src").Matching(imageValue).OnElements("img")
	p.AllowAttrs("alt").Matching(titleValue).OnElements("img")
	p.AllowAttrs("loading").Matching(lazyValue).OnElements("img")
	p.AllowAttrs("width", "height").Matching(sizeValue).OnElements("img", "table", "td", "th", "col")
	p.AllowAttrs("align").Matching(alignValue).OnElements(
		"p", "div", "img", "table", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6")
	p.AllowAttrs("colspan", "rowspan").Matching(spanValue).OnElements("td", "th")
	p.AllowAttrs("span").Matching(spanValue).OnElements("col", "colgroup")
	p.AllowAttrs("start").Matching(startValue).OnElements("ol")
	p.AllowAttrs("value").Matching(startValue).OnElements("li")
	p.AllowAttrs("type").Matching(listValue).OnElements("ol")
	p.AllowAttrs("open").Matching(openValue).OnElements("details")
	return p
}
