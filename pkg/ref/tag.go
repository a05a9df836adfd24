package ref

import (
	"fmt"
	"strings"
)

// branchPrefix marks a tag that stands for a branch with slashes in its name.
const branchPrefix = "_b."

// ValidTag tells whether a registry takes s as a tag:
// [A-Za-z0-9_][A-Za-z0-9._-]{0,127}.
func ValidTag(s string) bool {
	return s != "" && len(s) <= MaxTagBytes && only(s, alphanumeric+"._-") && s[0] != '.' && s[0] != '-'
}

// EncodeBranch returns the tag that stores a branch. It is the branch itself
// if that has no slash; else "feature/x" becomes "_b.feature__x". Names that
// could not be told apart afterwards are refused, with [ErrSyntax].
func EncodeBranch(s string) (tag string, err error) {
	tag, err = encodeBranch(s)
	if err != nil {
		return "", wrap(s, err)
	}
	return tag, nil
}

func encodeBranch(s string) (string, error) {
	if strings.HasPrefix(s, branchPrefix) {
		return "", fmt.Errorf("a branch must not begin with %s", branchPrefix)
	}
	if !strings.Contains(s, "/") {
		return s, checkTag(s)
	}
	for elem := range strings.SplitSeq(s, "/") {
		switch {
		case elem == "" || elem == "." || elem == "..":
			return "", fmt.Errorf("a branch must not have an empty, . or .. element")
		case strings.Contains(elem, "__") || elem[0] == '_' || elem[len(elem)-1] == '_':
			return "", fmt.Errorf("a branch with a slash must not have __, or _ beside the slash")
		}
	}
	tag := branchPrefix + strings.ReplaceAll(s, "/", "__")
	if len(tag) > MaxTagBytes {
		return "", fmt.Errorf("branch of %d bytes, more than %d", len(s), MaxTagBytes-len(tag)+len(s))
	}
	if !ValidTag(tag) {
		return "", fmt.Errorf("branch %q: letters, digits, _ . - and /", s)
	}
	return tag, nil
}

// DecodeBranch returns the branch that a tag stores. A tag that [EncodeBranch]
// did not make is returned as it is.
func DecodeBranch(tag string) string {
	rest, ok := strings.CutPrefix(tag, branchPrefix)
	if !ok {
		return tag
	}
	branch := strings.ReplaceAll(rest, "__", "/")
	if again, err := encodeBranch(branch); err != nil || again != tag {
		return tag
	}
	return branch
}

func checkTag(s string) error {
	if len(s) > MaxTagBytes {
		return fmt.Errorf("tag of %d bytes, more than %d", len(s), MaxTagBytes)
	}
	if !ValidTag(s) {
		return fmt.Errorf("tag %q: letters, digits, _ . and -, not beginning with . or -", s)
	}
	return nil
}

// setTag reads what follows the colon: a tag, a branch, or a range of versions.
func (r *Reference) setTag(s string) error {
	text, quoted := unquote(s)
	if quoted || looksLikeRange(text) {
		if r.Digest != "" || r.Prefix != "" {
			return fmt.Errorf("a range of versions and a digest cannot stand together")
		}
		if !validRange(text) {
			return fmt.Errorf("%q is not a range of versions, such as ^1.2 or >=1.0 <2.0", text)
		}
		r.Range = text
		return nil
	}
	if strings.Contains(s, "/") {
		tag, err := encodeBranch(s)
		r.Tag = tag
		return err
	}
	r.Tag = s
	return checkTag(s)
}

func unquote(s string) (string, bool) {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1], true
	}
	return s, false
}

// looksLikeRange finds ranges whose quotes a shell has eaten.
func looksLikeRange(s string) bool {
	return s != "" && (strings.ContainsAny(s[:1], "^~<>=") || strings.ContainsAny(s, "* |"))
}

func validRange(s string) bool {
	return len(s) <= MaxTagBytes && only(s, alphanumeric+".^~<>=*| ,+-") && strings.ContainsAny(s, "0123456789*")
}
