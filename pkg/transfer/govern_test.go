package transfer_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/transfer"
)

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := transfer.NewLink(32)
		check := func(connections int, held time.Duration) {
			t.Helper()
			if got, until := l.Wants(); got != connections || max(time.Until(until), 0) != held {
				t.Errorf("%d connections wanted, none for %v; want %d and %v", got, time.Until(until), connections, held)
			}
		}
		refuse := func(wait time.Duration, again bool) {
			t.Helper()
			if l.Refuse(overloaded{busy{wait, again}}) {
				t.Error("a busy source leaves a blob alone")
			}
		}
		refuse(30*time.Second, true)
		check(16, 30*time.Second)
		refuse(time.Second, false) // at the same time
		check(16, 30*time.Second)
		time.Sleep(33 * time.Second)
		refuse(0, false)
		check(8, 0)
		l.Refuse(io.ErrUnexpectedEOF)
		check(8, 0)
		time.Sleep(3 * time.Second)
		l.Refuse(io.ErrUnexpectedEOF)
		check(4, 0)

		time.Sleep(3 * time.Second)
		for i, want := range []int{5, 6, 7, 14, 28} {
			if got := l.Judge(time.Now()); got != want {
				t.Errorf("after trial %d: %d connections wanted, want %d", i, got, want)
			}
		}
	})
}

// One answer that the source has waited for says little about the others.
func TestDelay(t *testing.T) {
	l := transfer.NewLink(1)
	for range 5 {
		l.Answer(20 * time.Millisecond)
	}
	if got := l.Answer(30 * time.Second); got > 50*time.Millisecond {
		t.Errorf("one answer took long, and the delay is %v", got)
	}
	for range 20 {
		l.Answer(time.Second)
	}
	if got := l.Answer(time.Second); got < 900*time.Millisecond {
		t.Errorf("all answers take a second, and the delay is %v", got)
	}
	if got := transfer.NewLink(1).Answer(time.Minute); got > 2*time.Second {
		t.Errorf("after a first answer of a minute the delay is %v", got)
	}
}
