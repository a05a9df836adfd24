package remote

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxRedirects = 5

	// answerTimeout bounds the wait for the first byte of an answer to a
	// small request, connecting included.
	answerTimeout = 50 * time.Second

	// commitTimeout bounds the wait for the answer to an upload after its
	// last byte has gone: registries on object stores copy the whole blob
	// then.
	commitTimeout = 30 * time.Minute
)

// A guard is the one way in which requests leave. It holds the rules that
// redirects and credentials must obey whoever made the request, and the
// time-outs.
type guard struct {
	near   http.RoundTripper
	far    http.RoundTripper // refuses inner addresses
	agent  string
	realms map[string][]string
}

// RoundTrip implements [http.RoundTripper].
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	op := opOf(req)
	chain := hops(req)
	if err := checkHops(op, chain, req); err != nil {
		return nil, refuse(req, err)
	}
	home := chain[0].URL
	reg, known := req.Context().Value(endpointKey{}).(*endpoint)
	if known {
		home = &url.URL{Scheme: reg.scheme, Host: reg.host}
		if err := g.checkSecrets(op, home, chain, req); err != nil {
			return nil, refuse(req, err)
		}
	}
	next, away := g.near, !strings.EqualFold(req.URL.Hostname(), home.Hostname())
	stranger := forStranger(req.Context())
	switch {
	case away && (stranger || !isLoopback(home.Hostname())):
		next = g.far
	case !away && known && reg.near != nil:
		next, stranger = reg.near, false // the user has set it up
	case stranger:
		next = g.far
	}
	if err := checkPlace(op, home, req.URL, stranger); err != nil {
		return nil, refuse(req, err)
	}
	out := g.dress(req, chain)
	if known && sameOrigin(req.URL, home) {
		maps.Copy(out.Header, reg.header)
	}
	resp, err := g.timed(next, out)
	if err != nil {
		return nil, err
	}
	resp.Request = req
	if resp.StatusCode == http.StatusUnauthorized && known && !forBeside(req.Context()) && sameOrigin(req.URL, home) {
		if err := checkChallenge(op, home, resp.Header); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp, nil
}

// refuse closes the body, which a RoundTripper must do also on errors.
func refuse(req *http.Request, err error) error {
	if req.Body != nil {
		req.Body.Close()
	}
	return err
}

// hops returns the requests that led to req by redirects, the first first, and
// req itself last.
func hops(req *http.Request) []*http.Request {
	chain := []*http.Request{req}
	for req.Response != nil && req.Response.Request != nil && len(chain) <= maxRedirects+1 {
		req = req.Response.Request
		chain = append(chain, req)
	}
	slices.Reverse(chain)
	return chain
}

func checkHops(op string, chain []*http.Request, req *http.Request) error {
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return protocolError(op, "redirected to a %s URL", req.URL.Scheme)
	}
	if len(chain) > maxRedirects+1 {
		return protocolError(op, "more than %d redirects", maxRedirects)
	}
	for i := 1; i < len(chain); i++ {
		from, to := chain[i-1].URL, chain[i].URL
		if from.Scheme == "https" && to.Scheme != "https" {
			return protocolError(op, "redirected from https to http")
		}
		if to.User != nil {
			return protocolError(op, "redirected to a URL with a user name in it")
		}
	}
	return nil
}

// checkPlace refuses addresses in numbers that a stranger has no reason to send
// us to. The dialer does that too, and for names as well, but not where a proxy
// dials for us. With stranger it is one who has named home too.
func checkPlace(op string, home, to *url.URL, stranger bool) error {
	host := to.Hostname()
	switch {
	case stranger && isLoopback(host):
		return protocolError(op, "content on another host may not lead to %s", host)
	case !isNumber(host), !stranger && strings.EqualFold(host, home.Hostname()):
		return nil
	}
	addr, err := netip.ParseAddr(host)
	if err == nil && (!inner(addr) || addr.Unmap().IsLoopback() && isLoopback(home.Hostname())) {
		return nil
	}
	return protocolError(op, "a registry on another host may not lead to %s", host)
}

// isNumber reports whether host is an address rather than a name, in any of the
// forms that some resolver takes (WHATWG URL, section "Host parsing").
func isNumber(host string) bool {
	if strings.Contains(host, ":") {
		return true
	}
	last := strings.TrimSuffix(host, ".")
	last = strings.ToLower(last[strings.LastIndexByte(last, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// leftOrigin reports whether some redirect went to another scheme, host or
// port. Coming back does not count: the way there was chosen by a stranger.
func leftOrigin(chain []*http.Request) bool {
	for _, r := range chain[1:] {
		if !sameOrigin(chain[0].URL, r.URL) {
			return true
		}
	}
	return false
}

// checkSecrets refuses to send a password to a token server that the registry
// named and nobody vouches for. Requests to the registry itself and redirects,
// which lose their credentials in dress, pass.
func (g *guard) checkSecrets(op string, home *url.URL, chain []*http.Request, req *http.Request) error {
	if sameOrigin(chain[0].URL, home) {
		return nil
	}
	secret := req.Header.Get("Authorization") != "" || req.Body != nil && req.Body != http.NoBody
	host := chain[0].URL.Hostname()
	if !secret || g.trusts(home, host) {
		return nil
	}
	return &Error{
		Op: op, Class: ErrUnauthorized,
		Text: cleanText("registry " + home.Host + " asks for the password to be sent to " + host +
			", which it has not been allowed to (allow it with: modelreg login --realm " + host + " " + home.Host + ")"),
	}
}

// trusts reports whether host is a token server to which the passwords of the
// registry at home may go.
func (g *guard) trusts(home *url.URL, host string) bool {
	name := home.Hostname()
	if strings.EqualFold(name, host) || isLoopback(name) && isLoopback(host) {
		return true
	}
	for _, allowed := range slices.Concat(g.realms[home.Host], g.realms[name], knownRealms(name)) {
		if strings.EqualFold(allowed, host) {
			return true
		}
	}
	return false
}

// knownRealms returns the token servers of public registries that keep them
// on another host.
func knownRealms(registry string) []string {
	switch registry {
	case "docker.io", "registry-1.docker.io", "index.docker.io":
		return []string{"auth.docker.io"}
	case "registry.gitlab.com":
		return []string{"gitlab.com"}
	case "registry.digitalocean.com":
		return []string{"api.digitalocean.com"}
	case "registry.redhat.io", "registry.connect.redhat.com":
		return []string{"sso.redhat.com"}
	case "nvcr.io":
		return []string{"authn.nvidia.com"}
	}
	return nil
}

// checkChallenge looks at the realm a registry names before oras-go follows
// it.
func checkChallenge(op string, home *url.URL, h http.Header) error {
	c, ok := pickChallenge(h)
	if !ok || c.scheme != "bearer" {
		return nil
	}
	u, err := url.Parse(c.realm)
	switch {
	case err != nil || u.Host == "" || !validHeaderText(c.realm):
		return protocolError(op, "token server is not a URL: %q", c.realm)
	case u.User != nil:
		return protocolError(op, "token server's URL has a user name in it")
	case u.Scheme == "https" || u.Scheme == "http" && home.Scheme == "http":
		return nil
	}
	return protocolError(op, "token server %s://%s is not https", u.Scheme, u.Host)
}

// dress returns the request as it goes out. Credentials stay at home.
func (g *guard) dress(req *http.Request, chain []*http.Request) *http.Request {
	out := req.Clone(req.Context())
	if out.Header == nil {
		out.Header = make(http.Header)
	}
	if leftOrigin(chain) {
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", "Referer"} {
			out.Header.Del(name)
		}
	}
	out.Header.Set("User-Agent", g.agent)
	out.Header.Set("Accept-Encoding", "identity")
	return out
}

// timed sends the request under the time-outs; they go on in the body.
func (g *guard) timed(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	parent := req.Context()
	ctx, cancel := context.WithCancelCause(parent)
	limits := patienceFor(parent)
	var timer *time.Timer
	if _, upload := parent.Value(uploadKey{}).(bool); upload {
		timer = time.AfterFunc(commitTimeout, func() { cancel(errNoAnswer) })
		timer.Stop()
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { timer.Reset(commitTimeout) },
		})
	} else {
		timer = time.AfterFunc(limits.answer, func() { cancel(errNoAnswer) })
	}
	resp, err := next.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); parent.Err() == nil && errors.Is(cause, errNoAnswer) {
			err = &Error{Op: opOf(req), Text: cause.Error(), Class: ErrUnreachable, cause: cause, again: true}
		}
		cancel(context.Canceled)
		return nil, err
	}
	resp.Body = watchBody(resp.Body, limits.stall, cancel)
	return resp, nil
}
