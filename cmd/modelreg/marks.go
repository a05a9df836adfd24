package main

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
)

// maxMark bounds what a table shows of a status, in characters. Reasons are text of
// whoever stated them, and can be long; "modelreg inspect" shows all of one.
const maxMark = 60

// A markedTable is a table of versions, with one more column if some of them were
// deprecated or yanked.
type markedTable struct {
	columns *ui.Columns
	style   ui.Style
	rows    [][]string
	marks   []string
}

// markedTable begins a table. Titles are separated by tabs.
func (a *app) markedTable(w io.Writer, titles string) *markedTable {
	return &markedTable{
		columns: ui.NewColumns(w), style: a.printer.Style(),
		rows: [][]string{strings.Split(titles, "\t")}, marks: []string{"STATUS"},
	}
}

// row adds a version with what became of it, nil for one that may be used. Cells are
// shown as they are.
func (t *markedTable) row(status *hub.State, cells ...string) {
	t.rows, t.marks = append(t.rows, cells), append(t.marks, statusMark(status))
}

func (t *markedTable) flush() {
	some := slices.ContainsFunc(t.marks[1:], func(mark string) bool { return mark != "" })
	for i, cells := range t.rows {
		if mark := t.marks[i]; some && i > 0 && mark != "" {
			cells = append(cells, t.style.Bad(mark))
		} else if some {
			cells = append(cells, mark)
		}
		t.columns.Row(cells...)
	}
	t.columns.Flush()
}

// statusMark tells in a few words what became of a version.
func statusMark(s *hub.State) string {
	if s == nil {
		return ""
	}
	mark := ui.Line(strings.TrimSuffix(string(s.State)+": "+s.Reason, ": "))
	if utf8.RuneCountInString(mark) > maxMark {
		mark = string([]rune(mark)[:maxMark-1]) + "…"
	}
	return mark
}
