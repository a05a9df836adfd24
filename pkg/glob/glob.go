// Package glob has the patterns that choose files of a model, which are those of
// Python's fnmatch and so of huggingface_hub's allow_patterns and
// ignore_patterns. They match a whole path: "*" is any text, slashes included,
// "?" one letter, "[a-z]" one of some and "[!a-z]" one of the others; there are
// no escapes, and case counts. A pattern that ends in a slash means all that is
// below. Matching takes time in proportion to the product of the lengths.
package glob

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxBytes bounds one pattern, and maxPatterns how many there are.
	maxBytes    = 4096
	maxPatterns = 1000
)

var (
	// ErrPattern is wrapped by errors about patterns that cannot be used.
	ErrPattern = errors.New("bad pattern")

	// ErrNoMatch says that no file is chosen. It wraps fs.ErrNotExist.
	ErrNoMatch = fmt.Errorf("no file matches: %w", fs.ErrNotExist)
)

// Matcher returns the function that tells whether a path is chosen: it matches
// one of include, or there is none, and it matches none of exclude. The error
// wraps [ErrPattern].
func Matcher(include, exclude []string) (func(path string) bool, error) {
	if len(include)+len(exclude) > maxPatterns {
		return nil, fmt.Errorf("%w: more than %d of them", ErrPattern, maxPatterns)
	}
	in, err := parseAll(include)
	if err != nil {
		return nil, err
	}
	out, err := parseAll(exclude)
	if err != nil {
		return nil, err
	}
	return func(path string) bool {
		fits := func(p pattern) bool { return p.matches(path) }
		return (len(in) == 0 || slices.ContainsFunc(in, fits)) && !slices.ContainsFunc(out, fits)
	}, nil
}

func parseAll(texts []string) ([]pattern, error) {
	patterns := make([]pattern, len(texts))
	for i, text := range texts {
		var err error
		if patterns[i], err = parse(text); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPattern, err)
		}
	}
	return patterns, nil
}

// A pattern is one that was read.
type pattern []part

// A part is one letter, or any number of any.
type part struct {
	star   bool
	any    bool
	negate bool
	set    []runeRange // the letters; none match an empty set
}

type runeRange struct{ low, high rune }

// parse reads a pattern.
func parse(text string) (pattern, error) {
	switch {
	case text == "":
		return nil, fmt.Errorf("empty pattern")
	case len(text) > maxBytes:
		return nil, fmt.Errorf("pattern of %d bytes, more than %d", len(text), maxBytes)
	case !utf8.ValidString(text):
		return nil, fmt.Errorf("pattern %.80q is not UTF-8", text)
	case strings.HasSuffix(text, "/"):
		text += "*"
	}
	var g pattern
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch runes[i] {
		case '*':
			if len(g) == 0 || !g[len(g)-1].star {
				g = append(g, part{star: true})
			}
		case '?':
			g = append(g, part{any: true})
		case '[':
			end := classEnd(runes, i)
			if end < 0 { // never closed: a letter like others
				g = append(g, letter('['))
				continue
			}
			g = append(g, parseClass(runes[i+1:end]))
			i = end
		default:
			g = append(g, letter(runes[i]))
		}
	}
	return g, nil
}

func letter(r rune) part { return part{set: []runeRange{{r, r}}} }

// classEnd finds the bracket that closes the one at i. One right behind the
// opening is a letter.
func classEnd(runes []rune, i int) int {
	j := i + 1
	if j < len(runes) && runes[j] == '!' {
		j++
	}
	for j++; j < len(runes); j++ {
		if runes[j] == ']' {
			return j
		}
	}
	return -1
}

// parseClass reads what is between brackets. Ranges that run backwards hold
// nothing.
func parseClass(class []rune) part {
	var p part
	if class[0] == '!' {
		p.negate = true
		class = class[1:]
	}
	for i := 0; i < len(class); i++ {
		if i+2 < len(class) && class[i+1] == '-' {
			p.set = append(p.set, runeRange{class[i], class[i+2]})
			i += 2
			continue
		}
		p.set = append(p.set, runeRange{class[i], class[i]})
	}
	return p
}

// matches tells whether the whole name fits. The time is at most the product of
// the lengths.
func (g pattern) matches(name string) bool {
	runes := []rune(name)
	next, at := 0, 0
	star, from := -1, 0 // the last star, and where what it takes ends
	for at < len(runes) {
		switch {
		case next < len(g) && g[next].star:
			star, from = next, at
			next++
		case next < len(g) && g[next].takes(runes[at]):
			next++
			at++
		case star >= 0:
			from++
			next, at = star+1, from
		default:
			return false
		}
	}
	for next < len(g) && g[next].star {
		next++
	}
	return next == len(g)
}

func (p part) takes(r rune) bool {
	if p.any {
		return true
	}
	for _, s := range p.set {
		if s.low <= r && r <= s.high {
			return !p.negate
		}
	}
	return p.negate
}
