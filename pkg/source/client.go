package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/remote"
)

const (
	maxTries    = 6  // without progress
	maxAsked    = 30 // of an answer that asks to wait
	firstWait   = 500 * time.Millisecond
	longestWait = 15 * time.Second

	// mostAsked is the longest wait that a hub may ask for at once: the Hub's
	// limits are counted over five minutes. defaultMaxWait is how long one
	// request is tried again when nobody says.
	mostAsked      = 5*time.Minute + 5*time.Second
	defaultMaxWait = 10 * time.Minute

	maxErrorBody = 8 << 10
)

// A client talks to one hub.
type client struct {
	base  *url.URL
	token string
	http  http.RoundTripper
	warn  func(string)

	ahead window // for the files of a model

	maxWait time.Duration // that one request is tried again

	// dress adds the token to a request.
	dress func(h http.Header, token string)
}

func newClient(hub Hub, public string, opts Options) (*client, error) {
	endpoint := hub.Endpoint
	if endpoint == "" {
		endpoint = public
	}
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: endpoint %.200q is no URL of a hub", ErrName, endpoint)
	}
	c := &client{base: u, token: hub.Token, http: opts.Transport, warn: opts.Warn, ahead: newWindow(), dress: bearer}
	c.maxWait = cmp.Or(max(opts.MaxWait, 0), defaultMaxWait)
	if c.http == nil {
		c.http = http.DefaultTransport
	}
	if c.warn == nil {
		c.warn = func(string) {}
	}
	if c.token != "" && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		c.warn("the token is not sent to " + u.Host + ", which is reached without TLS")
		c.token = ""
	}
	return c, nil
}

func bearer(h http.Header, token string) { h.Set("Authorization", "Bearer "+token) }

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// url returns a URL below the endpoint. Path is escaped already.
func (c *client) url(path string, query url.Values) string {
	s := c.base.String() + path
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}

// ours reports whether u leads to the hub itself.
func (c *client) ours(u *url.URL) bool {
	return strings.EqualFold(u.Scheme, c.base.Scheme) && strings.EqualFold(u.Host, c.base.Host)
}

// A request is one GET.
type request struct {
	url    string
	header http.Header
	first  func(http.Header) error // judges the hub's own answer, redirect or not
	want   []int
	fail   func(*Error, http.Header) error // makes the error of an answer of the hub
	led    *landing                        // where the hub has led to; nil asks the hub
}

// get makes a request until it is answered, and returns an answer that is
// wanted. The caller closes its body. An error is final: whatever could be
// tried again has been.
func (c *client) get(ctx context.Context, r request) (*http.Response, error) {
	started := time.Now()
	for try := 1; ; try++ {
		resp, err := c.once(ctx, r)
		if err == nil {
			return resp, nil
		}
		wait, again := retryable(err)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		late := again && time.Since(started)+wait > c.maxWait
		if !again || try >= maxTries && wait == 0 || try >= maxAsked || late {
			if p, ok := errors.AsType[*passing](err); ok {
				err = p.error
			}
			if late {
				err = fmt.Errorf("%w: %w", remote.ErrMaxWait, err)
			}
			return nil, err
		}
		if wait > longestWait {
			c.warn(fmt.Sprintf("%s asks to wait %s", c.base.Host, wait.Round(time.Second)))
		}
		if err := remote.Pause(ctx, wait+jitter(try)); err != nil {
			return nil, err
		}
	}
}

func jitter(try int) time.Duration { return rand.N(min(firstWait<<min(try, 8), longestWait)) }

// A passing is an error that may be gone at the next try.
type passing struct {
	error
	wait time.Duration
}

func (p *passing) Unwrap() error { return p.error }

func retryable(err error) (wait time.Duration, again bool) {
	if p, ok := errors.AsType[*passing](err); ok {
		return p.wait, true
	}
	return 0, false
}

// send makes one request, to the hub or to where it has led before.
func (c *client) send(ctx context.Context, r request, to *url.URL) (*http.Response, error) {
	req, err := c.request(ctx, r, to)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrName, err)
	}
	if to != nil {
		r.first = nil // the hub does not speak
	}
	op := "get " + hostPath(r.url)
	var refused error
	judge := func(h http.Header) error {
		if r.first == nil || refused != nil {
			return refused
		}
		refused = r.first(h)
		r.first = nil
		return refused
	}
	hc := http.Client{Transport: c.http, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		// Who may be sent where is for the transport to say, which sees
		// every request; it also counts them.
		return judge(req.Response.Header)
	}}
	resp, err := hc.Do(req)
	if refused != nil {
		if err == nil {
			resp.Body.Close()
		}
		return nil, refused
	}
	if err != nil {
		err, again := requestError(op, err)
		if again {
			err = &passing{err, 0}
		}
		return nil, err
	}
	if slices.Contains(r.want, resp.StatusCode) || len(r.want) == 0 && resp.StatusCode == http.StatusOK {
		if err := judge(resp.Header); err != nil {
			resp.Body.Close()
			return nil, err
		}
		return resp, nil
	}
	return nil, c.answerError(op, resp, r)
}

// answerError makes an error of an answer that is not wanted, and closes it.
func (c *client) answerError(op string, resp *http.Response, r request) error {
	defer resp.Body.Close()
	e := &Error{Op: op, Status: resp.StatusCode, Code: remote.CleanText(resp.Header.Get("X-Error-Code")), Text: errorText(resp)}
	wait := asked(resp.Header, time.Now())
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500 && s != http.StatusNotImplemented:
		e.Class = remote.ErrUnreachable
		return &passing{e, wait}
	case !c.ours(resp.Request.URL) && (s == http.StatusForbidden || s == http.StatusUnauthorized || s == http.StatusGone || s == http.StatusNotFound || s == http.StatusBadRequest):
		// The store behind the hub: the signature of the redirect ran out.
		e.Class = remote.ErrUnreachable
		return &passing{e, 0}
	case s == http.StatusUnauthorized:
		e.Class = remote.ErrUnauthorized
	case s == http.StatusForbidden:
		e.Class = remote.ErrForbidden
	case s == http.StatusNotFound:
		e.Class = errdef.ErrNotFound
	default:
		e.Class = remote.ErrProtocol
	}
	if r.fail != nil {
		return r.fail(e, resp.Header)
	}
	return e
}

// errorText reads what an answer says: a header of the Hugging Face Hub's, a
// member of its or ModelScope's document, or the text itself.
func errorText(resp *http.Response) string {
	if t := resp.Header.Get("X-Error-Message"); t != "" {
		return remote.CleanText(t)
	}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var doc struct {
		Error   string `json:"error"`
		Message string `json:"Message"`
	}
	if json.Unmarshal(raw, &doc) == nil && doc.Error+doc.Message != "" {
		return remote.CleanText(doc.Error + doc.Message)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return "" // a page for people
	}
	return remote.CleanText(string(raw))
}

// asked is how long an answer asks to wait: by Retry-After, or by the Hub's
// rate limit header, as in `"api";r=0;t=55` (RateLimit header fields for HTTP,
// draft 10).
func asked(h http.Header, now time.Time) time.Duration {
	s := h.Get("Retry-After")
	if s == "" {
		for part := range strings.SplitSeq(h.Get("Ratelimit"), ";") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(part), "t="); ok {
				s = t
			}
		}
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, mostAsked)
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(at.Sub(now), 0), mostAsked)
	}
	return 0
}

// document reads a JSON document of at most maxPage bytes into v.
func (c *client) document(ctx context.Context, r request, v any) (http.Header, error) {
	r.header = http.Header{"Accept": {"application/json"}}
	for try := 1; ; try++ {
		resp, err := c.get(ctx, r)
		if err != nil {
			return nil, err
		}
		op := "get " + resp.Request.URL.Host + resp.Request.URL.EscapedPath()
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
		resp.Body.Close()
		switch {
		case err != nil && (try == maxTries || ctx.Err() != nil):
			err, _ = requestError(op, err)
			return nil, err
		case err != nil:
			if err := remote.Pause(ctx, jitter(try)); err != nil {
				return nil, err
			}
			continue
		case len(raw) > maxPage:
			return nil, broken(op, "a document of more than 64 MiB")
		}
		if err := json.Unmarshal(raw, v); err != nil {
			return nil, broken(op, "not the document expected: %v", err)
		}
		return resp.Header, nil
	}
}
