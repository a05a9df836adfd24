package scan

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of a template. The longest in use have some 30 KiB.
const (
	maxTemplate      = 1 << 20
	maxTemplateToken = 100_000 // in one tag
	maxRuneName      = 100     // bytes of an escape with the name of a rune
)

// A templateError says why a template cannot be read. What runs it could not
// either, or reads it otherwise.
type templateError struct {
	at     int
	reason string
}

func (e *templateError) Error() string { return e.reason }

// tokenKind is what a token of a template's expression is.
type tokenKind int

const (
	nameToken tokenKind = iota
	stringToken
	numberToken
	operatorToken
)

// A token is one of an expression or a statement. The text of a string is what
// it stands for, its escapes undone.
type token struct {
	kind tokenKind
	text string
	at   int // in the template
}

func (t token) is(operator string) bool { return t.kind == operatorToken && t.text == operator }

// A templateTag is one {{ expression }} or {% statement %}.
type templateTag struct {
	at        int
	statement bool
	tokens    []token
}

// lexTemplate calls visit with each tag of a Jinja template with the default
// delimiters. It reads what Jinja's own lexer reads: comments and raw blocks are
// text, and a brace that closes one of an expression does not end the tag.
func lexTemplate(text string, visit func(templateTag)) *templateError {
	for at := 0; at < len(text); {
		open := strings.IndexByte(text[at:], '{')
		if open < 0 || at+open+1 >= len(text) {
			return nil
		}
		at += open
		var err *templateError
		switch text[at+1] {
		case '#':
			end := strings.Index(text[at+2:], "#}")
			if end < 0 {
				return &templateError{at, "a comment does not end"}
			}
			at += 2 + end + 2
		case '{', '%':
			at, err = lexTag(text, at, visit)
		default:
			at++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lexTag reads the tag that begins at, and returns where the text goes on.
func lexTag(text string, at int, visit func(templateTag)) (int, *templateError) {
	l := &templateLexer{text: text, at: at + 2, tag: templateTag{at: at, statement: text[at+1] == '%'}}
	if l.at < len(text) && (text[l.at] == '-' || text[l.at] == '+') {
		l.at++
	}
	for {
		done, err := l.next()
		if err != nil {
			return 0, err
		}
		if done {
			break
		}
		if len(l.tag.tokens) > maxTemplateToken {
			return 0, &templateError{at, fmt.Sprintf("a tag has more than %d tokens", maxTemplateToken)}
		}
	}
	if l.tag.statement && len(l.tag.tokens) == 1 && l.tag.tokens[0].kind == nameToken && l.tag.tokens[0].text == "raw" {
		return skipRaw(text, l.at)
	}
	visit(l.tag)
	return l.at, nil
}

// skipRaw goes past a raw block, to its {% endraw %}.
func skipRaw(text string, at int) (int, *templateError) {
	begin := at
	for {
		i := strings.Index(text[at:], "{%")
		if i < 0 {
			return 0, &templateError{begin, "a raw block does not end"}
		}
		at += i + 2
		rest := strings.TrimLeftFunc(strings.TrimLeft(text[at:], "-+"), isSpace)
		if rest, ok := strings.CutPrefix(rest, "endraw"); ok {
			rest = strings.TrimLeftFunc(rest, isSpace)
			rest = strings.TrimLeft(rest, "-+")
			if strings.HasPrefix(rest, "%}") {
				return len(text) - len(rest) + 2, nil
			}
		}
	}
}

// isSpace tells what Python takes for white space: the separators of ASCII too.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// A templateLexer reads one tag.
type templateLexer struct {
	text   string
	at     int
	tag    templateTag
	braces []byte // open ones
}

// next reads one token, and tells whether it was the end of the tag.
func (l *templateLexer) next() (done bool, err *templateError) {
	for l.at < len(l.text) {
		r, n := utf8.DecodeRuneInString(l.text[l.at:])
		if !isSpace(r) {
			break
		}
		l.at += n
	}
	if l.at >= len(l.text) {
		return false, &templateError{l.tag.at, "a tag does not end"}
	}
	if len(l.braces) == 0 && l.end() {
		return true, nil
	}
	c := l.text[l.at]
	switch {
	case c == '\'' || c == '"':
		return false, l.quoted(c)
	case c >= '0' && c <= '9':
		l.take(numberToken, l.span(func(r rune) bool { return r == '_' || unicode.IsDigit(r) || unicode.IsLetter(r) }))
		return false, nil
	}
	isName := func(r rune) bool {
		return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r)
	}
	if n := l.span(isName); n > 0 {
		l.take(nameToken, n)
		return false, nil
	}
	return false, l.operator(c)
}

// end goes past the end of the tag, if that is what comes.
func (l *templateLexer) end() bool {
	closing := "}}"
	if l.tag.statement {
		closing = "%}"
	}
	rest := l.text[l.at:]
	trimmed := strings.TrimPrefix(strings.TrimPrefix(rest, "-"), "+")
	if !strings.HasPrefix(trimmed, closing) || len(rest)-len(trimmed) > 1 {
		return false
	}
	l.at = len(l.text) - len(trimmed) + 2
	return true
}

// span is how many bytes from here on belong to it.
func (l *templateLexer) span(in func(rune) bool) int {
	rest := l.text[l.at:]
	if i := strings.IndexFunc(rest, func(r rune) bool { return !in(r) }); i >= 0 {
		return i
	}
	return len(rest)
}

func (l *templateLexer) take(kind tokenKind, n int) {
	l.tag.tokens = append(l.tag.tokens, token{kind, l.text[l.at : l.at+n], l.at})
	l.at += n
}

// operator reads punctuation, and keeps count of what is open.
func (l *templateLexer) operator(c byte) *templateError {
	switch c {
	case '(', '[', '{':
		l.braces = append(l.braces, c)
	case ')', ']', '}':
		open := map[byte]byte{')': '(', ']': '[', '}': '{'}[c]
		if len(l.braces) == 0 || l.braces[len(l.braces)-1] != open {
			return &templateError{l.at, fmt.Sprintf("an unexpected %q", c)}
		}
		l.braces = l.braces[:len(l.braces)-1]
	}
	if !strings.ContainsRune("()[]{}.,:;|~+-*/%<>=!&", rune(c)) {
		return &templateError{l.at, fmt.Sprintf("an unexpected %q", c)}
	}
	n := 1
	if two := l.text[l.at:min(l.at+2, len(l.text))]; two == "**" || two == "//" || two == "==" || two == "!=" || two == "<=" || two == ">=" {
		n = 2
	}
	l.take(operatorToken, n)
	return nil
}

// quoted reads a string, and undoes its escapes as Python does.
func (l *templateLexer) quoted(quote byte) *templateError {
	begin := l.at
	for i := begin + 1; i < len(l.text); i++ {
		switch l.text[i] {
		case '\\':
			i++
		case quote:
			l.tag.tokens = append(l.tag.tokens, token{stringToken, unescape(l.text[begin+1 : i]), begin})
			l.at = i + 1
			return nil
		}
	}
	return &templateError{begin, "a string does not end"}
}

// unescape undoes the escapes of a Python string. Those that it does not know
// stay.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 >= len(s) {
			b.WriteByte(s[i])
			i++
			continue
		}
		text, n := escape(s[i:])
		b.WriteString(text)
		i += n
	}
	return b.String()
}

// escape returns what the escape that s begins with stands for, and its length.
func escape(s string) (string, int) {
	if digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]; digits > 0 {
		if len(s) >= 2+digits {
			if v, err := strconv.ParseUint(s[2:2+digits], 16, 32); err == nil {
				return string(rune(v)), 2 + digits
			}
		}
		return s[:2], 2
	}
	if s[1] == 'N' {
		if end := strings.IndexByte(s[:min(len(s), maxRuneName)], '}'); end > 0 && strings.HasPrefix(s[2:], "{") {
			if strings.EqualFold(s[3:end], "LOW LINE") || strings.EqualFold(s[3:end], "SPACING UNDERSCORE") {
				return "_", end + 1
			}
			return "?", end + 1
		}
	}
	if n := len(s[1:min(4, len(s))]) - len(strings.TrimLeft(s[1:min(4, len(s))], "01234567")); n > 0 {
		v, _ := strconv.ParseUint(s[1:1+n], 8, 16) // at most three octal digits
		return string(rune(v)), 1 + n
	}
	if i := strings.IndexByte("abfnrtv\\'\"\n", s[1]); i >= 0 {
		return []string{"\a", "\b", "\f", "\n", "\r", "\t", "\v", "\\", "'", "\"", ""}[i], 2
	}
	return s[:2], 2
}
