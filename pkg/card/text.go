package card

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
)

const (
	defaultWidth = 80
	maxWidth     = 400
	minTextWidth = 20 // what quotes and lists inside each other leave at least
	maxIndents   = 2 * maxNesting
)

// TextOptions adjusts [Card.Text]. With the zero value lines are 80 columns
// wide and without colour.
type TextOptions struct {
	// Width is the number of columns to wrap at, at most 400. Zero means 80.
	// Code, URLs and tables of many columns may be wider.
	Width int

	// Color allows ANSI sequences for headings, emphasis, code and links.
	// Without it code stands in backquotes.
	Color bool
}

// Text writes the body for a terminal: headings, lists, tables and code laid
// out, each link followed by its URL, images by their description. It shows
// what [Card.HTML] shows, and fails like it. Nothing is written in that case;
// other errors are those of w.
//
// Control characters of the card, also those that turn the direction of text,
// are written as escapes such as \x1b: no sequence reaches the terminal that
// Text did not make itself.
func (c *Card) Text(w io.Writer, opts TextOptions) error {
	safe, err := sanitise(c.Body, &rewriter{})
	if err != nil {
		return err
	}
	width := min(cmp.Or(max(opts.Width, 0), defaultWidth), maxWidth)
	p := &printer{width: width, color: opts.Color}
	p.out.m = &meter{deadline: time.Now().Add(maxRenderTime)}
	if err := p.print(string(safe)); err != nil {
		return fmt.Errorf("lay out card: %w", err)
	}
	_, err = w.Write(p.out.Bytes())
	return err
}

// A printer lays out sanitised HTML for a terminal.
type printer struct {
	width int
	color bool

	out     page
	err     error
	line    []piece // of the paragraph that is being collected
	styles  []style // of open inline elements
	links   []link  // open ones
	indents []indent
	lists   []list
	pre     bool
	gapDue  bool // an empty line before the next line
	table   *table
}

// A link is an open link: where it leads, and where its text begins.
type link struct {
	href  string
	start int
}

// A list counts the items of a list.
type list struct {
	ordered bool
	next    int
}

// An indent is put before each line, its first form once.
type indent struct {
	first, rest string
	used        bool
}

func (p *printer) print(src string) error {
	z := html.NewTokenizer(strings.NewReader(src))
	for p.err == nil {
		switch z.Next() {
		case html.ErrorToken:
			p.flush()
			return p.err
		case html.TextToken:
			p.text(z.Token().Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			p.start(z.Token())
		case html.EndTagToken:
			p.end(z.Token().Data)
		case html.CommentToken, html.DoctypeToken:
		}
	}
	return p.err
}

func (p *printer) text(s string) {
	if p.table != nil && !p.table.inCell && strings.TrimSpace(s) == "" {
		return
	}
	var st style
	for _, x := range p.styles {
		st |= x
	}
	if !p.pre || p.table == nil {
		p.line = append(p.line, piece{text: s, style: st, verbatim: p.pre})
		return
	}
	for line := range strings.SplitAfterSeq(s, "\n") {
		p.line = append(p.line, piece{text: line, style: st}, newline)
	}
}

// start lays out the beginning of an element.
func (p *printer) start(t html.Token) {
	if st, ok := inlineStyle(t.Data); ok {
		p.styles = append(p.styles, st)
		if st == code && !p.pre {
			p.quoteCode()
		}
	}
	switch t.Data {
	case "br":
		p.line = append(p.line, newline)
	case "img":
		p.text("[image: " + cmp.Or(attribute(t, "alt"), attribute(t, "src")) + "]")
	case "a":
		p.links = append(p.links, link{attribute(t, "href"), len(p.line)})
	case "table", "tr", "td", "th":
		p.startTable(t)
	default:
		p.startBlock(t)
	}
}

func (p *printer) startBlock(t html.Token) {
	switch t.Data {
	case "h1", "h2", "h3", "h4", "h5", "h6":
		p.paragraph()
		p.styles = append(p.styles, bold)
		p.text(strings.Repeat("#", int(t.Data[1]-'0')) + " ")
	case "p", "details", "dl", "figure":
		p.paragraph()
	case "pre":
		p.paragraph()
		p.pre = true
	case "blockquote":
		p.paragraph()
		p.indent("│ ", "│ ")
	case "hr":
		p.paragraph()
		p.text(strings.Repeat("─", min(p.textWidth(), defaultWidth)))
		p.paragraph()
	case "ul", "ol":
		p.startList(t)
	case "li":
		p.startItem(t)
	case "dd":
		p.flush()
		p.indent("    ", "    ")
	case "dt", "summary":
		p.flush()
		p.styles = append(p.styles, bold)
	case "div", "center", "figcaption", "caption":
		p.flush()
	}
}

// end lays out the end of an element.
func (p *printer) end(name string) {
	if st, ok := inlineStyle(name); ok {
		if st == code && !p.pre {
			p.quoteCode()
		}
		p.styles = p.styles[:max(0, len(p.styles)-1)]
	}
	switch name {
	case "a":
		p.endLink()
	case "table", "tr", "td", "th", "caption":
		p.endTable(name)
	case "h1", "h2", "h3", "h4", "h5", "h6":
		p.paragraph()
		p.styles = p.styles[:max(0, len(p.styles)-1)]
	case "dt", "summary":
		p.flush()
		p.styles = p.styles[:max(0, len(p.styles)-1)]
	case "p", "details", "dl", "figure":
		p.paragraph()
	case "pre":
		p.paragraph()
		p.pre = false
	case "blockquote":
		p.paragraph()
		p.unindent()
	case "ul", "ol":
		p.endList()
	case "li":
		p.endItem()
	case "dd":
		p.flush()
		p.unindent()
	case "div", "center", "figcaption":
		p.flush()
	}
}

// quoteCode marks code where colour cannot.
func (p *printer) quoteCode() {
	if !p.color {
		p.text("`")
	}
}

// endLink writes where a link leads, unless its text says so.
func (p *printer) endLink() {
	n := len(p.links)
	if n == 0 {
		return
	}
	l := p.links[n-1]
	p.links = p.links[:n-1]
	if l.href == "" || strings.HasPrefix(l.href, "#") {
		return
	}
	var b strings.Builder
	for _, x := range p.line[min(l.start, len(p.line)):] {
		b.WriteString(x.text)
	}
	label := strings.TrimSpace(b.String())
	if label != l.href && label != strings.TrimPrefix(l.href, "mailto:") {
		p.text(" (" + l.href + ")")
	}
}

func (p *printer) startList(t html.Token) {
	if len(p.lists) == 0 {
		p.paragraph()
	} else {
		p.flush()
	}
	l := list{ordered: t.Data == "ol", next: 1}
	if n, err := strconv.Atoi(attribute(t, "start")); err == nil {
		l.next = n
	}
	p.lists = append(p.lists, l)
}

func (p *printer) endList() {
	p.flush()
	p.lists = p.lists[:max(0, len(p.lists)-1)]
	p.gapDue = p.gapDue || len(p.lists) == 0 && p.table == nil
}

func (p *printer) startItem(t html.Token) {
	p.flush()
	mark := "- "
	if n := len(p.lists); n > 0 && p.lists[n-1].ordered {
		l := &p.lists[n-1]
		if v, err := strconv.Atoi(attribute(t, "value")); err == nil {
			l.next = v
		}
		mark = strconv.Itoa(l.next) + ". "
		l.next++
	}
	if p.table != nil {
		p.text(mark)
	}
	p.indent(mark, strings.Repeat(" ", len(mark)))
}

// endItem closes an item, also one without text.
func (p *printer) endItem() {
	p.flush()
	if n := len(p.indents); n > 0 && !p.indents[n-1].used && p.table == nil {
		p.writeLine("")
	}
	p.unindent()
}

func attribute(t html.Token, name string) string {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
