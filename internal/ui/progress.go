package ui

import (
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// plainEvery is the time between two lines of progress without a terminal.
const plainEvery = 5 * time.Second

// maxBars bounds the bars on a terminal; a model of thousands of files shows
// the files that are moving, not those that have moved.
const maxBars = 12

// A Progress shows the transfer of blobs. Close must be called, and waits
// until all is drawn.
type Progress struct {
	verb    string
	out     io.Writer
	started time.Time

	mu    sync.Mutex
	there int64 // done, or not to be done: of total
	moved int64 // over the wire, for the rate
	total int64
	seen  map[string]bool

	bars *mpb.Progress
	live map[string]*mpb.Bar

	stop chan struct{}
	done sync.WaitGroup
}

// Progress starts to show a transfer; verb is what is done, such as "push".
// Observe of the result may be given to a transfer. With Quiet it shows
// nothing.
func (p *Printer) Progress(verb string) *Progress {
	pr := &Progress{
		verb: verb, out: p.Err, started: time.Now(),
		seen: map[string]bool{}, live: map[string]*mpb.Bar{},
		stop: make(chan struct{}),
	}
	switch {
	case p.Quiet || p.NoProgress:
		pr.out = io.Discard
	case p.Terminal:
		pr.bars = mpb.New(mpb.WithOutput(p.Err), mpb.WithAutoRefresh(), mpb.WithWidth(80), mpb.WithRefreshRate(150*time.Millisecond))
	default:
		pr.done.Go(pr.lines)
	}
	return pr
}

// Observe takes one event. It is safe for concurrent use.
func (p *Progress) Observe(e transfer.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(e)
	switch e.Action {
	case transfer.Start:
		p.open(e)
	case transfer.Progress, transfer.Copied:
		if bar := p.live[key(e)]; bar != nil {
			bar.IncrInt64(e.Bytes)
		}
	case transfer.Retry:
		p.say("%s: %v; trying again", e.Name, e.Err)
	default:
		if bar := p.live[key(e)]; bar != nil {
			bar.Abort(true)
			delete(p.live, key(e))
		}
	}
}

// key tells blobs apart: of one that is sent while it is hashed, the digest is
// known only at the end.
func key(e transfer.Event) string {
	if e.Name != "" {
		return e.Name
	}
	return e.Desc.Digest.String()
}

// count keeps the sums; the caller holds the lock.
func (p *Progress) count(e transfer.Event) {
	if !p.seen[key(e)] && e.Action != transfer.Retry {
		p.seen[key(e)] = true
		p.total += e.Desc.Size
	}
	switch e.Action {
	case transfer.Start:
		p.there += e.Bytes
	case transfer.Progress:
		p.there += e.Bytes
		p.moved += e.Bytes
	case transfer.Copied:
		p.there += e.Bytes
	case transfer.Exists, transfer.Mounted, transfer.Reused:
		p.there += e.Desc.Size
	}
}

// open draws a bar for a blob; the caller holds the lock.
func (p *Progress) open(e transfer.Event) {
	if p.bars == nil || e.Desc.Size <= 0 || len(p.live) >= maxBars {
		return
	}
	// Without a total at first, a full bar is not complete: bytes may have to
	// go again.
	bar := p.bars.New(0, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
		mpb.PrependDecorators(decor.Name(shorten(Clean(e.Name), 36), decor.WC{W: 37, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.Any(pace(time.Now(), e.Bytes))))
	bar.SetTotal(e.Desc.Size, false)
	bar.SetCurrent(e.Bytes)
	p.live[key(e)] = bar
}

// pace tells how far a blob is, how fast it moves and how long it will take. The
// bytes that were there when it started are no speed.
func pace(started time.Time, there int64) decor.DecorFunc {
	return func(s decor.Statistics) string {
		rate := float64(s.Current-there) / max(time.Since(started).Seconds(), 0.001)
		text := Bytes(s.Current) + " / " + Bytes(s.Total)
		if rate < 1 {
			return text
		}
		left := time.Duration(float64(s.Total-s.Current) / rate * float64(time.Second))
		return text + "  " + Bytes(int64(rate)) + "/s  " + left.Round(time.Second).String()
	}
}

// say prints a line between the bars; the caller holds the lock.
func (p *Progress) say(format string, args ...any) {
	line := Clean(fmt.Sprintf(format, args...)) + "\n"
	if p.bars != nil {
		_, _ = p.bars.Write([]byte(line)) // progress that cannot be shown is no failure
		return
	}
	_, _ = io.WriteString(p.out, line)
}

// lines tells the state every few seconds, for logs.
func (p *Progress) lines() {
	tick := time.NewTicker(plainEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.line()
		}
	}
}

func (p *Progress) line() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == 0 {
		return // still reading, with nothing to tell
	}
	rate := float64(p.moved) / max(time.Since(p.started).Seconds(), 0.001)
	p.say("%s: %s of %s, %s/s", p.verb, Bytes(p.there), Bytes(p.total), Bytes(int64(rate)))
}

// Close stops showing. It may be called once.
func (p *Progress) Close() {
	close(p.stop)
	p.done.Wait()
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	for _, bar := range p.live {
		bar.Abort(true)
	}
	p.mu.Unlock()
	p.bars.Wait()
}

// shorten keeps the end of a long name, where the file is.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return "…" + string(r[len(r)-n+1:])
}
