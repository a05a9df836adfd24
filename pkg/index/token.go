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
func tokens(s string) []token {
	var list []token
	start := -1
	emit := func(end int) {
		if start >= 0 {
			if w := fold(s[start:end]); w != "" {
				list = append(list, token{w, start, end})
			}
			start = -1
		}
	}
	for i, r := range s {
		switch {
		case isAlone(r):
			emit(i)
			start = i
			emit(i + utf8.RuneLen(r))
		case unicode.IsLetter(r) || unicode.IsNumber(r) || start >= 0 && unicode.IsMark(r):
			if start < 0 {
				start = i
			}
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

// fold returns a word as it is looked up.
func fold(w string) string {
	plain := true
	for i := range len(w) {
		if c := w[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			plain = false
			break
		}
	}
	if !plain {
		w = strings.ToLower(w)
		w = strings.Map(func(r rune) rune {
			if unicode.IsMark(r) {
				return -1
			}
			return r
		}, norm.NFKD.String(w))
	}
	return cut(w, maxToken)
}
