package source

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"
)

// A landing is where a hub has redirected to for a file. Parts of the file are
// asked for there until it refuses: hubs count the requests that they answer, and
// a large file has thousands of parts.
type landing struct{ at atomic.Pointer[url.URL] }

// note keeps where the answer to a request to the hub came from, if that is
// elsewhere.
func (l *landing) note(c *client, resp *http.Response) {
	if l != nil && !c.ours(resp.Request.URL) {
		l.at.Store(resp.Request.URL)
	}
}

// known returns it, or nil.
func (l *landing) known() *url.URL {
	if l == nil {
		return nil
	}
	return l.at.Load()
}

// once makes one request, where the hub has led to before or else to the hub.
func (c *client) once(ctx context.Context, r request) (*http.Response, error) {
	if to := r.led.known(); to != nil {
		resp, err := c.send(ctx, r, to)
		if err == nil {
			return resp, nil
		}
		if wait, _ := retryable(err); wait > 0 || ctx.Err() != nil {
			return nil, err // it is busy, and still the right place
		}
		// Its signature has run out, most likely: the hub makes another one.
		r.led.at.CompareAndSwap(to, nil)
	}
	resp, err := c.send(ctx, r, nil)
	if err == nil {
		r.led.note(c, resp)
	}
	return resp, err
}

// request makes the request that is sent: to the hub, or as if the hub had
// redirected it to another place, without the token.
func (c *client) request(ctx context.Context, r request, to *url.URL) (*http.Request, error) {
	home, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(home.Header, r.header)
	if to != nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
		if err != nil {
			return nil, err
		}
		req.Header = home.Header
		req.Response = &http.Response{Request: home} // what the transport judges redirects by
		return req, nil
	}
	if c.token != "" {
		c.dress(home.Header, c.token)
	}
	return home, nil
}
