package card

import (
	_ "embed" // the lists below
	"errors"
	"fmt"
	"strings"
)

//go:embed data/spdx.txt
var spdxList string

//go:embed data/licenses-hf.txt
var hubList string

const (
	maxExpression = 1 << 10 // bytes of a licence expression
	maxTerms      = 100     // of operators, identifiers and parentheses in one
	licenseRef    = "LicenseRef-"
)

// ErrLicense is wrapped by errors about a licence that is no SPDX expression and no
// identifier of the Hugging Face Hub.
var ErrLicense = errors.New("unknown licence")

// SPDX returns a licence as an SPDX expression in the spelling of the SPDX License
// List: "Apache-2.0" for "apache-2.0", and "LicenseRef-llama3.1" for llama3.1,
// which the Hugging Face Hub knows and SPDX does not. The error wraps ErrLicense.
func SPDX(license string) (string, error) {
	license = strings.TrimSpace(license)
	if len(license) > maxExpression {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrLicense, maxExpression)
	}
	if id, ok := hubLicense(license); ok {
		return id, nil
	}
	p := expressionParser{terms: terms(license)}
	if len(p.terms) > maxTerms {
		return "", fmt.Errorf("%w: more than %d words", ErrLicense, maxTerms)
	}
	if err := p.or(); err != nil {
		return "", err
	}
	if p.next < len(p.terms) {
		return "", fmt.Errorf("%w: %s stands where AND, OR or the end should", ErrLicense, quote(p.terms[p.next]))
	}
	return p.out.String(), nil
}

// SPDX returns the licences of a card as one SPDX expression, of several joined
// with AND, and of "other" by its name. It is empty without a licence, and where
// one is not known.
func (m Metadata) SPDX() string {
	parts := make([]string, 0, len(m.Licenses))
	for _, l := range m.Licenses {
		expr, err := SPDX(l)
		switch {
		case l == "other" && m.LicenseName != "":
			expr = licenseRef + refName(m.LicenseName)
		case err != nil:
			return ""
		}
		if len(m.Licenses) > 1 && strings.Contains(expr, " ") {
			expr = "(" + expr + ")"
		}
		parts = append(parts, expr)
	}
	return strings.Join(parts, " AND ")
}

// refName makes a name fit for a LicenseRef: letters, digits, dots and dashes.
func refName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, cut(s, maxQuoted))
}

// hubLicense knows the identifiers that only the Hugging Face Hub has.
func hubLicense(id string) (string, bool) {
	for line := range strings.Lines(hubList) {
		name, spdx, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "#" && strings.EqualFold(name, id) {
			if spdx == "" {
				spdx = licenseRef + name
			}
			return spdx, true
		}
	}
	return "", false
}

// listed finds an identifier of the SPDX License List, whatever its case.
func listed(id string, exception bool) (spelled string, ok bool) {
	for line := range strings.Lines(spdxList) {
		line = strings.TrimSuffix(line, "\n")
		name, isException := strings.CutPrefix(line, "&")
		if isException == exception && strings.EqualFold(strings.TrimPrefix(name, "-"), id) {
			return strings.TrimPrefix(name, "-"), true
		}
	}
	return "", false
}

// terms cuts an expression at blanks and parentheses.
func terms(s string) []string {
	s = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s)
	return strings.Fields(s)
}

// An expressionParser reads SPDX licence expressions (SPDX 2.3, annex D).
type expressionParser struct {
	terms []string
	next  int
	depth int
	out   strings.Builder
}

func (p *expressionParser) take(word string) bool {
	if p.next < len(p.terms) && strings.EqualFold(p.terms[p.next], word) {
		p.next++
		return true
	}
	return false
}

func (p *expressionParser) or() error  { return p.joined("OR", p.and) }
func (p *expressionParser) and() error { return p.joined("AND", p.license) }

func (p *expressionParser) joined(word string, operand func() error) error {
	if err := operand(); err != nil {
		return err
	}
	for p.take(word) {
		p.out.WriteString(" " + word + " ")
		if err := operand(); err != nil {
			return err
		}
	}
	return nil
}

// license reads one identifier with what follows it, or an expression in
// parentheses.
func (p *expressionParser) license() error {
	if p.next == len(p.terms) {
		return fmt.Errorf("%w: it ends where an identifier should stand", ErrLicense)
	}
	if p.take("(") {
		if p.depth++; p.depth > maxDepth {
			return fmt.Errorf("%w: parentheses nested too deep", ErrLicense)
		}
		p.out.WriteByte('(')
		if err := p.or(); err != nil {
			return err
		}
		if !p.take(")") {
			return fmt.Errorf("%w: a parenthesis is not closed", ErrLicense)
		}
		p.depth--
		p.out.WriteByte(')')
		return nil
	}
	word := p.terms[p.next]
	p.next++
	if err := p.identifier(word); err != nil {
		return err
	}
	if !p.take("WITH") {
		return nil
	}
	if p.next == len(p.terms) {
		return fmt.Errorf("%w: nothing follows WITH", ErrLicense)
	}
	name, ok := listed(p.terms[p.next], true)
	if !ok {
		return fmt.Errorf("%w: %s is no exception of the SPDX License List", ErrLicense, quote(p.terms[p.next]))
	}
	p.next++
	p.out.WriteString(" WITH " + name)
	return nil
}

// identifier writes one identifier as it is spelled in the list.
func (p *expressionParser) identifier(word string) error {
	bare, later := strings.CutSuffix(word, "+")
	id, ok := listed(bare, false)
	switch {
	case ok:
	case strings.HasPrefix(word, licenseRef) && word != licenseRef && refName(word) == word:
		id, later = word, false
	default:
		if id, ok = hubLicense(word); !ok {
			return fmt.Errorf("%w: %s is neither in the SPDX License List nor an identifier of the Hugging Face Hub", ErrLicense, quote(word))
		}
		later = false
	}
	p.out.WriteString(id)
	if later {
		p.out.WriteByte('+')
	}
	return nil
}
