package eval

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/card"
)

// A Format is a form in which results are written down.
type Format string

// The formats that [Parse] reads.
const (
	FormatCard    Format = "model-index"                  // a README.md with model-index in its front matter
	FormatResults Format = "eval-results"                 // a file of .eval_results
	FormatLMEval  Format = "lm-evaluation-harness"        // results_*.json of lm-eval
	FormatInspect Format = "inspect"                      // a log of Inspect in JSON
	FormatNative  Format = "https://modelreg.dev/eval/v1" // a predicate of this package
)

// Formats are the formats that [Parse] reads.
func Formats() []Format {
	return []Format{FormatCard, FormatResults, FormatLMEval, FormatInspect, FormatNative}
}

// Parse reads a file of results. An empty format is found out from what is in
// the file, not from its name. The error wraps [ErrMalformed].
func Parse(raw []byte, format Format) (*Report, error) {
	if len(raw) > MaxBytes {
		return nil, malformed("%d bytes, more than %d", len(raw), MaxBytes)
	}
	if format == "" {
		format = detect(raw)
	}
	read, ok := map[Format]func([]byte) (*Report, error){
		FormatCard: parseCard, FormatResults: parseResults, FormatLMEval: parseLMEval,
		FormatInspect: parseInspect, FormatNative: ParsePredicate,
	}[format]
	if !ok {
		return nil, malformed("not a form of results that is known: %s", oneOf(Formats()))
	}
	r, err := read(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", format, err)
	}
	r.Format = format
	if len(r.Results) == 0 {
		return nil, malformed("read %s: it holds no results", format)
	}
	return r, nil
}

// oneOf names formats.
func oneOf(formats []Format) string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = string(f)
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// detect tells which format a file is in.
func detect(raw []byte) Format {
	if bytes.HasPrefix(raw, []byte("PK")) {
		return FormatInspect
	}
	trimmed := bytes.TrimLeft(raw, " \t\r\n\ufeff")
	switch {
	case bytes.HasPrefix(trimmed, []byte("{")):
		return detectJSON(trimmed)
	case bytes.HasPrefix(trimmed, []byte("---")):
		return FormatCard
	case bytes.HasPrefix(trimmed, []byte("- ")), bytes.HasPrefix(trimmed, []byte("#")), bytes.HasPrefix(trimmed, []byte("[")):
		return FormatResults
	}
	return ""
}

// detectJSON looks at the names of an object, and at no value of it.
func detectJSON(raw []byte) Format {
	var top map[string]jsontext.Value
	if err := json.Unmarshal(tolerant(raw), &top); err != nil {
		return ""
	}
	has := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return len(top[n]) == 0 })
	}
	switch {
	case has("eval", "status"):
		return FormatInspect
	case has("results") && top["results"].Kind() == '{':
		return FormatLMEval
	case has("results") && top["results"].Kind() == '[', has("metric", "value"):
		return FormatNative
	}
	return ""
}

func (r *Report) skip(format string, args ...any) {
	const most = 1000
	if len(r.Skipped) < most {
		r.Skipped = append(r.Skipped, fmt.Sprintf(format, args...))
	}
}

func parseCard(raw []byte) (*Report, error) {
	c, err := card.Parse(raw)
	if err != nil {
		return nil, malformed("%v", err)
	}
	if c.Problem != nil {
		return nil, malformed("%v", c.Problem)
	}
	return claims(c.Meta.Results), nil
}

func parseResults(raw []byte) (*Report, error) {
	list, err := card.ParseResults(raw)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return claims(list), nil
}

func claims(list []card.Result) *Report {
	r := &Report{}
	for _, c := range list {
		r.claim(c)
	}
	return r
}

// tolerant returns JSON as Python writes it in a form that is JSON: NaN and the
// infinities, which are no numbers, become null. Without these it returns what it
// was given.
func tolerant(raw []byte) []byte {
	if !bytes.Contains(raw, []byte("NaN")) && !bytes.Contains(raw, []byte("Infinity")) {
		return raw
	}
	out := make([]byte, 0, len(raw)+64)
	for i := 0; i < len(raw); {
		n := 1
		switch raw[i] {
		case '"':
			n = stringLength(raw[i:])
		case 'N', 'I', '-':
			if word := noNumber(raw[i:]); word > 0 {
				out = append(out, "null"...)
				i += word
				continue
			}
		}
		out = append(out, raw[i:i+n]...)
		i += n
	}
	return out
}

// stringLength is how far a string goes that raw begins with.
func stringLength(raw []byte) int {
	for i := 1; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// noNumber is the length of the word that raw begins with and that stands for
// no number.
func noNumber(raw []byte) int {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if strings.HasPrefix(string(raw[:min(len(raw), len(word))]), word) {
			return len(word)
		}
	}
	return 0
}

// modelName is what a harness calls a model, without the directories of the
// machine that it ran on.
func modelName(s string) string { return withoutDirectories(s) }

// withoutDirectories cuts a path of some machine to its last element. What is
// the name of something on a hub stays whole.
func withoutDirectories(s string) string {
	s = strings.TrimRight(strings.ReplaceAll(s, `\`, "/"), "/")
	local := strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "~") || strings.Contains(s, ":/") || strings.Count(s, "/") > 1
	if at := strings.LastIndexByte(s, '/'); local && at >= 0 {
		return s[at+1:]
	}
	return s
}
