package scan

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted is the value of STRING: a literal of bytes in quotes, as Python's
// repr writes them.
func (m *machine) quoted(line string) value {
	line = strings.TrimRight(line, " \t\r\v\f")
	if len(line) < 2 || line[0] != line[len(line)-1] || line[0] != '\'' && line[0] != '"' {
		return value{kind: vLongText}
	}
	b, ok := unescapeBytes(line[1 : len(line)-1])
	if !ok || !isASCII(b) {
		return value{kind: vLongText}
	}
	return m.keep(b)
}

// unescapeBytes resolves escapes of Python's bytes. It reports false for what it
// does not know.
func unescapeBytes(s string) ([]byte, bool) {
	var b []byte
	for len(s) > 0 {
		if s[0] != '\\' {
			b, s = append(b, s[0]), s[1:]
			continue
		}
		if len(s) < 2 {
			return nil, false
		}
		if i := strings.IndexByte(`\'"abfnrtv`, s[1]); i >= 0 {
			b, s = append(b, "\\'\"\a\b\f\n\r\t\v"[i]), s[2:]
			continue
		}
		c, rest, ok := numeric(s[1:])
		if !ok {
			return nil, false
		}
		b, s = append(b, c), rest
	}
	return b, true
}

// numeric reads an escape in hexadecimal or octal digits, without its backslash.
func numeric(s string) (byte, string, bool) {
	if s[0] == 'x' {
		if len(s) < 3 {
			return 0, "", false
		}
		c, err := strconv.ParseUint(s[1:3], 16, 8)
		return byte(c), s[3:], err == nil
	}
	n := 0
	for n < min(3, len(s)) && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n == 0 {
		return 0, "", false
	}
	c, err := strconv.ParseUint(s[:n], 8, 16)
	return byte(c), s[n:], err == nil
}

// escaped is the value of UNICODE: Latin-1 with \u and \U.
func (m *machine) escaped(line string) value {
	var b []byte
	for i := 0; i < len(line); {
		if line[i] == '\\' && i+1 < len(line) && (line[i+1] == 'u' || line[i+1] == 'U') {
			n := 4
			if line[i+1] == 'U' {
				n = 8
			}
			if i+2+n > len(line) {
				return value{kind: vLongText}
			}
			c, err := strconv.ParseUint(line[i+2:i+2+n], 16, 32)
			if err != nil || c > utf8.MaxRune {
				return value{kind: vLongText}
			}
			b = utf8.AppendRune(b, rune(c))
			i += 2 + n
			continue
		}
		b = utf8.AppendRune(b, rune(line[i]))
		i++
	}
	return m.keep(b)
}
