package index

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxToken bounds one word, in bytes. Of longer ones the beginning counts.
const maxToken = 40

// A token is a word of a text: what is looked up, and where it stands.
type token struct {
	text       string
	start, end int // bytes of the original text
}

// tokens returns the words of s in the form that is looked up: lower case,
// without marks above and below letters. Letters of scripts without spaces are
// words of their own.
func tokens(s string) []token { return appendTokens(nil, s) }

// appendTokens appends the words of s to list.
func appendTokens(list []token, s string) []token {
	start, plain := -1, true
	emit := func(end int) {
		if start < 0 {
			return
		}
		w := s[start:end]
		if !plain {
			w = fold(w)
		}
		if len(w) > maxToken {
			w = cut(w, maxToken)
		}
		if w != "" {
			list = append(list, token{w, start, end})
		}
		start, plain = -1, true
	}
	for i, r := range s {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			if start < 0 {
				start = i
			}
		case isAlone(r):
			emit(i)
			start, plain = i, false
			emit(i + utf8.RuneLen(r))
		case r >= 'A' && unicode.IsLetter(r) || unicode.IsNumber(r) || start >= 0 && unicode.IsMark(r):
			if start < 0 {
				start = i
			}
			plain = false
		default:
			emit(i)
		}
	}
	emit(len(s))
	return list
}

func isAlone(r rune) bool {
	return r >= 0x2E80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

// fold returns a word that has more than small letters and digits as it is
// looked up.
func fold(w string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsMark(r) {
			return -1
		}
		return r
	}, norm.NFKD.String(strings.ToLower(w)))
}
