package card

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// Bounds of rendering. goldmark takes time that grows with the square of some
// inputs (nested quotes, brackets that close nothing) and memory that grows
// with the product of a table's rows and columns; what is over the bounds is
// shown as the text it is.
const (
	maxOutputBytes = 8 << 20
	maxRenderTime  = 2 * time.Second
	maxLines       = 1 << 16
	maxNesting     = 16      // quotes and lists inside each other
	maxContainers  = 1 << 15 // quotes and lists in all
	maxInlines     = 1 << 17 // emphasis, links, code spans in all
	maxInlineWork  = 1 << 27 // bytes looked at by inline parsers that found nothing
	maxTableCells  = 1 << 16 // in all tables
	maxTablePipes  = 1 << 10 // escaped ones in all tables
	maxSlugBytes   = 200
	maxURLBytes    = 4 << 10
	maxTitleBytes  = 1 << 10
)

// A meter counts what one rendering has cost so far.
type meter struct {
	containers, inlines, work, cells, pipes int
	deadline                                time.Time
}

func (m *meter) late() bool { return time.Now().After(m.deadline) }

// renderMarkdown writes the HTML of src, in which raw HTML and all URLs stand
// as the author wrote them: it is not safe before it was sanitised.
func renderMarkdown(w io.Writer, src []byte, m *meter) error {
	if n := bytes.Count(src, []byte("\n")); n > maxLines {
		return fmt.Errorf("render card: %d lines, limit %d: %w", n, maxLines, ErrTooLarge)
	}
	doc := newParser(m).Parse(text.NewReader(src))
	if m.late() {
		return fmt.Errorf("render card: more than %v: %w", maxRenderTime, ErrTooLarge)
	}
	setHeadingIDs(doc, src)
	dropLongLinks(doc)
	if err := newRenderer().Render(w, src, doc); err != nil {
		return fmt.Errorf("render card: %w", err)
	}
	return nil
}

// newParser returns goldmark's parser with the extensions of GitHub Flavored
// Markdown, each part that can be made expensive wrapped.
func newParser(m *meter) parser.Parser {
	return parser.NewParser(
		parser.WithBlockParsers(
			util.Prioritized(parser.NewSetextHeadingParser(), 100),
			util.Prioritized(parser.NewThematicBreakParser(), 200),
			util.Prioritized(shallow{parser.NewListParser(), m}, 300),
			util.Prioritized(parser.NewListItemParser(), 400),
			util.Prioritized(parser.NewCodeBlockParser(), 500),
			util.Prioritized(parser.NewATXHeadingParser(), 600),
			util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
			util.Prioritized(shallow{parser.NewBlockquoteParser(), m}, 800),
			util.Prioritized(parser.NewHTMLBlockParser(), 900),
			util.Prioritized(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			util.Prioritized(counted{extension.NewTaskCheckBoxParser(), m}, 0),
			util.Prioritized(metered{counted{parser.NewCodeSpanParser(), m}}, 100),
			util.Prioritized(metered{counted{parser.NewLinkParser(), m}}, 200),
			util.Prioritized(metered{counted{parser.NewAutoLinkParser(), m}}, 300),
			util.Prioritized(metered{counted{parser.NewRawHTMLParser(), m}}, 400),
			util.Prioritized(counted{parser.NewEmphasisParser(), m}, 500),
			util.Prioritized(counted{extension.NewStrikethroughParser(), m}, 500),
			util.Prioritized(counted{extension.NewLinkifyParser(), m}, 999),
		),
		parser.WithParagraphTransformers(
			util.Prioritized(parser.LinkReferenceParagraphTransformer, 100),
			util.Prioritized(boundedTable{extension.NewTableParagraphTransformer(), m}, 200),
		),
		parser.WithASTTransformers(util.Prioritized(extension.NewTableASTTransformer(), 0)),
	)
}

// shallow refuses to open containers inside too many others.
type shallow struct {
	parser.BlockParser
	m *meter
}

func (s shallow) Open(parent ast.Node, r text.Reader, pc parser.Context) (ast.Node, parser.State) {
	depth := 0
	for n := parent; n != nil; n = n.Parent() {
		if n.Kind() == ast.KindList || n.Kind() == ast.KindBlockquote {
			depth++
		}
	}
	if depth >= maxNesting || s.m.containers >= maxContainers {
		return nil, parser.NoChildren
	}
	n, state := s.BlockParser.Open(parent, r, pc)
	if n != nil {
		s.m.containers++
	}
	return n, state
}

// counted stops an inline parser when the document has too many inline nodes.
type counted struct {
	parser.InlineParser
	m *meter
}

func (c counted) Parse(parent ast.Node, block text.Reader, pc parser.Context) ast.Node {
	if c.m.inlines >= maxInlines {
		return nil
	}
	n := c.InlineParser.Parse(parent, block, pc)
	if n != nil {
		c.m.inlines++
	}
	return n
}

// CloseBlock passes the end of a block on to parsers that want it.
func (c counted) CloseBlock(parent ast.Node, block text.Reader, pc parser.Context) {
	if cb, ok := c.InlineParser.(parser.CloseBlocker); ok {
		cb.CloseBlock(parent, block, pc)
	}
}

// metered stops an inline parser that has looked through too much text in
// vain. Each attempt may look at the whole block.
type metered struct{ counted }

func (p metered) Parse(parent ast.Node, block text.Reader, pc parser.Context) ast.Node {
	if p.m.work > maxInlineWork {
		return nil
	}
	closing := block.Peek() == ']'
	n := p.counted.Parse(parent, block, pc)
	if lines := parent.Lines(); (n == nil || closing) && lines.Len() > 0 {
		p.m.work += lines.At(lines.Len()-1).Stop - lines.At(0).Start
		if p.m.late() {
			p.m.work = maxInlineWork + 1
		}
	}
	return n
}

// boundedTable leaves paragraphs alone that would be a table of too many
// cells: goldmark fills up short rows, so two bytes of input can make a
// thousand cells.
type boundedTable struct {
	parser.ParagraphTransformer
	m *meter
}

func (t boundedTable) Transform(n *ast.Paragraph, r text.Reader, pc parser.Context) {
	lines, columns := n.Lines(), 0
	for i := range lines.Len() {
		seg := lines.At(i)
		line := seg.Value(r.Source())
		t.m.pipes += bytes.Count(line, []byte(`\|`))
		if i > 0 && len(bytes.Trim(line, " \t\r\n|:-")) == 0 {
			columns = max(columns, 1+bytes.Count(line, []byte("|")))
		}
	}
	t.m.cells += columns * lines.Len()
	if t.m.cells <= maxTableCells && t.m.pipes <= maxTablePipes {
		t.ParagraphTransformer.Transform(n, r, pc)
	}
}

func newRenderer() renderer.Renderer {
	align := extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)
	return renderer.NewRenderer(renderer.WithNodeRenderers(
		util.Prioritized(html.NewRenderer(html.WithUnsafe()), 1000),
		util.Prioritized(extension.NewTableHTMLRenderer(align), 500),
		util.Prioritized(extension.NewStrikethroughHTMLRenderer(), 500),
		util.Prioritized(taskBoxes{}, 500),
	))
}

// taskBoxes draws the boxes of task lists as characters: a card has no
// business with form controls.
type taskBoxes struct{}

func (taskBoxes) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(extast.KindTaskCheckBox, func(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		box := "☐ "
		if c, ok := n.(*extast.TaskCheckBox); ok && c.IsChecked {
			box = "☑ "
		}
		_, err := w.WriteString(box)
		return ast.WalkContinue, err
	})
}

// setHeadingIDs gives each heading the identifier that GitHub and the Hugging
// Face Hub would give it, so that tables of contents work.
func setHeadingIDs(doc ast.Node, src []byte) {
	seen := make(map[string]int)
	// The callback returns no error.
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering || n.Type() == ast.TypeInline {
			return ast.WalkSkipChildren, nil
		}
		if n.Kind() != ast.KindHeading {
			return ast.WalkContinue, nil
		}
		base := slug(inlineText(n, src))
		id := base
		for _, taken := seen[id]; taken; _, taken = seen[id] {
			seen[base]++
			id = fmt.Sprintf("%s-%d", base, seen[base])
		}
		seen[id] = 0
		n.SetAttributeString("id", []byte(id))
		return ast.WalkSkipChildren, nil
	})
}

// dropLongLinks empties what is too long for a URL or a title. Links by
// reference repeat both, so that little input would make much output.
func dropLongLinks(doc ast.Node) {
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			n.Destination, n.Title = shortOnly(n.Destination, maxURLBytes), shortOnly(n.Title, maxTitleBytes)
		case *ast.Image:
			n.Destination, n.Title = shortOnly(n.Destination, maxURLBytes), shortOnly(n.Title, maxTitleBytes)
		}
		return ast.WalkContinue, nil
	})
}

func shortOnly(b []byte, limit int) []byte {
	if len(b) > limit {
		return nil
	}
	return b
}

// inlineText returns the text of a heading without its markup.
func inlineText(n ast.Node, src []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering || b.Len() > maxSlugBytes {
			return ast.WalkSkipChildren, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Segment.Value(src))
		case *ast.String:
			b.Write(n.Value)
		case *ast.AutoLink:
			b.Write(n.Label(src))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

func slug(s string) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		switch {
		case b.Len() >= maxSlugBytes:
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			b.WriteRune(unicode.ToLower(r))
		}
	}
	if b.Len() == 0 {
		return "section"
	}
	return b.String()
}
