package ui_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/transfer"
)

func blob(name string, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromString(name), Size: size}
}

func event(action transfer.Action, name string, size, n int64) transfer.Event {
	return transfer.Event{Action: action, Name: name, Desc: blob(name, size), Bytes: n}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		p := (&ui.Printer{Err: &out}).Progress("push")
		time.Sleep(6 * time.Second) // nothing is known yet: a line would say nothing
		p.Observe(event(transfer.Exists, "there", 1_000_000_000, 0))
		p.Observe(event(transfer.Start, "a", 100_000_000, 20_000_000)) // goes on where it was
		p.Observe(event(transfer.Progress, "a", 100_000_000, 40_000_000))
		time.Sleep(5 * time.Second)                                        // at 11 s
		p.Observe(event(transfer.Progress, "a", 100_000_000, -40_000_000)) // wrong bytes
		p.Observe(transfer.Event{Action: transfer.Retry, Name: "a\x1b", Desc: blob("a", 100_000_000), Err: errors.New("cut")})
		p.Observe(event(transfer.Progress, "a", 100_000_000, 80_000_000))
		p.Observe(event(transfer.Done, "a", 100_000_000, 0))
		time.Sleep(5 * time.Second) // at 16 s
		p.Close()
		p.Observe(event(transfer.Start, "late", 1, 0)) // a straggler does no harm
		want := `push: 1.1 GB of 1.1 GB, 4.0 MB/s
a\x1b: cut; trying again
push: 1.1 GB of 1.1 GB, 5.3 MB/s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestProgressSilent(t *testing.T) {
	for name, p := range map[string]ui.Printer{
		"quiet":              {Quiet: true},
		"quiet, terminal":    {Quiet: true, Terminal: true},
		"none":               {NoProgress: true},
		"none on a terminal": {NoProgress: true, Terminal: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out buffer
				p.Err = &out
				pr := p.Progress("pull")
				pr.Observe(event(transfer.Start, "a", 100, 0))
				pr.Observe(event(transfer.Retry, "a", 100, 0))
				time.Sleep(time.Minute)
				pr.Close()
				if out.String() != "" {
					t.Errorf("wrote %q", out.String())
				}
			})
		})
	}
}

func TestProgressBars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		p := (&ui.Printer{Err: &out, Terminal: true}).Progress("pull")
		name := "a/very/long/directory/name/that/does/not/fit/model\x1b[2J.safetensors"
		p.Observe(event(transfer.Start, name, 2_000_000, 0))
		p.Observe(event(transfer.Progress, name, 2_000_000, 1_000_000))
		p.Observe(event(transfer.Start, "empty", 0, 0)) // no bar
		time.Sleep(time.Second)
		shown := out.String()
		for _, want := range []string{"1.0 MB / 2.0 MB", "…", ".safetensors", "━"} {
			if !strings.Contains(shown, want) {
				t.Errorf("no %q in %q", want, shown)
			}
		}
		if strings.Contains(shown, "\x1b[2J") {
			t.Errorf("a name reached the terminal as it is: %q", shown)
		}
		p.Observe(transfer.Event{Action: transfer.Retry, Name: "other", Desc: blob("other", 1), Err: errors.New("cut")})
		p.Observe(event(transfer.Progress, name, 2_000_000, 1_000_000))
		p.Observe(event(transfer.Done, name, 2_000_000, 0))
		time.Sleep(time.Second)
		p.Close()
		if !strings.Contains(out.String(), "other: cut; trying again\n") {
			t.Errorf("the retry is not told: %q", out.String())
		}
	})
}

// A blob that fails has no last event: Close must not wait for it.
func TestProgressBarsOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		p := (&ui.Printer{Err: &out, Terminal: true}).Progress("pull")
		for i := range 30 { // more than there are bars
			p.Observe(event(transfer.Start, fmt.Sprintf("file-%02d", i), 100, 10))
		}
		time.Sleep(time.Second)
		p.Close()
		if strings.Contains(out.String(), "file-29") {
			t.Error("there is no bound on the bars")
		}
	})
}

// Bytes of an earlier run are progress, and no speed.
func TestProgressBarOfResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		p := (&ui.Printer{Err: &out, Terminal: true}).Progress("pull")
		p.Observe(event(transfer.Start, "a", 2_000_000_000, 1_000_000_000))
		time.Sleep(10 * time.Second)
		p.Observe(event(transfer.Progress, "a", 2_000_000_000, 100_000_000))
		time.Sleep(100 * time.Millisecond) // the next picture is at 10.05 s
		p.Close()
		if want := "1.1 GB / 2.0 GB  10.0 MB/s  1m30s"; !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	})
}

// An upload whose last bytes have to go again: what was a full bar moves back.
func TestProgressBarGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		p := (&ui.Printer{Err: &out, Terminal: true}).Progress("push")
		p.Observe(event(transfer.Start, "a", 2_000_000, 0))
		p.Observe(event(transfer.Progress, "a", 2_000_000, 2_000_000))
		time.Sleep(time.Second)
		p.Observe(event(transfer.Progress, "a", 2_000_000, -1_500_000))
		time.Sleep(time.Second)
		p.Close()
		if !strings.Contains(out.String(), "500.0 kB / 2.0 MB") {
			t.Errorf("the bar did not go back: %q", out.String())
		}
	})
}

func TestProgressConcurrent(t *testing.T) {
	for terminal, want := range map[bool]string{false: "push: 2.0 kB of 2.0 kB", true: "100 B / 100 B"} {
		synctest.Test(t, func(t *testing.T) {
			var out buffer
			p := (&ui.Printer{Err: &out, Terminal: terminal}).Progress("push")
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					name := fmt.Sprint("file-", i)
					p.Observe(event(transfer.Start, name, 100, 0))
					for range 10 {
						p.Observe(event(transfer.Progress, name, 100, 10))
					}
					p.Observe(event(transfer.Done, name, 100, 0))
				})
			}
			wg.Wait()
			time.Sleep(time.Minute)
			p.Close()
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in %q", want, out.String())
			}
		})
	}
}
