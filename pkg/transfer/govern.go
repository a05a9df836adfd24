package transfer

import "time"

const (
	// governEvery is how often the number of connections is looked at.
	governEvery = 25 * time.Millisecond

	// leastWindow is how long the rate is measured at least.
	leastWindow = 100 * time.Millisecond

	// slowConnection is the rate, in bytes per second, below which one
	// connection is taken to be held back by something of its own, so that
	// their number is doubled at once.
	slowConnection = 128 << 20

	// firstHold and longestHold bound the time until more connections are
	// tried again after they were of no use.
	firstHold   = 2 * time.Second
	longestHold = time.Minute

	// shyTrials is how many trials must be worth it, after the source has
	// complained, before more than one connection is tried at a time.
	shyTrials = 3
)

// A governor decides how many connections there are to be. It tries more, and
// keeps them if the bytes per second rose by at least half of what more
// connections of the same kind should have brought. A source that says that it
// is busy has half of them.
type governor struct {
	most      int     // connections
	bandwidth float64 // bytes per second; 0 is no limit
	target    int     // connections wanted; what leads a blob is there anyway

	leaders int       // at the last look
	proven  int       // the last target that was worth it; 0 unless trying more
	rate    float64   // then
	opens   time.Time // when the window of measuring opens or has opened
	start   int64     // bytes when it did; -1 before
	hold    time.Time // no trial before
	wait    time.Duration
	eased   time.Time // until then complaints are taken for the last one
	timid   int       // as many trials to come are of one connection: the source has complained
}

// A sight is what the governor sees.
type sight struct {
	now      time.Time
	received int64
	delay    time.Duration // of an answer
	leaders  int           // blobs, each with a connection of its own
	active   int           // connections
	more     bool          // there is something to do for helpers
}

// look takes a look at how things go.
func (g *governor) look(s sight) {
	if s.leaders != g.leaders {
		if s.leaders > g.target {
			g.target = s.leaders
		}
		g.leaders = s.leaders
		g.reopen(s)
		return
	}
	if s.leaders == 0 || s.now.Before(g.opens) {
		return
	}
	if g.start < 0 {
		g.start, g.opens = s.received, s.now
		return
	}
	span := s.now.Sub(g.opens)
	if span < max(leastWindow, s.delay) || s.received == g.start && span < 2*time.Second {
		return
	}
	g.judge(s, float64(s.received-g.start)/span.Seconds())
}

// judge decides what the rate of the last window means.
func (g *governor) judge(s sight, rate float64) {
	if g.proven > 0 { // this was a trial
		gain := float64(g.target-g.proven) / float64(g.proven)
		if rate < g.rate*(1+gain/2) {
			g.target = g.proven
			g.wait = min(max(2*g.wait, firstHold), longestHold)
			g.hold = s.now.Add(g.wait)
		} else {
			g.wait = 0
			g.timid = max(g.timid-1, 0)
		}
		g.proven = 0
	}
	g.rate = rate
	full := g.bandwidth > 0 && rate > 0.9*g.bandwidth
	if s.more && !full && s.active >= g.target && !s.now.Before(g.hold) {
		if next := min(g.target+g.step(), g.most); next > g.target {
			g.proven, g.target = g.target, next
		}
	}
	g.reopen(s)
}

// step returns how many connections to try more.
func (g *governor) step() int {
	switch {
	case g.timid > 0:
		return 1
	case g.rate < slowConnection*float64(g.target):
		return g.target
	}
	return max(g.target/2, 1)
}

// reopen begins to measure again, once new connections have come to speed.
func (g *governor) reopen(s sight) {
	g.start = -1
	g.opens = s.now
	if g.proven > 0 {
		g.opens = s.now.Add(governEvery + 2*s.delay)
	}
}

// congested takes back what the source cannot bear, of so many connections. Of
// complaints that come together only one counts, and the longest wait.
func (g *governor) congested(now time.Time, active int, wait time.Duration) {
	calm := now.Add(wait + firstHold)
	g.hold = later(g.hold, calm)
	g.opens = later(g.opens, now.Add(wait))
	if now.Before(g.eased) {
		return
	}
	g.eased = calm
	g.target = max(min(g.target, active)/2, 1)
	g.proven, g.start, g.timid = 0, -1, shyTrials
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
