package artifact

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxGlobBytes bounds one pattern.
const maxGlobBytes = 4096

// A glob is a pattern of file names, as Python's fnmatch and the allow_patterns
// of huggingface_hub have them: "*" is any text, slashes included, "?" one
// letter, "[a-z]" one of some and "[!a-z]" one of the others; there are no
// escapes. A pattern that ends in a slash means all that is below.
type glob []globPart

// A globPart is one letter, or any number of any.
type globPart struct {
	star   bool
	any    bool
	negate bool
	set    []runeRange // the letters; none match an empty set
}

type runeRange struct{ low, high rune }

// parseGlob reads a pattern.
func parseGlob(pattern string) (glob, error) {
	switch {
	case pattern == "":
		return nil, fmt.Errorf("empty pattern")
	case len(pattern) > maxGlobBytes:
		return nil, fmt.Errorf("pattern of %d bytes, more than %d", len(pattern), maxGlobBytes)
	case !utf8.ValidString(pattern):
		return nil, fmt.Errorf("pattern %.80q is not UTF-8", pattern)
	case strings.HasSuffix(pattern, "/"):
		pattern += "*"
	}
	var g glob
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch runes[i] {
		case '*':
			if len(g) == 0 || !g[len(g)-1].star {
				g = append(g, globPart{star: true})
			}
		case '?':
			g = append(g, globPart{any: true})
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

func letter(r rune) globPart { return globPart{set: []runeRange{{r, r}}} }

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
func parseClass(class []rune) globPart {
	var p globPart
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
func (g glob) matches(name string) bool {
	runes := []rune(name)
	part, at := 0, 0
	star, from := -1, 0 // the last star, and where what it takes ends
	for at < len(runes) {
		switch {
		case part < len(g) && g[part].star:
			star, from = part, at
			part++
		case part < len(g) && g[part].takes(runes[at]):
			part++
			at++
		case star >= 0:
			from++
			part, at = star+1, from
		default:
			return false
		}
	}
	for part < len(g) && g[part].star {
		part++
	}
	return part == len(g)
}

func (p globPart) takes(r rune) bool {
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
