package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

const maxGlobBytes = 512

var (
	imageGlob = regexp.MustCompile(`^[a-zA-Z0-9_:/*.-]+$`)
	nameGlob  = regexp.MustCompile(`^[\x21-\x7e]+$`)
)

// A glob is a pattern for a whole name: "*" is any text without a slash, "**"
// any text at all. These are the patterns of policy-controller.
type glob struct {
	re   *regexp.Regexp
	spec specificity
}

// A specificity orders globs. Its fields count in their order.
type specificity struct {
	prefix int // bytes before the first wildcard
	text   int // bytes that are no wildcards
	double int // "**", the fewer the more specific
	single int // "*", the fewer the more specific
}

func (s specificity) compare(o specificity) int {
	return cmp.Or(cmp.Compare(s.prefix, o.prefix), cmp.Compare(s.text, o.text),
		cmp.Compare(o.double, s.double), cmp.Compare(o.single, s.single))
}

// compileImage compiles a glob for repositories.
func compileImage(pattern string) (glob, error) {
	switch {
	case pattern == "*" || pattern == "*/*":
		return glob{}, fmt.Errorf("glob %q: a cluster takes it for names on Docker Hub: write ** for all, or the host", pattern)
	case !imageGlob.MatchString(pattern):
		return glob{}, fmt.Errorf("glob %q: only letters, digits and . _ - : / * are allowed, and no digest", pattern)
	}
	if host, name, ok := strings.Cut(pattern, "/"); strings.Contains(name, ":") || !ok && strings.Contains(host, ":") {
		return glob{}, fmt.Errorf("glob %q: it is compared with the repository, which has no tag: a tag can be moved, and a digest has none", pattern)
	}
	if host, _, _ := strings.Cut(pattern, "/"); strings.Contains(host, "*") && strings.HasSuffix(host, ":443") {
		return glob{}, fmt.Errorf("glob %q: the port 443 goes without saying, and a host with a wildcard is any port's: name the host", pattern)
	}
	return compile(Normal(pattern))
}

// compileName compiles a glob for other names, such as those of builders.
func compileName(pattern string) (glob, error) {
	if !nameGlob.MatchString(pattern) {
		return glob{}, fmt.Errorf("pattern %q: empty, or with spaces or letters that are not ASCII", pattern)
	}
	return compile(pattern)
}

func compile(pattern string) (glob, error) {
	if len(pattern) > maxGlobBytes {
		return glob{}, fmt.Errorf("pattern of %d bytes, more than %d", len(pattern), maxGlobBytes)
	}
	if strings.Contains(pattern, "***") {
		return glob{}, fmt.Errorf("pattern %q: *** means nothing", pattern)
	}
	var s specificity
	var b strings.Builder
	b.WriteString(`^`)
	s.prefix = len(pattern)
	if at := strings.IndexByte(pattern, '*'); at >= 0 {
		s.prefix = at
	}
	for i := 0; i < len(pattern); i++ {
		switch {
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(`(?s:.*)`)
			s.double++
			i++
		case pattern[i] == '*':
			b.WriteString(`[^/]*`)
			s.single++
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			s.text++
		}
	}
	b.WriteString(`$`)
	re, err := regexp.Compile(b.String())
	return glob{re: re, spec: s}, err
}

func matchesAny(globs []glob, name string) bool {
	for _, g := range globs {
		if g.re.MatchString(name) {
			return true
		}
	}
	return false
}
