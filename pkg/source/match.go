package source

import (
	"fmt"
	"regexp"
	"strings"
)

// maxPatterns bounds the patterns of one kind.
const maxPatterns = 1000

// A matcher chooses files as huggingface_hub's filter_repo_objects does.
type matcher struct{ include, exclude []*regexp.Regexp }

func newMatcher(include, exclude []string) (*matcher, error) {
	var m matcher
	var err error
	if m.include, err = compileAll(include); err != nil {
		return nil, err
	}
	m.exclude, err = compileAll(exclude)
	return &m, err
}

func compileAll(patterns []string) ([]*regexp.Regexp, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%w: more than %d patterns", ErrName, maxPatterns)
	}
	var list []*regexp.Regexp
	for _, p := range patterns {
		if strings.HasSuffix(p, "/") {
			p += "*" // all that is in the directory
		}
		re, err := regexp.Compile(translate(p))
		if err != nil {
			return nil, fmt.Errorf("%w: pattern %.80q: %w", ErrName, p, err)
		}
		list = append(list, re)
	}
	return list, nil
}

// translate writes a pattern of Python's fnmatch as a regular expression.
func translate(p string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '[':
			set, n := bracket(p[i:])
			b.WriteString(set)
			i += n - 1
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	return b.String() + `\z`
}

// bracket translates the set that p begins with, and tells its length. One that
// does not end is a plain bracket.
func bracket(p string) (string, int) {
	j := 1
	if j < len(p) && p[j] == '!' {
		j++
	}
	if j < len(p) && p[j] == ']' {
		j++
	}
	end := strings.IndexByte(p[j:], ']')
	if end < 0 {
		return `\[`, 1
	}
	end += j
	set := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `&&`, `\&\&`).Replace(p[1:end])
	if rest, ok := strings.CutPrefix(set, "!"); ok {
		set = "^" + rest
	} else if strings.HasPrefix(set, "^") {
		set = `\` + set
	}
	return "[" + set + "]", end + 1
}

func (m *matcher) keeps(path string) bool {
	in := len(m.include) == 0
	for _, re := range m.include {
		in = in || re.MatchString(path)
	}
	for _, re := range m.exclude {
		in = in && !re.MatchString(path)
	}
	return in
}
