package ui

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Columns aligns rows of cells, which may be coloured. Nothing is written before
// Flush.
type Columns struct {
	w    io.Writer
	rows [][]string
}

// NewColumns returns columns that are written to w.
func NewColumns(w io.Writer) *Columns { return &Columns{w: w} }

// Row adds a row.
func (c *Columns) Row(cells ...string) { c.rows = append(c.rows, cells) }

// Flush writes the rows, two spaces between columns. A last cell is as long as
// it is.
func (c *Columns) Flush() {
	var widths []int
	for _, row := range c.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], width(cell))
			}
		}
	}
	for _, row := range c.rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", max(widths[i]-width(cell), 0)+2))
			}
		}
		fmt.Fprintln(c.w, strings.TrimRight(b.String(), " "))
	}
	c.rows = nil
}

// width is how many columns of a terminal text takes, without the colours of
// [Style].
func width(text string) int {
	var plain strings.Builder
	for len(text) > 0 {
		before, after, found := strings.Cut(text, "\x1b[")
		plain.WriteString(before)
		if !found {
			break
		}
		_, text, _ = strings.Cut(after, "m")
	}
	return runewidth.StringWidth(plain.String())
}
