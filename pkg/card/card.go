// Package card reads model cards: a README.md that may begin with YAML front
// matter, as the Hugging Face Hub defines it.
//
// [Parse] splits a card without changing a byte of it and understands what the
// front matter says. A card is text from strangers, so bad front matter is
// never an error: [Card.Problem] says in words what is wrong with it, and the
// body can be shown all the same. The front matter is bounded before it is
// decoded: 64 KiB, 16 levels, 100 expanded aliases and no types but YAML's
// own.
//
// [Card.JSON] gives the front matter with every key and value as written,
// [Card.Meta] what a hub needs of it in one shape, [Card.HTML] the body as
// HTML that is safe to put into a page, and [Card.Text] the body for a
// terminal.
//
// Package card opens no file, fetches nothing and imports no other package of
// this module. A Card is not changed after Parse, so its methods may be called
// from several goroutines.
package card

import (
	"bytes"
	"errors"
	"fmt"
)

// MaxBytes is the size of the largest README that is read as a card.
const MaxBytes = 1 << 20

// ErrTooLarge is wrapped by errors about a card that is larger than MaxBytes,
// or whose rendering would be larger than a page should be.
var ErrTooLarge = errors.New("card too large")

// A Card is a README in its two parts.
type Card struct {
	// FrontMatter is the YAML between the delimiters, byte for byte. It is
	// nil where the README has none, and kept when it was rejected.
	FrontMatter []byte

	// Body is what follows the front matter, byte for byte: Markdown.
	Body []byte

	// Meta is what the front matter says. It is the zero value if Problem is
	// not nil.
	Meta Metadata

	// Problem tells why the front matter was not understood, and is nil if
	// it was, or if there is none. It is a *[FrontMatterError].
	Problem error

	matter   value // null without front matter that is understood
	top      int   // line of the opening delimiter; 0 without front matter
	bodyLine int   // line that the body begins in
}

// Parse splits readme and reads its front matter. The card keeps parts of
// readme, which must not be changed afterwards. The only error is one that
// wraps [ErrTooLarge], for a readme over [MaxBytes].
func Parse(readme []byte) (*Card, error) {
	if len(readme) > MaxBytes {
		return nil, fmt.Errorf("parse card: %d bytes, limit %d: %w", len(readme), MaxBytes, ErrTooLarge)
	}
	matter, body, line := split(readme)
	c := &Card{FrontMatter: matter, Body: body, top: line}
	c.bodyLine = 1 + bytes.Count(readme[:len(readme)-len(body)], []byte("\n"))
	if matter == nil {
		if line > 0 {
			c.Problem = &FrontMatterError{Reason: "no closing line of three dashes"}
		}
		return c, nil
	}
	v, err := decode(matter)
	if err == nil && v.kind != mappingKind && v.kind != nullKind {
		err = &yamlError{reason: "not keys with values"}
	}
	if err != nil {
		c.Problem = problem(err, line)
		return c, nil
	}
	c.matter = v
	c.Meta = metadata(v)
	return c, nil
}

// A FrontMatterError tells why front matter was rejected.
type FrontMatterError struct {
	Line   int    // in the README, from 1; 0 if no single line is to blame
	Reason string // in words, on one line and without control characters
}

func (e *FrontMatterError) Error() string {
	return "front matter rejected: " + (&yamlError{e.Line, e.Reason}).Error()
}

// problem returns the error of a card whose front matter begins below line.
func problem(err error, line int) error {
	e := &FrontMatterError{Reason: err.Error()}
	if y, ok := errors.AsType[*yamlError](err); ok {
		e.Reason = y.reason
		if y.line > 0 {
			e.Line = y.line + line
		}
	}
	return e
}

const delimiter = "---"

// split finds the front matter as huggingface_hub does: blanks, a line of
// three dashes, YAML, a line of three dashes. What begins with dashes and
// never closes them is Markdown that opens with a rule. It returns the number
// of the line of the first dashes if front matter is there or was meant to be.
func split(readme []byte) (matter, body []byte, line int) {
	text := bytes.TrimPrefix(readme, []byte("\ufeff"))
	first, rest := cutLine(bytes.TrimLeft(text, " \t\r\n"))
	if !isDelimiter(first) {
		return nil, text, 0
	}
	line = 1 + bytes.Count(text[:len(text)-len(rest)-len(first)], []byte("\n"))
	for tail := rest; len(tail) > 0; {
		last, next := cutLine(tail)
		if isDelimiter(last) {
			n := len(rest) - len(tail)
			return rest[:n:n], next, line
		}
		tail = next
	}
	if first, _ := cutLine(rest); looksLikeKey(first) {
		return nil, text, line
	}
	return nil, text, 0
}

// cutLine returns the first line of b with its ending, and what follows.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil
	}
	return b[:i+1], b[i+1:]
}

func isDelimiter(line []byte) bool {
	return bytes.HasPrefix(line, []byte(delimiter)) &&
		len(bytes.TrimRight(line[len(delimiter):], " \t\r\n")) == 0
}

// looksLikeKey reports whether a line was more likely meant as YAML than as
// prose below a rule.
func looksLikeKey(line []byte) bool {
	key, _, ok := bytes.Cut(line, []byte(":"))
	return ok && len(key) > 0 && !bytes.ContainsAny(key, " \t")
}
