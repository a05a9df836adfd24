package artifact

import (
	"cmp"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of names.
const (
	MaxPathBytes      = 1024
	MaxComponentBytes = 255
	MaxPathLevels     = 32
)

// controlPrefix begins the names of what Unpack itself writes into a target.
const controlPrefix = ".modelreg"

// A PathError reports a name that is refused.
type PathError struct {
	Path   string
	Reason string

	err error // what to wrap in place of ErrUnsafe, and wraps that
}

func (e *PathError) Error() string {
	// %+q keeps control characters, overrides and look-alikes out of
	// terminals and logs; names of any length are cut.
	p := e.Path
	if len(p) > 256 {
		p = p[:256]
	}
	return fmt.Sprintf("unsafe: path %+q: %s", p, e.Reason)
}

// Unwrap returns [ErrUnsafe], or [ErrCollision] or [ErrDotfile], which wrap it.
func (e *PathError) Unwrap() error { return cmp.Or(e.err, ErrUnsafe) }

// CheckPath tells whether p may be the name of a file in an artifact on every
// platform: a relative path with slashes, in Unicode normal form C, that
// neither leaves its root nor means something else to Windows, macOS or a
// terminal, within the limits of this package. Names that modelreg or git give
// a meaning to (".modelreg…" at the root, ".git" anywhere) are refused; other
// names that begin with a dot are not. The error is a *[PathError].
func CheckPath(p string) error {
	if reason := refusePath(p); reason != "" {
		return &PathError{Path: p, Reason: reason}
	}
	return nil
}

// CheckPaths applies [CheckPath] to each path and refuses a set that some file
// system could not hold: the same path twice, a path that is both file and
// directory, and paths that differ only in case or normalisation.
func CheckPaths(paths []string) error { return checkPaths(paths, newPathSet()) }

func checkPaths(paths []string, set *pathSet) error {
	for _, p := range paths {
		if err := set.addFile(p); err != nil {
			return err
		}
	}
	return nil
}

func refusePath(p string) string {
	switch {
	case p == "" || p == ".":
		return "empty name"
	case len(p) > MaxPathBytes:
		return "path too long"
	case !utf8.ValidString(p):
		return "not UTF-8"
	case !norm.NFC.IsNormalString(p):
		return "not in Unicode normal form C"
	case strings.HasPrefix(p, "/"):
		return "absolute path"
	case strings.Count(p, "/") >= MaxPathLevels:
		return "more than 32 levels deep"
	}
	for _, r := range p {
		if reason := refuseRune(r); reason != "" {
			return reason
		}
	}
	first := true
	for c := range strings.SplitSeq(p, "/") {
		if reason := refuseComponent(c, first); reason != "" {
			return reason
		}
		first = false
	}
	if !fs.ValidPath(p) {
		return "not a plain relative path"
	}
	return ""
}

func refuseRune(r rune) string {
	switch r {
	case '\\':
		return "backslash"
	case ':':
		return "colon (a drive or a stream on Windows)"
	case '*', '?', '"', '<', '>', '|':
		return "character that Windows reserves"
	case '\u2028', '\u2029':
		return "line separator"
	}
	switch {
	case unicode.IsControl(r):
		return "control character"
	case unicode.Is(unicode.Cf, r):
		// Bidirectional overrides, zero-width characters, tags.
		return "invisible character"
	}
	return ""
}

func refuseComponent(c string, first bool) string {
	switch {
	case c == "":
		return "empty component"
	case c == "." || c == "..":
		return "component " + c
	case len(c) > MaxComponentBytes:
		return "component too long"
	case strings.HasSuffix(c, ".") || strings.HasSuffix(c, " "):
		return "component that ends in a dot or space"
	case isDeviceName(c):
		return "device name on Windows"
	}
	folded := foldPath(c)
	switch {
	case folded == ".git":
		return "control name .git"
	case first && strings.HasPrefix(folded, controlPrefix):
		return "control name " + controlPrefix
	}
	return ""
}

// isDeviceName follows "Naming Files, Paths, and Namespaces" of the Windows
// documentation: what comes before the first dot counts, blanks at its end do
// not, and superscript digits count as digits.
func isDeviceName(c string) bool {
	base, _, _ := strings.Cut(c, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	digit, ok := strings.CutPrefix(base, "COM")
	if !ok {
		digit, ok = strings.CutPrefix(base, "LPT")
	}
	if !ok || utf8.RuneCountInString(digit) != 1 {
		return false
	}
	return strings.ContainsAny(digit, "0123456789¹²³")
}

// foldPath maps the names that some file system takes for the same to one.
func foldPath(p string) string {
	if isASCII(p) {
		return strings.ToLower(p)
	}
	return norm.NFC.String(cases.Fold().String(p))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// A pathSet holds the names of one tree while it is being listed or built.
type pathSet struct {
	byFold map[string]pathEntry

	// exact takes names that differ in any way for different ones.
	exact bool
}

type pathEntry struct {
	path string
	dir  bool
}

func newPathSet() *pathSet { return &pathSet{byFold: make(map[string]pathEntry)} }

// newExactSet is for names that only somebody else, or a file system that was
// looked at, will keep apart.
func newExactSet() *pathSet {
	s := newPathSet()
	s.exact = true
	return s
}

func (s *pathSet) key(p string) string {
	if s.exact {
		return p
	}
	return foldPath(p)
}

// addFile adds a file and the directories above it.
func (s *pathSet) addFile(p string) error { return s.add(p, false) }

// addDir adds a directory, which may be there already, and those above it.
func (s *pathSet) addDir(p string) error { return s.add(p, true) }

func (s *pathSet) add(p string, dir bool) error {
	if err := CheckPath(p); err != nil {
		return err
	}
	for i := range len(p) {
		if p[i] == '/' {
			if err := s.put(p[:i], true, p); err != nil {
				return err
			}
		}
	}
	return s.put(p, dir, p)
}

func (s *pathSet) put(p string, dir bool, whole string) error {
	key := s.key(p)
	have, ok := s.byFold[key]
	switch {
	case !ok:
		s.byFold[key] = pathEntry{path: p, dir: dir}
		return nil
	case have.path != p:
		reason := fmt.Sprintf("collision with %+q where case or normal form is ignored", have.path)
		return &PathError{Path: whole, Reason: reason, err: ErrCollision}
	case have.dir && dir:
		return nil
	case have.dir != dir:
		return &PathError{Path: whole, Reason: fmt.Sprintf("%+q is both a file and a directory", p)}
	}
	return &PathError{Path: whole, Reason: "duplicate path"}
}

// isFile tells whether p itself was added as a file.
func (s *pathSet) isFile(p string) bool {
	have, ok := s.byFold[s.key(p)]
	return ok && have.path == p && !have.dir
}

// isDir tells whether p itself is a directory of the tree.
func (s *pathSet) isDir(p string) bool {
	have, ok := s.byFold[s.key(p)]
	return ok && have.path == p && have.dir
}
