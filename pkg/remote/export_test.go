package remote

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// RetryAfter is retryAfter.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }

// MaxErrorText is maxErrorText.
const MaxErrorText = maxErrorText

// ParseContentRange is parseContentRange.
func ParseContentRange(s string) (first, last, total int64, ok bool) {
	b, ok := parseContentRange(s)
	return b.first, b.last, b.total, ok
}

// ParseKept is parseKept.
func ParseKept(s string) (int64, bool) { return parseKept(s) }

// PickChallenge is pickChallenge.
func PickChallenge(h http.Header) (scheme, realm string, ok bool) {
	c, ok := pickChallenge(h)
	return c.scheme, c.realm, ok
}

// Inner is inner.
func Inner(addr netip.Addr) bool { return inner(addr) }

// FarDial dials as a request does that a registry on another host sent us on.
func FarDial(ctx context.Context, address string) (net.Conn, error) {
	return newDialer(refuseInner).DialContext(ctx, "tcp", address)
}

// FallbackTag is fallbackTag.
var FallbackTag = fallbackTag

// WithNear makes c reach registries through near; where they send it, it goes
// by itself.
func WithNear(c *Client, near http.RoundTripper) *Client {
	c.guard.near = near
	return c
}

// WithMirrorPatience sets how long mirrors are waited for, and forgets what is
// known of them.
func WithMirrorPatience(c *Client, d time.Duration) *Client {
	c.ways.patience.answer, c.ways.patience.stall = d, d
	clear(c.routes)
	return c
}

// MirrorRest tells how long a mirror is left alone after each of n failures in
// a row.
func MirrorRest(n int, asked time.Duration) []time.Duration {
	m, now := new(mirror), time.Now()
	var rests []time.Duration
	for range n {
		m.failed(now, asked)
		m.failed(now, asked) // at the same time: counts once
		rests = append(rests, m.rest.Sub(now))
		now = m.rest
	}
	return rests
}

// ParseHosts is parseHosts: the mirrors, and the server.
func ParseHosts(dir string, raw []byte) ([]Mirror, Mirror, error) {
	f, err := parseHosts(dir, raw)
	return f.mirrors, f.server, err
}

// MaxHosts is maxHosts.
const MaxHosts = maxHosts
