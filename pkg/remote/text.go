package remote

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// urlSecrets finds the parts of a URL that can hold a secret: the user
	// before the host, and the query, where stores put their signatures.
	urlSecrets = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s"'<>/?#@]*@)?([^\s"'<>?]*)(\?[^\s"'<>]*)?`)

	// authSecrets finds credentials as they stand in headers.
	authSecrets = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}`)
)

// cleanText makes text that a stranger chose fit to show: on one line, without
// control characters, with its secrets cut out, at most maxErrorText bytes.
func cleanText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.Fields(s), " ")
	s = urlSecrets.ReplaceAllString(s, "$1$3")
	s = authSecrets.ReplaceAllString(s, "$1 ***")
	var b strings.Builder
	for _, r := range s {
		piece := string(r)
		if !unicode.IsPrint(r) {
			piece = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		if b.Len()+len(piece) > maxErrorText-len("…") {
			b.WriteString("…")
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}

// validHeaderText reports whether s can stand in a header or a path.
func validHeaderText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
