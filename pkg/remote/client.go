// Package remote is a client of OCI registries, on oras-go.
//
// A [Client] holds what is true of all registries: how they are reached, which
// credentials they get, who we say we are. A [Repository] reads and writes one
// repository; it is a content.Storage as oras-go has it, and can besides read
// parts of a blob, go on with a broken upload, mount a blob from a neighbour,
// list referrers and write them both ways, and find out what its registry can
// do.
//
// # What callers may build on
//
// A secret is sent only to the host it was stored for, and to token servers on
// the same host, known to belong to it, or allowed in [Options.Realms]. It does
// not survive a redirect to another scheme, host or port. Nothing that a
// registry on another host chooses, be it a redirect, a token server or an
// upload's location, leads to a loopback or link-local address, and nothing
// leads from HTTPS to HTTP.
//
// Content that is named by a digest may come from a mirror of the registry
// ([Options.Mirrors]): who serves it makes no difference to what it is. Tags,
// lists and all that is written are the registry's own matter.
//
// Manifests are checked against their digest, and no more than [MaxManifest]
// bytes of them are read. Blobs are not hashed here, only counted: whoever
// fetches one compares its digest.
//
// Requests are tried again when the answer was 408, 429 or 5xx, or the
// connection broke before it. When it breaks inside a blob, reading on is left
// to the caller, to whom an [Error] tells that it may help. Nothing waits for ever: a minute without bytes
// ends a connection, but there is no limit on the whole of a transfer.
//
// Errors have a class ([ErrProtocol], [ErrUnauthorized], [ErrForbidden],
// [ErrUnreachable], errdef.ErrNotFound, content.ErrMismatchedDigest). Their
// text shows little of what the registry said, escaped, and no secrets.
//
// All methods may be called from several goroutines at once.
package remote

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// Options adjusts [New]. The zero value reaches registries over TLS that the
// system's certificates vouch for, and those on loopback over plain HTTP, with
// docker's credentials and through the proxies that the environment names.
type Options struct {
	// PlainHTTP tells whether a host (with its port, if it has one) is spoken
	// to without TLS. Nil means that loopback hosts are, and no others.
	PlainHTTP func(host string) bool

	// CAFile is a PEM file of certificates to trust besides the system's.
	CAFile string

	// CertFile and KeyFile are the PEM files of a client certificate.
	CertFile, KeyFile string

	// InsecureTLS accepts any certificate. It is meant for tests by hand.
	InsecureTLS bool

	// AuthFile is a docker config.json. Empty means the one docker uses.
	AuthFile string

	// UserAgent is what we call ourselves. Empty means "modelreg".
	UserAgent string

	// Realms allows more token servers: to each registry host the hosts that
	// may be sent its passwords.
	Realms map[string][]string

	// Mirrors are hosts that are asked before a registry, in this order, for
	// what is named by a digest. The keys are registries' hosts, as in
	// references; "_default" is for those that are not named.
	Mirrors map[string][]Mirror

	// HostsDir is a directory of containerd's kind, whose hosts.toml files
	// name more mirrors, servers and certificates. Empty means none;
	// containerd's own is /etc/containerd/certs.d. Settings for the registry
	// itself count for all that is done with it, a server in its place for
	// reading content alone.
	HostsDir string

	// MaxWait bounds the waits between the tries of one small request, and of
	// one upload until it has gone on by another 16 MiB: also those that a
	// registry asks for. Zero means 5 minutes. Whoever reads blobs waits by
	// itself.
	MaxWait time.Duration

	// Warn, if not nil, is told of settings that cannot be used.
	Warn func(message string)

	// Transport, if not nil, carries all requests, in place of one of our own
	// with proxies from the environment. It is meant for tests: addresses that
	// it dials are not checked.
	Transport http.RoundTripper
}

// A Client talks to registries. It is made by [New].
type Client struct {
	opts  Options
	guard *guard
	store func() (credentials.Store, error)

	mu     sync.Mutex
	cache  auth.Cache // tokens; replaced when a password changes
	routes map[string]*route
	ways   ways

	tagLocks [64]sync.Mutex // of fallback tags

	habits habits
}

// New returns a client. It reads the certificates that opts names, but no
// credentials before a registry asks for some, and connects to nothing.
func New(opts Options) (*Client, error) {
	conf, err := tlsConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("set up TLS: %w", err)
	}
	c := &Client{opts: opts, cache: auth.NewCache(), routes: make(map[string]*route)}
	c.store = sync.OnceValues(func() (credentials.Store, error) { return openStore(opts.AuthFile) })
	c.guard = &guard{agent: opts.UserAgent, realms: opts.Realms, near: opts.Transport, far: opts.Transport}
	if c.guard.agent == "" {
		c.guard.agent = "modelreg"
	}
	if opts.Transport == nil {
		near, direct := newTransport(conf, nil), newTransport(conf, refuseInner)
		c.guard.near, c.guard.far = near, &farTransport{proxied: near, direct: direct}
	}
	c.ways = ways{conf: conf, fixed: opts.Transport, patience: mirrorPatience}
	if err := c.checkMirrors(); err != nil {
		return nil, err
	}
	return c, nil
}

// Transport returns the way in which this client's requests go out, with its
// rules for TLS, proxies, redirects and time-outs, but without credentials and
// without retries.
func (c *Client) Transport() http.RoundTripper { return c.guard }

// CloseIdle closes connections that are kept for further requests.
func (c *Client) CloseIdle() {
	for _, t := range []http.RoundTripper{c.guard.near, c.guard.far} {
		if t, ok := t.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ways.closeIdle()
}

// Repository returns the repository with that name, as in host/org/model. It
// asks the registry nothing.
func (c *Client) Repository(name string) (*Repository, error) {
	ref, err := registry.ParseReference(name)
	if err != nil {
		return nil, fmt.Errorf("parse repository %q: %w", name, err)
	}
	if ref.Reference != "" {
		return nil, fmt.Errorf("parse repository %q: tag or digest not wanted here", name)
	}
	way := c.route(ref)
	return &Repository{
		client: c, ref: ref, at: way.registry, from: &sources{route: way}, sessions: make(map[string]session),
	}, nil
}

// Ping asks whether host is a registry that lets us in, with the credential
// stored for it, if it asks for one.
func (c *Client) Ping(ctx context.Context, host string) error {
	reg, at, err := c.registry(host)
	if err != nil {
		return err
	}
	reg.Client = c.auth(quick)
	if err := reg.Ping(withEndpoint(ctx, at)); err != nil {
		return requestError("get "+at.host+"/v2/", err)
	}
	return nil
}

// Catalog lists the names of a registry's repositories, without the host.
// Many registries list none, or refuse.
func (c *Client) Catalog(ctx context.Context, host string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		reg, at, err := c.registry(host)
		if err != nil {
			yield("", err)
			return
		}
		reg.Client = &pager{next: c.auth(quick), op: "list " + at.host}
		pages(yield, "get "+at.host+"/v2/_catalog", func(fn func([]string) error) error {
			return reg.Repositories(withEndpoint(ctx, at), "", fn)
		})
	}
}

func (c *Client) registry(host string) (*orasremote.Registry, *endpoint, error) {
	reg, err := orasremote.NewRegistry(host)
	if err != nil {
		return nil, nil, fmt.Errorf("parse registry %q: %w", host, err)
	}
	at := c.route(reg.Reference).registry
	reg.PlainHTTP = at.scheme == "http"
	return reg, at, nil
}

func (c *Client) endpoint(ref registry.Reference) *endpoint {
	plain := c.opts.PlainHTTP
	if plain == nil {
		plain = isLoopback
	}
	at := &endpoint{scheme: "https", host: ref.Host()}
	if plain(ref.Registry) {
		at.scheme = "http"
	}
	return at
}

// A pace says who tries a request again.
type pace int

const (
	quick pace = iota // we do: the request is small
	long              // the caller does: it can go on where this one broke
)

// auth returns oras-go's authenticating client over our transport, for
// requests to a registry.
func (c *Client) auth(p pace) *auth.Client { return c.authAt(nil, p) }

// authAt returns the same for requests to at.
func (c *Client) authAt(at *endpoint, p pace) *auth.Client {
	c.mu.Lock()
	cache, credential := c.cache, c.credential
	c.mu.Unlock()
	if at != nil && at.cache != nil {
		cache, credential = at.cache, c.credentialAt(at)
	}
	var next http.RoundTripper = c.guard
	if p == quick && (at == nil || at.mirror == nil) {
		next = c.again()
	}
	return &auth.Client{
		Client:     &http.Client{Transport: next, CheckRedirect: readsOnly},
		Cache:      cache,
		Credential: credential,
		ClientID:   "modelreg",
		// Where a token server may be is decided in guard, which knows of
		// loopback registries. Empty blocks nothing, nil would.
		BlockedRealmPrefixes: []netip.Prefix{},
	}
}

// readsOnly lets redirects move reads only. Where they end is the guard's
// matter.
func readsOnly(_ *http.Request, via []*http.Request) error {
	if !slices.Contains([]string{http.MethodGet, http.MethodHead}, via[0].Method) {
		return http.ErrUseLastResponse
	}
	return nil
}

type (
	endpointKey struct{} // of the *endpoint that a request is made for
	uploadKey   struct{} // true for a request that carries a blob
)

func withEndpoint(ctx context.Context, at *endpoint) context.Context {
	return context.WithValue(ctx, endpointKey{}, at)
}

// drain reads the rest of a small answer so that its connection can be used
// again, and closes it.
func drain(rc io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, rc, maxErrorBody)
	rc.Close()
}
