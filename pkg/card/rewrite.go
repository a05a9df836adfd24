package card

import (
	"io"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// maxOpen is the number of elements that may be open inside each other; the
// tags of deeper ones are dropped, not their text.
const maxOpen = 100

// A rewriter makes well-formed HTML of the elements a card may use: every
// element is closed in order, identifiers are prefixed, links and images
// point where they may, control characters are visible. It goes over tokens,
// not over a tree, so that its cost is that of its input.
type rewriter struct {
	opts       HTMLOptions
	dropImages bool // instead of showing their descriptions

	out    page
	err    error
	open   []string // names of open elements
	linked bool     // inside a link that leads somewhere
	hidden bool     // inside a script or a style sheet
}

// rewrite reads HTML from r and writes it to out.
func (w *rewriter) rewrite(r io.Reader) error {
	z := html.NewTokenizer(r)
	for w.err == nil {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); err != io.EOF {
				return err
			}
			w.closeTo(0)
			return w.err
		case html.TextToken:
			w.text(z.Token().Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			w.start(t)
			if !w.hidden {
				// The content of an iframe or a noscript is what is left to
				// show of it.
				z.NextIsNotRawText()
			}
		case html.EndTagToken:
			w.end(z.Token().Data)
		case html.CommentToken, html.DoctypeToken:
		}
	}
	return w.err
}

func (w *rewriter) write(s string) {
	if w.err == nil {
		_, w.err = w.out.WriteString(s)
	}
}

func (w *rewriter) text(s string) {
	if !w.hidden {
		w.write(html.EscapeString(escapeControls(s)))
	}
}

// start handles the beginning of an element.
func (w *rewriter) start(t html.Token) {
	void, allowed := elements[t.Data]
	switch {
	case t.Data == "script" || t.Data == "style":
		w.hidden = true
	case t.Data == "img":
		w.image(t)
	case void:
		w.tag(t.Data, w.attributes(t))
	case allowed:
		w.push(t)
	}
}

// push opens an element that must be closed.
func (w *rewriter) push(t html.Token) {
	if t.Data == "a" {
		i := slices.Index(w.open, "a")
		if i >= 0 && w.linked {
			return
		}
		if i >= 0 {
			w.closeTo(i)
		}
	}
	w.closeImplied(t.Data)
	if len(w.open) == maxOpen {
		return
	}
	attrs := w.attributes(t)
	if t.Data == "a" {
		w.linked = slices.ContainsFunc(attrs, func(a html.Attribute) bool { return a.Key == "href" })
	}
	w.open = append(w.open, t.Data)
	w.tag(t.Data, attrs)
}

// closeImplied closes the elements that authors leave open before one of this
// name, as far as the next element that they may be inside (HTML, section
// 13.1.2.4).
func (w *rewriter) closeImplied(name string) {
	if n := len(w.open); name == "p" && n > 0 && w.open[n-1] == "p" {
		w.closeTo(n - 1)
	}
	closed, within := implied(name)
	for i := len(w.open) - 1; i >= 0; i-- {
		if slices.Contains(closed, w.open[i]) {
			w.closeTo(i)
			return
		}
		if slices.Contains(within, w.open[i]) {
			return
		}
	}
}

// implied returns the elements that the start of another ends, and those that
// they are searched in.
func implied(name string) (closed, within []string) {
	switch name {
	case "li":
		return []string{"li"}, []string{"ul", "ol", "table", "blockquote", "div"}
	case "dt", "dd":
		return []string{"dt", "dd"}, []string{"dl", "table", "blockquote", "div"}
	case "td", "th":
		return []string{"td", "th"}, []string{"tr", "table"}
	case "tr":
		return []string{"tr"}, []string{"table"}
	case "thead", "tbody", "tfoot":
		return []string{"thead", "tbody", "tfoot", "tr"}, []string{"table"}
	}
	return nil, nil
}

// end closes an element and those left open inside it. It ignores the end of
// what is not open, and does not reach out of the cell of a table.
func (w *rewriter) end(name string) {
	w.hidden = false
	for i := len(w.open) - 1; i >= 0; i-- {
		if w.open[i] == name {
			w.closeTo(i)
			return
		}
		if w.open[i] == "table" || !inTables(name) && inTables(w.open[i]) {
			return
		}
	}
}

// closeTo closes elements until only n are open.
func (w *rewriter) closeTo(n int) {
	for len(w.open) > n {
		name := w.open[len(w.open)-1]
		w.open = w.open[:len(w.open)-1]
		w.write("</" + name + ">")
		if name == "a" {
			w.linked = false
		}
	}
}

func (w *rewriter) tag(name string, attrs []html.Attribute) {
	w.write("<" + name)
	for _, a := range attrs {
		w.write(" " + a.Key + `="` + html.EscapeString(escapeControls(a.Val)) + `"`)
	}
	w.write(">")
}

// attributes returns the attributes of an element with identifiers and links
// rewritten. Which of them stay is the policy's business.
func (w *rewriter) attributes(t html.Token) []html.Attribute {
	var out []html.Attribute
	for _, a := range t.Attr {
		switch a.Key {
		case "id", "name":
			if id := strings.TrimSpace(a.Val); id != "" && (a.Key == "id" || t.Data == "a") {
				out = append(out, html.Attribute{Key: "id", Val: prefixed(id)})
			}
		case "href":
			if u, ok := w.link(a.Val); ok {
				out = append(out,
					html.Attribute{Key: "href", Val: u},
					html.Attribute{Key: "rel", Val: linkRel})
			}
		case "src", "rel":
		default:
			out = append(out, a)
		}
	}
	return out
}

func prefixed(id string) string {
	return idPrefix + strings.TrimPrefix(id, idPrefix)
}

func inTables(name string) bool {
	switch name {
	case "table", "caption", "colgroup", "thead", "tbody", "tfoot", "tr", "td", "th":
		return true
	}
	return false
}
