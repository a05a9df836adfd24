package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxJSONDepth bounds the nesting of documents from outside.
const maxJSONDepth = 64

// checkJSON reads raw token by token, so that what is nested too deep, has
// duplicate names, invalid UTF-8 or trailing data is refused before anything
// is built from it.
func checkJSON(raw []byte, depth int) error {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	values := 0
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) && values == 1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: not JSON: %w", ErrUnsafe, err)
		}
		if dec.StackDepth() > depth {
			return fmt.Errorf("%w: JSON nested deeper than %d", ErrUnsafe, depth)
		}
		kind := tok.Kind()
		if dec.StackDepth() == 0 {
			if values++; values > 1 {
				return fmt.Errorf("%w: more than one JSON value (%v)", ErrUnsafe, kind)
			}
		}
	}
}
