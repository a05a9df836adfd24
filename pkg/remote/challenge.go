package remote

import (
	"net/http"
	"strings"
)

// maxChallenges bounds the challenges that are looked at in one answer.
const maxChallenges = 16

// A challenge is one way in which a registry asks for credentials (RFC 9110
// section 11.6.1).
type challenge struct {
	raw    string // as it came, without those before and after it
	scheme string // lower case
	realm  string
}

// parseChallenges splits a WWW-Authenticate header into its challenges. Where
// the header breaks the grammar it stops and returns those before.
func parseChallenges(header string) []challenge {
	var all []challenge
	rest := strings.TrimLeft(header, " \t,")
	for rest != "" && len(all) < maxChallenges {
		start := rest
		scheme, tail := cutToken(rest)
		if scheme == "" {
			break
		}
		c := challenge{scheme: strings.ToLower(scheme)}
		tail, ok := c.parameters(tail)
		c.raw = strings.TrimRight(start[:len(start)-len(tail)], " \t,")
		all = append(all, c)
		if !ok {
			break
		}
		rest = strings.TrimLeft(tail, " \t,")
	}
	return all
}

// parameters reads name=value pairs up to the next challenge. ok is false
// where the grammar ends.
func (c *challenge) parameters(s string) (rest string, ok bool) {
	for {
		rest = strings.TrimLeft(s, " \t,")
		name, tail := cutToken(rest)
		if name == "" {
			return rest, rest == ""
		}
		after := strings.TrimLeft(tail, " \t")
		if !strings.HasPrefix(after, "=") {
			// Not a parameter, so it is the scheme of the next challenge.
			return rest, true
		}
		value, tail, ok := cutValue(strings.TrimLeft(after[1:], " \t"))
		if !ok {
			return tail, false
		}
		// What a token68 (such as Negotiate's) ends in.
		tail = strings.TrimLeft(tail, "=")
		if strings.EqualFold(name, "realm") {
			c.realm = value
		}
		s = tail
	}
}

// cutValue takes a token or a quoted string from the front of s.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != "" || rest == "" || rest[0] == '=' || rest[0] == ','
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// cutToken takes a token (RFC 9110 section 5.6.2) from the front of s.
func cutToken(s string) (token, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// pickChallenge chooses the challenge to answer, a bearer before a basic one,
// and leaves it alone in the header: oras-go looks at the first only.
func pickChallenge(h http.Header) (challenge, bool) {
	var found challenge
	for _, line := range h.Values("Www-Authenticate") {
		for _, c := range parseChallenges(line) {
			if c.scheme == "bearer" && found.scheme != "bearer" || c.scheme == "basic" && found.scheme == "" {
				found = c
			}
		}
	}
	if found.scheme == "" {
		return challenge{}, false
	}
	h["Www-Authenticate"] = []string{found.raw}
	return found, true
}
