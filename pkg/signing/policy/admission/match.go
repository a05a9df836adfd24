package admission

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A rule is a document with the repositories that it decides on.
type rule struct {
	*policy.Document

	// claims are the document's globs, each with those of other documents
	// that take repositories from it by being more specific.
	claims []claim
}

type claim struct {
	glob   string
	except []string
}

// rulesOf finds out what decides where, as policy.Policy.Deciding does: of all
// globs that match, the most specific one wins, and documents that decide always
// are asked besides.
func rulesOf(p *policy.Policy) []rule {
	rules := make([]rule, len(p.Documents))
	for i := range p.Documents {
		d := &p.Documents[i]
		rules[i].Document = d
		for _, glob := range d.Globs {
			c := claim{glob: policy.Normal(glob)}
			for j := range p.Documents {
				if other := &p.Documents[j]; j != i && !d.Always && !other.Always {
					for _, o := range other.Globs {
						if o = policy.Normal(o); moreSpecific(o, c.glob) {
							c.except = append(c.except, o)
						}
					}
				}
			}
			slices.Sort(c.except)
			c.except = slices.Compact(c.except)
			rules[i].claims = append(rules[i].claims, c)
		}
	}
	return rules
}

// moreSpecific compares globs as package policy does: by the text before the
// first wildcard, then by all text, then by the number of wildcards.
func moreSpecific(a, b string) bool {
	return compareGlobs(a, b) > 0
}

func compareGlobs(a, b string) int {
	prefix := func(s string) int {
		if i := strings.IndexByte(s, '*'); i >= 0 {
			return i
		}
		return len(s)
	}
	text := func(s string) int { return len(strings.ReplaceAll(s, "*", "")) }
	double := func(s string) int { return strings.Count(s, "**") }
	single := func(s string) int { return strings.Count(strings.ReplaceAll(s, "**", ""), "*") }
	return cmp.Or(cmp.Compare(prefix(a), prefix(b)), cmp.Compare(text(a), text(b)),
		cmp.Compare(double(b), double(a)), cmp.Compare(single(b), single(a)))
}

// dockerHub is the host that globs name Docker Hub by.
const dockerHub = "index.docker.io"

// defaultPort may be written, and goes without saying.
const defaultPort = `(:443)?`

// expression is a regular expression, in RE2 as CEL has it, for what a glob
// matches, of text that can be a reference. No part of it matches the "@" that
// a digest follows.
func expression(glob string) string {
	var b strings.Builder
	host, rest, _ := strings.Cut(glob, "/")
	switch {
	case host == dockerHub:
		b.WriteString(`((index|registry-1)\.)?docker\.io` + defaultPort + `/`)
		glob = rest
	case rest != "" && !strings.ContainsAny(host, "*:"):
		b.WriteString(regexp.QuoteMeta(host) + defaultPort + `/`)
		glob = rest
	}
	for i := 0; i < len(glob); i++ {
		switch {
		case strings.HasPrefix(glob[i:], "**"):
			b.WriteString(`[a-zA-Z0-9._:/-]*`)
			i++
		case glob[i] == '*':
			b.WriteString(`[a-zA-Z0-9._:-]*`)
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	return b.String()
}

const (
	tagExpression    = `(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?`
	digestExpression = `@sha256:[0-9a-f]{64}`
)

// anyOf matches references of these globs, whatever follows the repository.
func anyOf(globs []string) string {
	return whole(globs) + tagExpression + `(` + digestExpression + `)?$`
}

func whole(globs []string) string {
	all := make([]string, len(globs))
	for i, g := range globs {
		all[i] = expression(g)
	}
	slices.Sort(all)
	return `^(` + strings.Join(slices.Compact(all), "|") + `)`
}

// matches is a CEL expression that tells whether the text in the variable v is a
// reference that the rule decides on.
func (r rule) matches(v string) string {
	// Claims with the same exceptions share an expression.
	byExcept := map[string][]string{}
	var order []string
	for _, c := range r.claims {
		key := strings.Join(c.except, " ")
		if byExcept[key] == nil {
			order = append(order, key)
		}
		byExcept[key] = append(byExcept[key], c.glob)
	}
	var parts []string
	for _, key := range order {
		part := v + ".matches(" + celString(anyOf(byExcept[key])) + ")"
		if key != "" {
			part = "(" + part + " && !" + v + ".matches(" + celString(anyOf(strings.Fields(key))) + "))"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " || ")
}

// celString writes text without quotes and line breaks as a raw string of CEL.
func celString(s string) string { return `r'` + s + `'` }
