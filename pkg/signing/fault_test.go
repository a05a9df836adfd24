package signing

import (
	"fmt"
	"io"
	"testing"
	"time"
)

type broken struct{ again bool }

func (broken) Error() string                  { return "the connection broke" }
func (broken) Unwrap() error                  { return io.ErrUnexpectedEOF }
func (b broken) Retry() (time.Duration, bool) { return 0, b.again }

// A connection that breaks in the middle of a signature says nothing of it.
func TestBrokenConnectionIsNotTheSignaturesFault(t *testing.T) {
	if isOwnFault(fmt.Errorf("read: %w", broken{again: true})) {
		t.Error("a broken connection counts as a bad signature")
	}
	if !isOwnFault(fmt.Errorf("read: %w", broken{})) || !isOwnFault(io.ErrUnexpectedEOF) {
		t.Error("a bundle that is too short counts as a broken connection")
	}
}
