package admission

import (
	"regexp"
	"strings"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// Deciding names the documents whose rules are for a reference.
func Deciding(p *policy.Policy, reference string) []string {
	is := func(globs ...string) bool {
		return len(globs) > 0 && regexp.MustCompile(anyOf(globs)).MatchString(reference)
	}
	var names []string
	for _, r := range rulesOf(p) {
		for _, c := range r.claims {
			if is(c.glob) && !is(c.except...) {
				names = append(names, r.Name)
				break
			}
		}
	}
	return names
}

// Expressions are all regular expressions in an expression of CEL.
func Expressions(cel string) []string {
	var all []string
	for {
		_, rest, ok := strings.Cut(cel, "r'")
		if !ok {
			return all
		}
		one, after, _ := strings.Cut(rest, "'")
		all, cel = append(all, one), after
	}
}
