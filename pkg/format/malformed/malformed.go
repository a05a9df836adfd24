// Package malformed has the error that all readers of model files return for
// bytes that are not of their format, so that a caller need not know which of
// them it was.
package malformed

import (
	"errors"
	"fmt"
)

// ErrMalformed is what every [Error] unwraps to.
var ErrMalformed = errors.New("malformed file")

// An Error says where and why a file is not of its format. An error of reading
// the bytes is never one.
type Error struct {
	Format string // "safetensors", "gguf", …
	Offset int64  // of the byte in the file at which, or in the structure after which, it shows
	Reason string
}

// Error gives the format, the reason and the offset.
func (e *Error) Error() string {
	return fmt.Sprintf("invalid %s: %s (at byte %d)", e.Format, e.Reason, e.Offset)
}

// Unwrap returns [ErrMalformed].
func (e *Error) Unwrap() error { return ErrMalformed }
