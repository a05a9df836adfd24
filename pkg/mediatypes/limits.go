package mediatypes

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// checkDepth reads raw once, token by token, so that deep nesting is refused
// before anything is built from it.
func checkDepth(raw []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		_, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if dec.StackDepth() > MaxDepth {
			return malformed("nested deeper than %d", MaxDepth)
		}
	}
}

// checkMediaType keeps out what could break a header or a terminal. It does
// not insist on RFC 6838, since types such as "text/plain; charset=utf-8" are
// in use.
func checkMediaType(s string) error {
	if s == "" {
		return malformed("no mediaType")
	}
	if len(s) > maxMediaTypeBytes {
		return malformed("mediaType of %d bytes", len(s))
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return malformed("mediaType %q", s)
		}
	}
	return nil
}

func checkAnnotations(a map[string]string) error {
	if len(a) > MaxAnnotations {
		return malformed("%d annotations, more than %d", len(a), MaxAnnotations)
	}
	for k, v := range a {
		if k == "" {
			return malformed("annotation without a key")
		}
		if len(k) > MaxAnnotationBytes || len(v) > MaxAnnotationBytes {
			return malformed("annotation %.80q of more than %d bytes", k, MaxAnnotationBytes)
		}
	}
	return nil
}
