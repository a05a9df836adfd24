package ref

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Head is the tag that stands for the branch that a reference without a tag
// means.
const Head = "HEAD"

// Limits of revisions.
const (
	maxSteps      = 32
	maxGeneration = 1_000_000
)

// A Step goes from one version to another. One of the fields is set.
type Step struct {
	// Back is how many versions to go back, by the first parent of each: ~2.
	Back int

	// Parent is which parent to go to, counted from 1: ^2.
	Parent int

	// At is when the version was to be had under the name: @{2026-05-03}.
	At time.Time
}

// ParseRevision reads the steps of a revision, as git has them:
//
//	~    ~2      the first parent, its first parent
//	^    ^2      the first parent, the second one
//	@{TIME}      the version of that time, in UTC: a date (to its end), a
//	             date and time of day, or RFC 3339
//
// They follow one another, from left to right. A time can only come first.
func ParseRevision(s string) ([]Step, error) {
	steps, err := parseSteps(s)
	if err != nil {
		return nil, wrap(s, err)
	}
	return steps, nil
}

func parseSteps(s string) ([]Step, error) {
	var steps []Step
	for s != "" {
		if len(steps) == maxSteps {
			return nil, fmt.Errorf("more than %d steps in a revision", maxSteps)
		}
		if text, ok := strings.CutPrefix(s, "@{"); ok {
			text, rest, closed := strings.Cut(text, "}")
			at, err := parseTime(text)
			if !closed || err != nil || len(steps) > 0 {
				return nil, fmt.Errorf("@{%s}: write a time behind a tag, such as main@{2026-05-03} or main@{2026-05-03T10:00:00Z}", text)
			}
			steps, s = append(steps, Step{At: at}), rest
			continue
		}
		digits := len(s[1:]) - len(strings.TrimLeft(s[1:], "0123456789"))
		n := 1
		if digits > 0 {
			var err error
			if n, err = strconv.Atoi(s[1 : 1+digits]); err != nil || n > maxGeneration {
				return nil, fmt.Errorf("%s: no history is that long", s[:1+digits])
			}
		}
		switch s[0] {
		case '~':
			steps = append(steps, Step{Back: n})
		case '^':
			steps = append(steps, Step{Parent: n})
		default:
			return nil, fmt.Errorf("%q is not a revision: after a tag or digest come ~N, ^N or @{TIME}", s)
		}
		s = s[1+digits:]
	}
	return steps, nil
}

// parseTime reads a time as git does, without the words. A date stands for its
// end: what a branch was on a day is what it was when the day was over.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, err
	}
	return t.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
}

// cutRevision takes the steps off the end of a reference. In ranges of versions
// the same characters mean something else.
func (r *Reference) cutRevision(s string) (string, error) {
	if r.Scheme != "" {
		return s, nil
	}
	end := len(s)
	for end > 0 {
		start := stepBefore(s[:end])
		if start < 0 {
			break
		}
		end = start
	}
	name := s[:end]
	if end == len(s) || strings.HasSuffix(name, ":") || strings.ContainsAny(name, `"'|<>=* ,`) {
		return s, nil
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 && looksLikeRange(name[i+1:]) {
		return s, nil
	}
	if _, err := parseSteps(s[end:]); err != nil {
		return "", err
	}
	r.Revision = s[end:]
	return name, nil
}

// stepBefore returns where the step begins that s ends with, or -1.
func stepBefore(s string) int {
	if strings.HasSuffix(s, "}") {
		return strings.LastIndex(s, "@{")
	}
	i := len(strings.TrimRight(s, "0123456789")) - 1
	if i < 0 || s[i] != '~' && s[i] != '^' {
		return -1
	}
	return i
}
