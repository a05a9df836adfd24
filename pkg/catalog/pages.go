package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	maxPages = 10_000    // of one list
	maxPage  = 8 << 20   // bytes of one page
	maxNames = 1_000_000 // of one list

	maxTries    = 6 // without being asked to wait
	firstWait   = 250 * time.Millisecond
	longestWait = 10 * time.Second
	patience    = 5 * time.Minute // with one page, waits together
)

// A client talks to one API.
type client struct {
	base       *url.URL
	transport  http.RoundTripper
	credential remote.Credential // of the registry
	header     http.Header       // what of it is sent; nil for nothing
}

// A request is one request to an API.
type request struct {
	method string
	url    *url.URL
	body   []byte
}

func (r request) op() string {
	return strings.ToLower(r.method) + " " + r.url.Host + r.url.EscapedPath()
}

// pages hands on what is on the pages of a list, of which the first is at path, which
// is escaped already and may have a query.
func (l *listing) pages(ctx context.Context, c *client, path string, read reader) error {
	at, err := c.base.Parse(strings.TrimRight(c.base.EscapedPath(), "/") + path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	seen := map[key]struct{}{}
	for {
		r := request{method: http.MethodGet, url: at}
		k := keyOf(at.String())
		if _, again := seen[k]; again || len(seen) >= maxPages {
			return broken(r.op(), "the list does not end")
		}
		seen[k] = struct{}{}
		raw, header, err := c.do(ctx, r)
		if err != nil {
			return err
		}
		names, next, err := read(raw)
		if err != nil {
			return broken(r.op(), "not the list expected: "+err.Error())
		}
		if err := l.emit(names...); err != nil {
			return err
		}
		if next == "" {
			next = nextLink(header.Values("Link"))
		}
		if next == "" {
			return nil
		}
		if at, err = at.Parse(next); err != nil || !sameOrigin(at, c.base) || at.User != nil {
			return broken(r.op(), fmt.Sprintf("its next page is not on the same host: %.200q", next))
		}
		at.Fragment = ""
	}
}

// nextLink returns the target of the link to the next page (RFC 8288), "" if there is
// none.
func nextLink(values []string) string {
	for _, s := range values {
		for {
			_, rest, ok := strings.Cut(s, "<")
			if !ok {
				break
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			parameters, _, _ := strings.Cut(rest, "<") // a comma ends them, but may be quoted
			for p := range strings.FieldsFuncSeq(parameters, func(r rune) bool { return r == ';' || r == ',' }) {
				key, value, _ := strings.Cut(p, "=")
				if strings.EqualFold(strings.TrimSpace(key), "rel") && strings.EqualFold(strings.Trim(value, "\" \t"), "next") {
					return target
				}
			}
			s = rest
		}
	}
	return ""
}

// do makes a request until it is answered with what was asked for. An error is final:
// what could be tried again has been.
func (c *client) do(ctx context.Context, r request) (raw []byte, header http.Header, err error) {
	var waited time.Duration
	for try := 1; ; try++ {
		raw, header, err = c.once(ctx, r)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		later, ok := errors.AsType[*laterError](err)
		if !ok {
			return raw, header, err
		}
		if later.wait > 0 && waited+later.wait > patience {
			return nil, nil, fmt.Errorf("%w (it asks to wait %v)", later.error, later.wait.Round(time.Second))
		}
		if later.wait == 0 && try >= maxTries {
			return nil, nil, later.error
		}
		wait := later.wait + rand.N(min(firstWait<<min(try, 8), longestWait))
		waited += wait
		if err := remote.Pause(ctx, wait); err != nil {
			return nil, nil, err
		}
	}
}

// A laterError is one that may be gone at the next try.
type laterError struct {
	error
	wait time.Duration // what was asked for; zero for nothing
}

func (e *laterError) Unwrap() error { return e.error }

// once makes a request once, and reads the answer.
func (c *client) once(ctx context.Context, r request) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, c.header)
	req.Header.Set("Accept", "application/json")
	hc := http.Client{Transport: c.transport, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if !sameOrigin(req.URL, c.base) {
			return broken(r.op(), fmt.Sprintf("redirected to another host: %s", req.URL.Host))
		}
		return nil
	}}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, nil, failed(r.op(), err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, answered(r.op(), resp, time.Now())
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	switch {
	case err != nil:
		return nil, nil, failed(r.op(), err)
	case len(raw) > maxPage:
		return nil, nil, broken(r.op(), fmt.Sprintf("a page of more than %d bytes", maxPage))
	}
	return raw, resp.Header, nil
}

// failed makes an error of a request that got no answer, or not all of it.
func failed(op string, err error) error {
	err = remote.RequestError(op, err)
	if e, ok := errors.AsType[*remote.Error](err); ok {
		if _, again := e.Retry(); again {
			return &laterError{err, 0}
		}
	}
	return err
}

// answered makes an error of an answer that is not what was asked for.
func answered(op string, resp *http.Response, now time.Time) error {
	wait, limited := asked(resp, now)
	e := remote.AnswerError(op, resp)
	if limited {
		e.Class = remote.ErrUnreachable
	}
	if _, again := e.Retry(); again || limited {
		return &laterError{e, wait}
	}
	return e
}

// asked tells how long an answer asks to wait, and whether it says that there were
// too many requests: by Retry-After, by the time at which a limit ends (GitHub's REST
// API, "Rate limits"), or by X-Retry-After, which is such a time (Docker Hub API).
func asked(resp *http.Response, now time.Time) (wait time.Duration, limited bool) {
	h := resp.Header
	spent := h.Get("X-Ratelimit-Remaining") == "0"
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
	case http.StatusForbidden:
		if !spent && h.Get("Retry-After") == "" {
			return 0, false
		}
	default:
		return 0, false
	}
	if n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return max(at.Sub(now), 0), true
	}
	until := h.Get("X-Retry-After")
	if until == "" && spent {
		until = h.Get("X-Ratelimit-Reset")
	}
	if n, err := strconv.ParseInt(until, 10, 64); err == nil {
		return max(time.Unix(n, 0).Sub(now), 0), true
	}
	return 0, true
}

// broken says that an answer makes no sense.
func broken(op, text string) *remote.Error {
	return &remote.Error{Op: op, Text: remote.CleanText(text), Class: remote.ErrProtocol}
}
