package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// A route is how a registry is written and read.
type route struct {
	registry *endpoint   // for what is written, lists and tags
	mirrors  []*endpoint // asked first for content, in this order
	last     *endpoint   // asked last for content
	tags     *endpoint   // asked last for tags by those who may ask mirrors
}

// route returns the route to the registry of ref, which stays the same as long
// as the client.
func (c *Client) route(ref registry.Reference) *route {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.routes[ref.Registry]; ok {
		return r
	}
	r := &route{registry: c.endpoint(ref)}
	r.last, r.tags = r.registry, r.registry
	own, ok := c.opts.Mirrors[ref.Registry]
	if !ok {
		own = c.opts.Mirrors[DefaultMirrors]
	}
	c.addMirrors(r, own, ref.Registry, "configuration")
	if c.opts.HostsDir != "" {
		c.addHosts(r, ref.Registry)
	}
	c.routes[ref.Registry] = r
	return r
}

func (c *Client) addMirrors(r *route, mirrors []Mirror, registry, from string) {
	for _, m := range mirrors {
		at, err := c.ways.endpoint(m, registry)
		if err != nil { // a file is not there, or has changed since New looked
			c.warn(fmt.Errorf("use mirror %s of %s: %w", m, registry, err))
			continue
		}
		at.from = from
		r.mirrors = append(r.mirrors, at)
	}
}

// addHosts adds what hosts.toml says.
func (c *Client) addHosts(r *route, registry string) {
	f, err := readHosts(c.opts.HostsDir, registry)
	if err != nil {
		c.warn(err)
	}
	if f == nil {
		return
	}
	c.addMirrors(r, f.mirrors, registry, f.name)
	if err := c.serve(r, f, registry); err != nil {
		c.warn(fmt.Errorf("%s: use server: %w", f.name, err))
	}
}

// serve puts the server that f names in the place of the registry: for
// everything if it is the registry, for reading if it is another.
func (c *Client) serve(r *route, f *hostsFile, registry string) error {
	m := f.server
	parsed := endpoint{scheme: r.registry.scheme, host: r.registry.host, root: "/v2"}
	if m.URL != "" {
		var err error
		if parsed, err = parseMirror(m); err != nil {
			return err
		}
	}
	var near http.RoundTripper
	if m.special() {
		var err error
		if near, err = c.ways.transport(m, dialTimeout, c.ways.conf.Certificates); err != nil {
			return err
		}
	}
	if !proxied(parsed.host, registry) && parsed.root == "/v2" {
		at := *r.registry
		at.near, at.header = near, canonical(m.Header)
		if plain := c.opts.PlainHTTP != nil && c.opts.PlainHTTP(registry); parsed.scheme == "http" && !plain && !isLoopback(registry) {
			// The registry's password would go out readable.
			c.warn(fmt.Errorf("%s: server of %s without TLS is not used: that must be allowed with --plain-http", f.name, registry))
		} else if !plain {
			at.scheme = parsed.scheme
		}
		r.registry, r.last, r.tags = &at, &at, &at
		return nil
	}
	parsed.ns, parsed.near, parsed.header = registry, near, canonical(m.Header)
	parsed.cache, parsed.from = auth.NewCache(), f.name
	r.last = &parsed
	if m.Resolve {
		r.tags = &parsed
	}
	return nil
}

func (c *Client) warn(err error) {
	if c.opts.Warn != nil {
		c.opts.Warn(err.Error())
	}
}

// checkMirrors finds what cannot be right in the mirrors of the options.
func (c *Client) checkMirrors() error {
	for host, mirrors := range c.opts.Mirrors {
		for _, m := range mirrors {
			if _, err := c.ways.endpoint(m, host); err != nil {
				return fmt.Errorf("use mirror %s of %s: %w", m, host, err)
			}
		}
	}
	return nil
}

// ways makes the transports to mirrors, and remembers them.
type ways struct {
	conf     *tls.Config       // of the client; not changed
	fixed    http.RoundTripper // used for all, if not nil
	patience patience

	plain http.RoundTripper // for mirrors without settings of their own
	all   []*http.Transport
}

// endpoint returns the place of a mirror of registry.
func (w *ways) endpoint(m Mirror, registry string) (*endpoint, error) {
	at, err := parseMirror(m)
	if err != nil {
		return nil, err
	}
	if proxied(at.host, registry) {
		at.ns = registry
	}
	at.header, at.cache = canonical(m.Header), auth.NewCache()
	at.mirror = &mirror{patience: w.patience, resolve: m.Resolve}
	switch {
	case m.special():
		at.near, err = w.transport(m, w.patience.dial, nil)
	default:
		if w.plain == nil {
			w.plain, err = w.transport(m, w.patience.dial, nil)
		}
		at.near = w.plain
	}
	return &at, err
}

// transport returns one with the settings of m. certs are client
// certificates besides those.
func (w *ways) transport(m Mirror, dial time.Duration, certs []tls.Certificate) (http.RoundTripper, error) {
	if w.fixed != nil {
		return w.fixed, nil
	}
	conf, err := m.tls(w.conf, certs)
	if err != nil {
		return nil, err
	}
	t := newTransport(conf, nil)
	d := newDialer(nil)
	d.Timeout = cmp.Or(m.DialTimeout, dial)
	t.DialContext = d.DialContext
	if m.Proxy != "" {
		u, err := parseProxy(m.Proxy)
		if err != nil {
			return nil, err
		}
		t.Proxy = http.ProxyURL(u)
	}
	w.all = append(w.all, t)
	return t, nil
}

func parseProxy(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("proxy is not the URL of a host")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	}
	return nil, fmt.Errorf("proxy of kind %q", u.Scheme)
}

func (w *ways) closeIdle() {
	for _, t := range w.all {
		t.CloseIdleConnections()
	}
}

// A MirrorStatus tells of one place that content of a registry is read from.
type MirrorStatus struct {
	URL     string `json:"url"`     // the root of its API
	From    string `json:"from"`    // "configuration", or the file that names it
	Tags    bool   `json:"tags"`    // it may say what tags point to
	Problem string `json:"problem"` // why it cannot be used; empty when it answers
}

// Mirrors asks each mirror of the registry on host whether it answers, in the
// order in which they are used. A server that hosts.toml puts in the place of
// the registry is the last of them.
func (c *Client) Mirrors(ctx context.Context, host string) ([]MirrorStatus, error) {
	ref := registry.Reference{Registry: host}
	if err := ref.ValidateRegistry(); err != nil {
		return nil, fmt.Errorf("parse registry %q: %w", host, err)
	}
	way := c.route(ref)
	places := slices.Clone(way.mirrors)
	if way.last != way.registry {
		places = append(places, way.last)
	}
	all := make([]MirrorStatus, len(places))
	var g errgroup.Group
	g.SetLimit(mirrorsAtOnce)
	for i, at := range places {
		g.Go(func() error {
			u := url.URL{Scheme: at.scheme, Host: at.host, Path: at.base()}
			all[i] = MirrorStatus{URL: u.String(), From: at.from, Tags: at == way.tags || at.mirror != nil && at.mirror.resolve}
			if err := c.answers(ctx, at); err != nil {
				all[i].Problem = err.Error()
			}
			return nil
		})
	}
	_ = g.Wait() // no function fails
	return all, context.Cause(ctx)
}

// mirrorsAtOnce is how many mirrors are tried at a time.
const mirrorsAtOnce = 8

// answers asks a place whether it speaks our protocol.
func (c *Client) answers(ctx context.Context, at *endpoint) error {
	u := at.url("", "", nil)
	req, err := http.NewRequestWithContext(withEndpoint(ctx, at), http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := c.authAt(at, long).Do(req)
	if err != nil {
		return requestError(opOf(req), err)
	}
	if resp.StatusCode != http.StatusOK {
		return answerError(opOf(req), resp)
	}
	drain(resp.Body)
	return nil
}
