package signing

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// An Identity says whose certificates count: who vouched, and for whom. Each of
// the two is required, and is exact or a regular expression that is anchored at
// both ends. Certificates of the public sigstore have as the issuer the URL of
// an OIDC provider, such as https://token.actions.githubusercontent.com, and as
// the subject a mail address or the URI of a workflow.
type Identity struct {
	Issuer, Subject             string
	IssuerRegexp, SubjectRegexp string
}

// maxPattern bounds the regular expressions of an [Identity], in bytes.
const maxPattern = 4 << 10

// Check tells what is wrong with an identity: a part that is missing or there
// twice, or an expression that does not compile or begins without ^ or ends
// without $. Without these it would match any text with a match in it, such as
// a mail address at another's domain.
func (id Identity) Check() error {
	_, err := id.matcher()
	return err
}

// String returns the identity as "subject (issuer)".
func (id Identity) String() string {
	return fmt.Sprintf("%s (issuer %s)", id.Subject+id.SubjectRegexp, id.Issuer+id.IssuerRegexp)
}

// MatchesAnything tells whether an expression is true of texts that have nothing in
// common but that they are texts: there are too many ways to write .* to know them by
// their form. One that does not compile is true of nothing.
func MatchesAnything(expr string) bool {
	re, err := regexp.Compile(expr)
	if err != nil {
		return false
	}
	unlike := [...]string{
		strings.Repeat("a", 40), strings.Repeat("0", 40), "https://q.example/w/x/y/z?v=1#somewhere", "Someone+tag@mail.example.invalid.test.org",
		"~!$%^&*()_=[]{}|;',<> \x7f\t ~!$%^&*()_=[]{}", strings.Repeat("\u00e9\u4e16", 20),
	}
	return !slices.ContainsFunc(unlike[:], func(s string) bool { return !re.MatchString(s) })
}

// An identityMatcher is an [Identity] that has been checked.
type identityMatcher struct{ issuer, subject func(string) bool }

func (id Identity) matcher() (identityMatcher, error) {
	issuer, err := textMatcher(id.Issuer, id.IssuerRegexp)
	if err != nil {
		return identityMatcher{}, fmt.Errorf("issuer of a trusted identity: %w", err)
	}
	subject, err := textMatcher(id.Subject, id.SubjectRegexp)
	if err != nil {
		return identityMatcher{}, fmt.Errorf("subject of a trusted identity: %w", err)
	}
	return identityMatcher{issuer: issuer, subject: subject}, nil
}

// certified is the matcher of certificates of a private authority: an issuer that
// is left out is that of certificates which name none.
func (id Identity) certified() (identityMatcher, error) {
	if id.Issuer+id.IssuerRegexp != "" {
		return id.matcher()
	}
	subject, err := textMatcher(id.Subject, id.SubjectRegexp)
	if err != nil {
		return identityMatcher{}, fmt.Errorf("name in a certificate: %w", err)
	}
	return identityMatcher{issuer: func(s string) bool { return s == "" }, subject: subject}, nil
}

func textMatcher(exact, pattern string) (func(string) bool, error) {
	switch {
	case exact != "" && pattern != "":
		return nil, errors.New("both exact and a regular expression")
	case exact != "":
		return func(s string) bool { return s == exact }, nil
	case pattern == "":
		return nil, errors.New("missing")
	case len(pattern) > maxPattern:
		return nil, fmt.Errorf("regular expression of %d bytes, more than %d", len(pattern), maxPattern)
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(pattern, "^") || !strings.HasSuffix(pattern, "$") || strings.HasSuffix(pattern, `\$`) {
		return nil, fmt.Errorf("regular expression %q is not anchored: begin it with ^ and end it with $", pattern)
	}
	// The anchors of "^a|b$" hold one branch each, and with (?m) any line.
	whole, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, err
	}
	return whole.MatchString, nil
}
