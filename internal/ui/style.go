package ui

// A Style colours text for people. The zero value leaves all as it is.
type Style struct{ on bool }

// Style returns how results on Out are coloured: not at all unless
// [Printer.Color] is set.
func (p *Printer) Style() Style { return Style{p.Color} }

// Bold is for headings.
func (s Style) Bold(text string) string { return s.paint("1", text) }

// Dim is for what one need not read.
func (s Style) Dim(text string) string { return s.paint("2", text) }

// Good is for what is new, or better.
func (s Style) Good(text string) string { return s.paint("32", text) }

// Bad is for what is gone, or worse.
func (s Style) Bad(text string) string { return s.paint("31", text) }

// Notable is for what is another than before.
func (s Style) Notable(text string) string { return s.paint("33", text) }

// On tells whether there is any colour.
func (s Style) On() bool { return s.on }

func (s Style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
