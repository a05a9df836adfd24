// Package ui is what a command shows a person or a script: one result on
// standard output, everything else on standard error.
//
// A [Printer] holds the streams and how to write on them. Results are printed
// once, as text or as JSON; notes, warnings and progress never touch standard
// output, so that a script can read it without filtering. A [Progress] turns
// the events of a transfer into bars on a terminal and into plain lines
// elsewhere.
package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// A Format is the shape of results: Text or JSON.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// A Printer writes results and messages. Its zero value writes nothing; set at
// least Out and Err. It may be used by several goroutines at once as far as Out
// and Err may.
type Printer struct {
	Out, Err io.Writer

	// Format is the shape of results; empty means Text.
	Format Format

	// Quiet leaves out notes and progress. Warnings and errors stay.
	Quiet bool

	// Terminal says that Err is a terminal that can move its cursor.
	Terminal bool

	// NoProgress shows no progress, and still all notes.
	NoProgress bool

	// Color says that Out is a terminal on which results may be coloured.
	Color bool
}

// Result prints v as one indented JSON document, or calls text for people.
func (p *Printer) Result(v any, text func(w io.Writer)) error {
	if p.Format != JSON {
		w := &errWriter{w: p.Out}
		text(w)
		return w.err
	}
	if err := encode(p.Out, v, "  "); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// encode writes v as JSON that a terminal can show: [json.Encoder] escapes some
// of the control characters in texts from strangers and not those above ASCII.
func encode(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		if unsafeRune(r) { // only texts can hold one
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Note tells the user something worth knowing that is not the result.
func (p *Printer) Note(format string, args ...any) {
	if !p.Quiet {
		fmt.Fprintln(p.Err, Clean(fmt.Sprintf(format, args...)))
	}
}

// Warn tells the user something that may be wrong.
func (p *Printer) Warn(format string, args ...any) {
	fmt.Fprintln(p.Err, "modelreg: warning: "+Clean(fmt.Sprintf(format, args...)))
}

// Failure is the error document of [Printer.Fail].
type Failure struct {
	Code    int    `json:"code"`           // the exit code
	Kind    string `json:"kind"`           // its name, such as "not-found"
	Message string `json:"message"`        // verb object: cause
	Hint    string `json:"hint,omitempty"` // what to do next

	// Decision, if not nil, is for programs: what a policy said, rule by rule.
	Decision any `json:"decision,omitempty"`
}

// Fail prints why the command failed, on standard error.
func (p *Printer) Fail(f Failure) {
	if p.Format == JSON {
		_ = encode(p.Err, map[string]Failure{"error": f}, "") // nowhere left to report to
		return
	}
	fmt.Fprintln(p.Err, "modelreg: "+Clean(f.Message))
	if f.Hint != "" {
		fmt.Fprintln(p.Err, "hint: "+Clean(f.Hint))
	}
}

// Table returns a writer that aligns cells separated by tabs. The caller calls
// Flush at the end.
func Table(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
}

// Bytes writes a number of bytes for people, in decimal units: "62.9 MB".
func Bytes(n int64) string {
	number, unit := scaled(n, " kMGTPE")
	if unit == " " {
		return number + " B"
	}
	return number + " " + unit + "B"
}

// Count writes a large count for people, as model names have it: "22.7M",
// "7.2B".
func Count(n int64) string {
	number, unit := scaled(n, " KMBTPE")
	return number + strings.TrimSpace(unit)
}

// scaled writes n as a number under 1000, and the letter of its unit among
// those for the powers of 1000.
func scaled(n int64, units string) (number, unit string) {
	const step = 1000
	if n < step && n > -step {
		return strconv.FormatInt(n, 10), units[:1]
	}
	f, i := float64(n), 0
	for math.Abs(f) >= step-0.05 && i+1 < len(units) { // 999.95 would be written as 1000.0
		f /= step
		i++
	}
	return strconv.FormatFloat(f, 'f', 1, 64), units[i : i+1]
}

// Files writes a number of files for people.
func Files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return strconv.Itoa(n) + " files"
}

// Duration writes a duration for people, to the tenth of a second.
func Duration(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// Clean makes text from strangers safe for a terminal: control characters and
// direction overrides become escapes, line ends and tabs stay.
func Clean(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Line makes text from strangers safe as one line or cell: as [Clean], with line
// ends and tabs as escapes too, so that it cannot look like the next row.
func Line(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(Clean(s))
}

func unsafeRune(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar
}

// errWriter keeps the first error, so that text functions need not look.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}
