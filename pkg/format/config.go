package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// The limits of configuration files.
const (
	maxConfig = 16 << 20 // tokenizer_config.json lists added tokens
	maxIndex  = 64 << 20 // *.index.json has a line for each tensor
	maxDepth  = 64
)

// An object is a JSON object of which only some members are wanted, and those
// only if they have the right type: the same name means different things in the
// files of different libraries.
type object map[string]jsontext.Value

func (o object) text(key string) string {
	var s string
	if v := o[key]; v.Kind() == '"' && json.Unmarshal(v, &s) == nil {
		return s
	}
	return ""
}

// number returns a whole number over zero, else 0.
func (o object) number(key string) int64 {
	v := o[key]
	if v.Kind() != '0' {
		return 0
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		// Some writers give whole numbers a fraction: 2048.0.
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil || f != math.Trunc(f) || f > 1<<53 {
			return 0
		}
		n = int64(f)
	}
	return max(n, 0)
}

func (o object) object(key string) object {
	var inner object
	if v := o[key]; v.Kind() == '{' && json.Unmarshal(v, &inner) == nil {
		return inner
	}
	return nil
}

// first returns the first of a list of strings.
func (o object) first(key string) string {
	var list []string
	if v := o[key]; v.Kind() == '[' && json.Unmarshal(v, &list) == nil && len(list) > 0 {
		return list[0]
	}
	return ""
}

// has tells whether the member is there and not empty.
func (o object) has(key string) bool {
	switch v := o[key]; v.Kind() {
	case '{', '[':
		return len(v) > 2
	case '"':
		return o.text(key) != ""
	}
	return false
}

// readObject reads a JSON file. Its error wraps [ErrMalformed] if it is none.
func readObject(ctx context.Context, f File) (object, error) {
	raw, err := readAll(ctx, f, maxConfig)
	if err != nil {
		return nil, err
	}
	noNumbers(raw)
	if err := checkDepth(raw); err != nil {
		return nil, err
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, malformedJSON(err)
	}
	return o, nil
}

// readAll reads a file of at most limit bytes.
func readAll(ctx context.Context, f File, limit int64) ([]byte, error) {
	if f.Size > limit {
		return nil, &malformed.Error{Format: "json", Offset: limit, Reason: fmt.Sprintf("over %d bytes", limit)}
	}
	r, err := f.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer r.Close() //nolint:errcheck // only read
	raw := make([]byte, f.Size)
	if n, err := r.ReadAt(raw, 0); n < len(raw) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return raw, nil
}

// noNumbers overwrites NaN, Infinity and -Infinity outside of strings with 0,
// which is nobody's context length. They are no JSON, but Python writes and reads them, and published
// configurations have them.
func noNumbers(raw []byte) {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString || c != 'N' && c != 'I' && c != '-':
		default:
			for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
				if len(raw)-i >= len(word) && string(raw[i:i+len(word)]) == word {
					copy(raw[i:i+len(word)], fmt.Sprintf("%-*d", len(word), 0))
				}
			}
		}
	}
}

// checkDepth refuses nesting that costs more than it can mean.
func checkDepth(raw []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return &malformed.Error{Format: "json", Offset: int64(i), Reason: fmt.Sprintf("nested deeper than %d", maxDepth)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func malformedJSON(err error) error {
	e := &malformed.Error{Format: "json", Reason: err.Error()}
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		e.Offset, e.Reason = se.ByteOffset, se.Err.Error()
	} else if se, ok := errors.AsType[*json.SemanticError](err); ok {
		e.Offset, e.Reason = se.ByteOffset, "not what it should be"
	}
	return e
}

// A weightMap is the set of files that an index names. The names of tensors,
// which are most of it, are passed over.
type weightMap map[string]bool

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *weightMap) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return errors.New("weight_map is no object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*m = weightMap{}
	for dec.PeekKind() != '}' {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		tok, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if tok.Kind() != '"' || len(*m) > maxShards {
			return errors.New("weight_map is no list of files")
		}
		(*m)[tok.String()] = true
	}
	_, err := dec.ReadToken()
	return err
}

// maxShards is how many files an index may name.
const maxShards = 100_000

// readIndex reads the names of the files of a *.index.json.
func readIndex(ctx context.Context, f File) (weightMap, error) {
	raw, err := readAll(ctx, f, maxIndex)
	if err != nil {
		return nil, err
	}
	if err := checkDepth(raw); err != nil {
		return nil, err
	}
	var index struct {
		WeightMap weightMap `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, malformedJSON(err)
	}
	if index.WeightMap == nil {
		return nil, &malformed.Error{Format: "json", Reason: "no weight_map"}
	}
	return index.WeightMap, nil
}
