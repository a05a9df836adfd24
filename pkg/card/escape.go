package card

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapeControls makes characters visible that command a terminal, turn the
// direction of text around or hide in it. Line ends and tabs stay.
func escapeControls(s string) string {
	if strings.IndexFunc(s, isControl) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !isControl(r):
			b.WriteRune(r) // U+FFFD for what is not UTF-8
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// isControl reports what escapeControls escapes: control characters, the
// bidirectional ones (Unicode Standard Annex 9, section 2), line and paragraph
// separators, and the tags block, with which text is hidden.
func isControl(r rune) bool {
	switch {
	case r == '\n' || r == '\t' || r == '\r':
		return false
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
		return true
	case r == '\u2028' || r == '\u2029' || r == '\ufeff':
		return true
	}
	return r >= 0xE0000 && r <= 0xE007F
}
