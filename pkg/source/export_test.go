package source

import "testing"

// What tests of reading ahead need.
var (
	NewWindow   = newWindow
	Ahead       = window.opener
	ErrNoRanges = errNoRanges
)

// CheckWindow fails unless all the room is free again.
func CheckWindow(t *testing.T, w window) {
	t.Helper()
	if len(w) != cap(w) {
		t.Errorf("%d of %d parts are free", len(w), cap(w))
	}
}
