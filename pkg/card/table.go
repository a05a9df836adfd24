package card

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

const (
	columnGap      = 2
	minColumnWidth = 4
	maxHeadWidth   = 40
)

// A table collects the cells of a table until its columns can be measured.
type table struct {
	rows   []row
	nested int // tables inside this one, whose cells become lines of a cell
	inCell bool
}

type row struct {
	cells  []cell
	header bool
}

type cell struct {
	pieces []piece
	align  string
}

func (p *printer) startTable(t html.Token) {
	switch {
	case p.table == nil && t.Data == "table":
		p.paragraph()
		p.table = &table{}
	case p.table == nil:
	case t.Data == "table":
		p.table.nested++
		p.flush()
	case p.table.nested > 0:
		p.flush()
	case t.Data == "tr":
		p.closeCell()
		p.table.rows = append(p.table.rows, row{})
	default:
		p.startCell(t)
	}
}

func (p *printer) startCell(t html.Token) {
	p.closeCell()
	if len(p.table.rows) == 0 {
		p.table.rows = append(p.table.rows, row{})
	}
	r := &p.table.rows[len(p.table.rows)-1]
	r.header = r.header || t.Data == "th"
	r.cells = append(r.cells, cell{align: strings.ToLower(attribute(t, "align"))})
	p.line = nil
	p.table.inCell = true
}

// closeCell keeps the text collected as that of the open cell.
func (p *printer) closeCell() {
	if !p.table.inCell {
		return
	}
	r := &p.table.rows[len(p.table.rows)-1]
	r.cells[len(r.cells)-1].pieces = trimBreaks(p.line)
	p.line = nil
	p.table.inCell = false
}

func (p *printer) endTable(name string) {
	switch {
	case p.table == nil:
	case name == "table" && p.table.nested > 0:
		p.table.nested--
	case name == "table":
		p.closeCell()
		t := p.table
		p.table, p.line = nil, nil
		p.writeTable(t)
	case name == "caption":
		t := p.table
		p.table = nil
		p.flush()
		p.table = t
	case p.table.nested == 0:
		p.closeCell()
	}
}

func trimBreaks(pieces []piece) []piece {
	for len(pieces) > 0 && pieces[len(pieces)-1].breaks {
		pieces = pieces[:len(pieces)-1]
	}
	return pieces
}

// writeTable writes the rows of a table in columns, with a rule below its
// head.
func (p *printer) writeTable(t *table) {
	widths := p.columns(t)
	if len(widths)*(minColumnWidth+columnGap) > p.textWidth() {
		p.writeRecords(t)
		return
	}
	for i, r := range t.rows {
		if p.err != nil {
			return
		}
		if len(r.cells) == 0 {
			continue
		}
		p.writeRow(r, widths)
		if r.header && i+1 < len(t.rows) && !t.rows[i+1].header {
			var rule []string
			for _, w := range widths[:len(r.cells)] {
				rule = append(rule, strings.Repeat("─", w))
			}
			p.writeLine(strings.Join(rule, strings.Repeat(" ", columnGap)))
		}
	}
	p.gapDue = true
}

// writeRecords writes a table of too many columns: each cell on a line of its
// own, after the head of its column, and an empty line after each row.
func (p *printer) writeRecords(t *table) {
	var heads []cell
	for i, r := range t.rows {
		if i == 0 && r.header && len(t.rows) > 1 {
			heads = r.cells
			continue
		}
		for x, c := range r.cells {
			if p.err != nil {
				return
			}
			if len(c.pieces) == 0 {
				continue
			}
			var line []piece
			if x < len(heads) && len(heads[x].pieces) > 0 {
				head := wrap(heads[x].pieces, maxHeadWidth)[:1]
				line = slices.Concat(head[0], []piece{{text: ": "}})
			}
			for _, l := range wrap(append(line, c.pieces...), p.textWidth()) {
				p.writeLine(paint(l, p.color))
			}
		}
		p.gapDue = true
	}
}

// columns returns the widths of a table's columns. Where they do not fit
// beside each other the widest are made narrower, all to the same width.
func (p *printer) columns(t *table) []int {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r.cells {
			if i == len(widths) {
				widths = append(widths, 1)
			}
			for _, line := range wrap(c.pieces, maxWidth) {
				widths[i] = min(max(widths[i], lineWidth(line)), maxWidth)
			}
		}
	}
	room := p.textWidth() - columnGap*(len(widths)-1)
	widest := maxWidth
	for widest > minColumnWidth && total(widths, widest) > room {
		widest--
	}
	for i := range widths {
		widths[i] = min(widths[i], widest)
	}
	return widths
}

// total adds widths up, none counted as more than widest.
func total(widths []int, widest int) int {
	n := 0
	for _, w := range widths {
		n += min(w, widest)
	}
	return n
}

// writeRow writes the cells of a row side by side, each wrapped in its
// column.
func (p *printer) writeRow(r row, widths []int) {
	cells := make([][][]piece, len(r.cells))
	height := 0
	for i, c := range r.cells {
		cells[i] = wrap(c.pieces, widths[i])
		height = max(height, len(cells[i]))
	}
	for y := range height {
		if p.err != nil {
			return
		}
		var line []piece
		for x, c := range cells {
			var text []piece
			if y < len(c) {
				text = c[y]
			}
			before, after := pad(widths[x]-lineWidth(text), r.cells[x].align)
			line = append(line, piece{text: before})
			line = append(line, text...)
			line = append(line, piece{text: after})
			if x+1 < len(cells) {
				line = append(line, piece{text: strings.Repeat(" ", columnGap)})
			}
		}
		p.writeLine(paint(line, p.color))
	}
}

// pad returns the blanks on both sides of a cell's text.
func pad(n int, align string) (before, after string) {
	left := 0
	switch n = max(n, 0); align {
	case "right":
		left = n
	case "center":
		left = n / 2
	}
	return strings.Repeat(" ", left), strings.Repeat(" ", n-left)
}
