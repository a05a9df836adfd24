package card

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// JSON returns the front matter as a JSON object: the keys as written and in
// their order, text and dates as strings, numbers as numbers in the digits of
// the card where JSON has them, and as strings where it has not (NaN and the
// infinities). It is {} for a card without front matter, or with one that was
// rejected.
func (c *Card) JSON() json.RawMessage {
	if c.matter.kind != mappingKind {
		return json.RawMessage("{}")
	}
	return appendJSON(nil, c.matter)
}

func appendJSON(dst []byte, v value) []byte {
	switch v.kind {
	case booleanKind:
		return append(dst, v.text...)
	case numberKind:
		return appendNumber(dst, v.text)
	case textKind:
		return appendString(dst, v.text)
	case sequenceKind:
		dst = append(dst, '[')
		for i, item := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, item)
		}
		return append(dst, ']')
	case mappingKind:
		dst = append(dst, '{')
		for i, item := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, v.keys[i]), ':')
			dst = appendJSON(dst, item)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

func appendString(dst []byte, s string) []byte {
	// The only error is about invalid UTF-8, which is replaced.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendNumber writes a YAML number: as it stands if JSON would read it so.
func appendNumber(dst []byte, s string) []byte {
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && jsontext.Value(s).IsValid() {
		return append(dst, s...)
	}
	if i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64); err == nil {
		return strconv.AppendInt(dst, i, 10)
	}
	if err != nil || f-f != 0 {
		return appendString(dst, s)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}
