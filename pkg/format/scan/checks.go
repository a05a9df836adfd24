package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A check looks at one input and reports by [session.add]. Its error is one of
// reading or of a context, never of what the bytes are. Checks are told what
// the input is by its kind, and return at once where they have no say.
type check struct {
	name string
	run  func(*session, *input) error
}

// checks is the table of checks. All are asked for each input, in this order.
func checks() []check { return slices.Concat(codeChecks(), contentChecks()) }

// An input is a file, or a member of an archive, at any depth.
type input struct {
	path  string // for findings: "a.zip!data.pkl"
	name  string // that of the member alone, or of the file
	depth int    // 0 for a file
	size  int64  // -1 for what is unpacked on the way and too long to be held
	at    io.ReaderAt
	r     io.Reader // instead of at if size is -1: what follows head. It can be read once

	head    []byte // the first bytes, at most headLen
	all     []byte // all of it, if that was asked for and is little; nobody changes it
	kind    kind   // what the content says it is
	claimed kind   // what the name says it is, or what an archive has it for
	raw     bool   // an archive has it for numbers: only what runs counts
	torch   bool   // in a PyTorch archive
	script  bool   // TorchScript in one, which is no Python
	within  *input // the archive that it is a member of, or nil
}

// headLen is how many bytes are looked at to tell what an input is.
const headLen = 4 << 10

// base returns the last element of the name, in lower case.
func (in *input) base() string { return strings.ToLower(path.Base(in.name)) }

// ext returns the extension of the name, in lower case and with its dot.
func (in *input) ext() string { return path.Ext(in.base()) }

// maxKept is the size of the largest input that is kept from one check to the
// next, in bytes.
const maxKept = 1 << 20

// bytes returns all of the input if it is at most limit bytes long, else nil. The
// bytes must not be changed.
func (in *input) bytes(limit int64) ([]byte, error) {
	switch {
	case in.at == nil || in.size > limit:
		return nil, nil
	case in.size == int64(len(in.head)):
		return in.head, nil
	case in.all != nil:
		return in.all, nil
	}
	b := make([]byte, in.size)
	if err := readAt(in.at, b, 0); err != nil {
		return nil, err
	}
	if in.size <= maxKept {
		in.all = b
	}
	return b, nil
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// readAt fills b, or fails.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}

// A session is the scan of one file with all that is in it.
type session struct {
	ctx    context.Context //nolint:containedctx // lives for one call
	opts   Options
	result Result
	seen   map[string]bool // findings by rule, path and message

	held         int64 // bytes of unpacked members in memory
	inflated     int64 // bytes unpacked so far
	dictionaries int64 // bytes of those of LZMA in use
	members      int   // of all archives so far
	steps        int   // of all pickles so far
	live         int   // machines that run or wait for one that does
}

// maxFindings is how many findings of a file are listed.
const maxFindings = 1000

// add reports a finding at an offset of an input. The same finding at another
// offset is not reported again.
func (s *session) add(in *input, rule string, off int64, format string, args ...any) {
	r, ok := ruleOf(rule)
	if !ok {
		r = Rule{ID: rule, Severity: High, Verdict: Unscannable}
	}
	s.result.Verdict = s.result.Verdict.Worse(r.Verdict)
	f := Finding{Path: in.path, Rule: r.ID, Severity: r.Severity, Offset: off, Message: printable(fmt.Sprintf(format, args...))}
	key := f.Rule + "\x00" + f.Path + "\x00" + f.Message
	switch {
	case s.seen[key] || len(s.result.Findings) > maxFindings:
		return
	case len(s.result.Findings) == maxFindings:
		f = Finding{Path: in.path, Rule: ruleMany, Severity: Medium, Message: "has more findings than are listed"}
	}
	s.seen[key] = true
	s.result.Findings = append(s.result.Findings, f)
}

// maxMessage is how many bytes of a message are kept.
const maxMessage = 400

// printable makes one line of visible ASCII of a message.
func printable(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	var b strings.Builder
	for _, c := range strings.ToValidUTF8(s, "?") {
		switch {
		case c == '\n' || c == '\t':
			b.WriteByte(' ')
		case c < ' ' || c > '~' && c != '…':
			fmt.Fprintf(&b, "\\u%04x", c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// look tells what an input is and asks all checks.
func (s *session) look(in *input) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if in.head == nil {
		in.head = make([]byte, min(in.size, headLen))
		if err := readAt(in.at, in.head, 0); err != nil {
			return err
		}
	}
	in.kind = sniff(in.head)
	if slices.Contains(certain, in.kind) {
		in.raw = false // no numbers begin so
	}
	if in.claimed == "" {
		in.claimed = claim(in.base())
	}
	for _, c := range checks() {
		if err := c.run(s, in); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// codeChecks are the checks for what runs when it is loaded.
func codeChecks() []check {
	return []check{
		{"executable", checkExecutable},
		{"closed", checkClosed},
		{"pickle", checkPickle},
		{"numpy", checkNumPy},
		{"zip", checkZip},
		{"tar", checkTar},
		{"compressed", checkCompressed},
		{"mismatch", checkMismatch},
		{"keras", checkKeras},
		{"tensorflow", checkTensorFlow},
		{"skops", checkSkops},
		{"hydra", checkHydra},
	}
}

// maxDepth is how deep files may lie in files.
const maxDepth = 4
